"""Commands about the registered model pairs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from wfgy_triage.cli.shared import EXIT_ERROR, app, err, out
from wfgy_triage.settings import load_settings

pairs = typer.Typer(help="Registered model pairs.", no_args_is_help=True)
app.add_typer(pairs, name="pairs")


@pairs.command("list")
def list_pairs() -> None:
    """List the registered pairs, and which of their sides are asked on a server."""
    from wfgy_triage.pairs import load_pairs

    for pair in load_pairs(load_settings()).values():
        served = " and ".join(s.upper() for s in ("fp16", "exl2") if s in pair.served)
        where = f" ({served} on a server)" if served else ""
        ready = "" if pair.ready else " - its folders are not complete"
        out.print(f"[bold]{escape(pair.id)}[/]  {escape(pair.name)}{where}{ready}", highlight=False)


@pairs.command()
def check(pair: Annotated[str, typer.Argument(help="Id of a registered pair.")]) -> int:
    """Ask the servers of a pair for their models and one short answer, and say in plain words what they answer."""
    from wfgy_triage.pairs import get_pair
    from wfgy_triage.runs.server_check import check_servers

    found = check_servers(get_pair(load_settings(), pair))
    for server in found:
        stream = out if server.answers else err
        word = "[green]can be asked[/]" if server.answers else "[red]cannot be asked[/]"
        stream.print(f"[bold]{server.side}[/] at {escape(server.url)}: {word}", highlight=False)
        for line in server.lines:
            stream.print(f"  {escape(line)}", highlight=False)
    return 0 if all(s.answers for s in found) else EXIT_ERROR
