"""Commands on the session database as a whole: what is in it, backup, restore, deleting old sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from wfgy_triage.cli.shared import app, err, out
from wfgy_triage.errors import InputError
from wfgy_triage.hosting import load_hosting
from wfgy_triage.settings import Settings, load_settings

if TYPE_CHECKING:
    from wfgy_triage.runs.retention import Tidier
    from wfgy_triage.store.database import Database
    from wfgy_triage.store.figures import RunGroup

store = typer.Typer(help="The session database: back up, restore, delete old sessions.", no_args_is_help=True)
app.add_typer(store, name="store")

_WORKER_WITHIN_S = 15.0


@store.command("info")
def store_info() -> None:
    """Say where the database is, what it holds, and how long that is kept."""
    from sqlalchemy import make_url

    from wfgy_triage.store.figures import read_figures

    with _opened() as (settings, database):
        found = read_figures(database, _WORKER_WITHIN_S)
        days = load_hosting().keep_days
        rows = [
            ("Database", make_url(settings.database_url).render_as_string(hide_password=True)),
            ("Sessions", f"{found.sessions:,}"),
            *((f"  {status}", f"{count:,}") for status, count in _by_status(found.runs).items()),
            ("Oldest", found.oldest.isoformat(timespec="seconds") if found.oldest else "none"),
            ("Measurements", f"{found.samples:,}"),
            ("Links that open", f"{found.open_links:,}"),
            ("Cached answers", f"{found.cached_answers:,}"),
            ("Workers alive", f"{found.workers}"),
            ("Kept for", f"{days} days" if days else "ever (WFGY_TRIAGE_KEEP_DAYS is not set)"),
        ]
        if days:
            rows.append(("To be deleted", f"{len(_tidier(settings, database, days).expired()):,} sessions"))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # an address is of use only whole
    for name, value in rows:
        table.add_row(name, value)
    out.print(table)


@store.command("backup")
def store_backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; must not exist yet.")],
) -> None:
    """Write all sessions and users' question sets into one file; the app may go on working."""
    from wfgy_triage.store.backup import write_backup

    with _opened() as (settings, database):
        found = write_backup(database, file, (settings.home / "workloads").glob("*"))
    err.print(
        f"Wrote {file}: {found.tables['runs']:,} sessions, {found.tables['samples']:,} measurements, "
        f"{len(found.files)} files of question sets.",
        highlight=False,
        markup=False,
    )


@store.command("restore")
def store_restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `store backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Throw away the sessions that the database holds.")
    ] = False,
) -> None:
    """Put a backup into the database that DATABASE_URL names, whichever kind either is. Stop the app before."""
    from wfgy_triage.store.restore import restore

    with _opened() as (settings, database):
        found = restore(database, file, settings.home, replace)
    err.print(
        f"Restored {found.tables['runs']:,} sessions as of {found.made_at.isoformat(timespec='seconds')}.",
        highlight=False,
        markup=False,
    )


@store.command("prune")
def store_prune(
    days: Annotated[
        int | None, typer.Option(min=1, help="Keep this many days.", show_default="WFGY_TRIAGE_KEEP_DAYS")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be deleted.")] = False,
) -> None:
    """Delete sessions that ended long ago; those with the tag `keep` or an open link stay."""
    kept_for = days or load_hosting().keep_days
    if kept_for is None:
        raise InputError(
            "How long sessions are kept is not said, so nothing is deleted.",
            "Give --days N, or set WFGY_TRIAGE_KEEP_DAYS.",
        )
    with _opened() as (settings, database):
        tidier = _tidier(settings, database, kept_for)
        if dry_run:
            for record in tidier.expired():
                spec = record.spec
                typer.echo(f"{record.id}  {record.created_at:%Y-%m-%d}  {spec.symptom}  {spec.pair_id}")
            return
        gone = tidier.tidy()
    err.print(
        f"Deleted {gone.sessions:,} sessions, {gone.answers:,} cached answers, {gone.files} files of question sets.",
        highlight=False,
    )


@contextmanager
def _opened() -> Iterator[tuple[Settings, Database]]:
    from wfgy_triage.store.database import open_database

    settings = load_settings()
    with closing(open_database(settings.database_url)) as database:
        yield settings, database


def _tidier(settings: Settings, database: Database, days: int) -> Tidier:
    from wfgy_triage.runs.retention import Tidier

    return Tidier(database, settings.home, days)


def _by_status(groups: Sequence[RunGroup]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for group in groups:
        counts[group.status] = counts.get(group.status, 0) + group.count
    return counts
