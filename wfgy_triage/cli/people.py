"""Commands on people: who may sign in, who did what; and deleting a session."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from wfgy_triage.cli.sessions import RunId
from wfgy_triage.cli.shared import app, err, out, sessions
from wfgy_triage.errors import InputError
from wfgy_triage.settings import load_settings

if TYPE_CHECKING:
    from wfgy_triage.users import UsersFile

users = typer.Typer(help="People who may sign in to the page; see docs/people.md.", no_args_is_help=True)
app.add_typer(users, name="users")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A user's name.")]
RoleName = Annotated[str, typer.Option("--role", help="viewer, operator or admin.")]
NoPassword = Annotated[
    bool, typer.Option("--no-password", help="For somebody who signs in with Hugging Face: a role only.")
]


@users.command("add")
def users_add(name: Name, role: RoleName = "operator", no_password: NoPassword = False) -> None:
    """Add somebody. The password is asked for, or read from standard input; never from an argument."""
    from wfgy_triage.passwords import hashed
    from wfgy_triage.store.audit import USER_ADD
    from wfgy_triage.users import User, checked_name, checked_role

    file, name, chosen = _file(), checked_name(name), checked_role(role)
    if file.path.exists() and name in file.now().by_name:
        raise InputError(f"There is a user {name!r} already.", "See 'users passwd' and 'users role'.")
    file.change([User(name, chosen, "" if no_password else hashed(_new_password()))])
    err.print(f"Added {name} as {chosen} in {file.path}.", highlight=False, markup=False)
    _note(USER_ADD, name, role=str(chosen))


@users.command("list")
def users_list() -> None:
    """List everybody with their role."""
    file = _file()
    table = Table(box=None, pad_edge=False)
    for column in ("Name", "Role", "Password"):
        table.add_column(column)
    for user in file.now().by_name.values():
        table.add_row(user.name, str(user.role), "set" if user.password else "none")
    out.print(table)


@users.command("role")
def users_role(name: Name, role: Annotated[str, typer.Argument(metavar="ROLE")]) -> None:
    """Give somebody another role; it counts at once."""
    from dataclasses import replace

    from wfgy_triage.store.audit import USER_ROLE
    from wfgy_triage.users import checked_role, plain_name, unknown_user

    file = _file()
    user = file.now().by_name.get(plain_name(name))
    if user is None:
        raise unknown_user(name)
    file.change([replace(user, role=checked_role(role))])
    err.print(f"{user.name} is {role} now.", highlight=False, markup=False)
    _note(USER_ROLE, user.name, role=role, before=str(user.role))


@users.command("passwd")
def users_passwd(name: Name) -> None:
    """Give somebody another password; browsers that were signed in with the old one are out at once."""
    from dataclasses import replace

    from wfgy_triage.passwords import hashed
    from wfgy_triage.store.audit import USER_PASSWORD
    from wfgy_triage.users import plain_name, unknown_user

    file = _file()
    user = file.now().by_name.get(plain_name(name))
    if user is None:
        raise unknown_user(name)
    file.change([replace(user, password=hashed(_new_password()))])
    err.print(f"{user.name} has a new password.", highlight=False, markup=False)
    _note(USER_PASSWORD, user.name)


@users.command("remove")
def users_remove(name: Name) -> None:
    """Take somebody out; they are signed out at once. Their sessions stay, under their name."""
    from wfgy_triage.store.audit import USER_REMOVE
    from wfgy_triage.users import plain_name

    _file().change(remove=plain_name(name))
    err.print(f"Removed {plain_name(name)}.", highlight=False, markup=False)
    _note(USER_REMOVE, plain_name(name))


@app.command()
def audit(
    last: Annotated[int, typer.Option(min=1, max=100_000, help="How many lines.")] = 50,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV instead of a table.")] = False,
) -> None:
    """Show who did what, newest first."""
    from wfgy_triage.report.export.tables import csv_text
    from wfgy_triage.report.format import moment
    from wfgy_triage.runs.service import TriageService

    heads = ("when", "who", "role", "action", "target", "details")
    rows = [
        (e.at.isoformat() if csv else moment(e.at), e.who, e.role, e.action, e.target, _details(e.details))
        for e in TriageService(load_settings()).audit(last)
    ]
    if csv:
        sys.stdout.write(csv_text(heads, rows))
        return
    table = Table(*(head.capitalize() for head in heads), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_unmarked(cell) for cell in row))
    out.print(table)


@sessions.command("delete")
def sessions_delete(
    run_id: RunId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a session with everything that was measured and its links. The audit trail stays."""
    from wfgy_triage.runs.service import TriageService

    service = TriageService(load_settings())
    spec = service.get(run_id).spec
    if not yes:
        typer.confirm(
            f"Delete the session {run_id} ({spec.symptom} on {spec.pair_id}) for good?", abort=True, err=True
        )
    service.delete(run_id)
    err.print("Deleted.")


def _file() -> UsersFile:
    from wfgy_triage.runs.team import users_path
    from wfgy_triage.users import UsersFile

    return UsersFile(users_path(load_settings()))


def _note(action: str, name: str, **details: str) -> None:
    """A line in the audit trail, under the name of whoever runs the command.

    Comes after the words that the thing is done: a database out of reach must not read as if it were not.
    """
    from wfgy_triage.runs.service import TriageService

    TriageService(load_settings()).note(action, name, **details)


def _new_password() -> str:
    """From the terminal without showing it, twice; from standard input its first line."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline()
    return line.removesuffix("\n").removesuffix("\r")


def _details(details: object) -> str:
    return json.dumps(details, ensure_ascii=False) if details else ""


def _unmarked(text: str) -> str:
    from rich.markup import escape

    return escape(text)
