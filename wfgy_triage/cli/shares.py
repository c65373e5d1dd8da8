"""Commands on read-only links to sessions: make, list, take back."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from wfgy_triage.cli.sessions import RunId
from wfgy_triage.cli.shared import err, out, sessions
from wfgy_triage.hosting import load_hosting
from wfgy_triage.report.format import moment
from wfgy_triage.settings import load_settings


@sessions.command("share")
def sessions_share(
    run_id: RunId,
    days: Annotated[int, typer.Option(min=1, max=365, help="How long the link opens.")] = 7,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out the texts of questions and answers.")
    ] = False,
) -> None:
    """Make a read-only link to a session. It is shown once; behind a proxy, set WFGY_TRIAGE_ROOT_PATH."""
    from wfgy_triage.runs.service import TriageService

    settings = load_settings()
    share, token = TriageService(settings).share(run_id, days, redact)
    err.print(f"Link {share.id}, open until {moment(share.expires_at)}:", highlight=False)
    hosting = load_hosting()
    base = hosting.public_url or f"http://{settings.host}:{settings.port}{hosting.root_path}"
    typer.echo(f"{base}/s/{token}")


@sessions.command("links")
def sessions_links(run_id: RunId) -> None:
    """List the links of a session, newest first."""
    from wfgy_triage.runs.service import TriageService
    from wfgy_triage.store.rows import now

    service = TriageService(load_settings())
    service.get(run_id)
    table = Table(box=None, pad_edge=False)
    for column in ("Link", "Made", "Until", "Texts", "State"):
        table.add_column(column)
    for share in service.shares(run_id):
        state = "open" if share.open_at(now()) else "taken back" if share.revoked_at else "over"
        texts = "left out" if share.redacted else "all"
        table.add_row(share.id, moment(share.created_at), moment(share.expires_at), texts, state)
    out.print(table)


@sessions.command("unshare")
def sessions_unshare(
    run_id: RunId,
    link: Annotated[str, typer.Argument(metavar="LINK", help="A link's id, see `sessions links`.")],
) -> None:
    """Take a link back: it opens nothing from now on."""
    from wfgy_triage.runs.service import TriageService

    TriageService(load_settings()).revoke(run_id, link)
    err.print("Taken back.")
