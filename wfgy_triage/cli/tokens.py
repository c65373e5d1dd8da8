"""The command that makes a token for a program."""

from __future__ import annotations

from typing import Annotated

import typer

from wfgy_triage.access import Role
from wfgy_triage.cli.shared import app, err
from wfgy_triage.runs.tokens import VARIABLE, new_token


@app.command()
def token(
    name: Annotated[str, typer.Argument(help="Who is going to hold it: letters, digits, '.', '-', '_'.")],
    role: Annotated[
        str, typer.Option(help=f"{Role.VIEWER}: reads. {Role.OPERATOR}: also starts and cancels runs.")
    ] = Role.VIEWER,
) -> None:
    """Make a token for a program. The token goes to standard error, once; its entry to standard output."""
    secret, entry = new_token(name, role)
    err.print(f"Token of {name}, shown once:\n{secret}", highlight=False, markup=False, soft_wrap=True)
    err.print(f"Add this line to the file that {VARIABLE} names:", highlight=False, markup=False)
    typer.echo(entry)
