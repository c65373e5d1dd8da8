"""Commands on recorded sessions: list, show, export, import, compare."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wfgy_triage.cli.shared import (
    JsonFile,
    JunitFile,
    app,
    check_writable,
    err,
    finish,
    out,
    sessions,
)
from wfgy_triage.errors import InputError
from wfgy_triage.languages.known import NAMES
from wfgy_triage.settings import load_settings


class Form(StrEnum):
    """What `sessions export` writes: the ids of `report.export.formats`, which is not imported for every command."""

    html = "html"
    markdown = "markdown"
    session = "session"
    json = "json"
    csv = "csv"
    answers_csv = "answers-csv"
    packet = "packet"


Format = Annotated[Form, typer.Option("--format", "-f", help="What to write; see docs/sessions.md.")]
RunId = Annotated[str, typer.Argument(metavar="ID", help="A session's id, see `sessions list`.")]


@sessions.command("list")
def sessions_list(limit: Annotated[int, typer.Option(min=1, max=1000)] = 50) -> None:
    """List recorded sessions, newest first."""
    from wfgy_triage.report.terminal import show_sessions
    from wfgy_triage.runs.service import TriageService

    show_sessions(out, TriageService(load_settings()).list(limit=limit))


@sessions.command("show")
def sessions_show(run_id: RunId, json_file: JsonFile = None, junit_file: JunitFile = None) -> None:
    """Show one recorded session; the exit code is its verdict."""
    from wfgy_triage.runs.service import TriageService

    check_writable(json_file)
    check_writable(junit_file, "--junit")
    raise typer.Exit(finish(TriageService(load_settings()).get(run_id), json_file, junit_file))


@sessions.command("export")
def sessions_export(
    run_id: RunId,
    form: Format,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out the texts of questions and answers; keep the numbers.")
    ] = False,
    language: Annotated[
        str, typer.Option("--language", help=f"Language of the report (html): {' or '.join(NAMES)}.")
    ] = "en",
    file: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; without it, standard output.")
    ] = None,
) -> None:
    """Write a session as a file: report, Markdown, JSON, CSV, debug packets, or a session file to import again."""
    from wfgy_triage.runs.service import TriageService

    text = TriageService(load_settings()).export(run_id, form.value, redact, language).text
    if file is None:
        try:
            sys.stdout.buffer.write(text.encode())
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # whoever read it has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    try:
        file.write_bytes(text.encode())
    except OSError as error:
        raise InputError(
            f"{file} cannot be written: {error.strerror or error}.", "Choose another --out file."
        ) from error
    err.print(f"Wrote {file}.", highlight=False, markup=False)


@sessions.command("import")
def sessions_import(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A session file: `sessions export --format session`.")
    ],
) -> None:
    """Store a session that was exported as a session file. The same file twice is one session."""
    from wfgy_triage.runs.service import TriageService

    found = TriageService(load_settings()).import_session(_read(file))
    said = "Imported:" if found.new else "This session is recorded already:"
    spec = found.record.spec
    err.print(
        f"{said} {spec.symptom} on {spec.pair_id}, {found.record.state}.", highlight=False, markup=False
    )
    typer.echo(found.record.id)


@sessions.command("compare")
def sessions_compare(
    first: Annotated[str, typer.Argument(metavar="ID", help="The session to compare with.")],
    second: Annotated[str, typer.Argument(metavar="ID", help="The other session.")],
) -> None:
    """Show what differs between two sessions: verdict, paired metrics, questions, configuration, recommendation."""
    from wfgy_triage.report.compare_text import show_comparison
    from wfgy_triage.runs.compare import pair_here
    from wfgy_triage.runs.service import TriageService

    show_comparison(out, TriageService(load_settings()).compare(first, second, pair_here))


@app.command(hidden=True)
def paired(first: str, second: str) -> None:
    """Print the paired metrics of two sessions as JSON; started by the web app."""
    from wfgy_triage.runs.compare import pair_here
    from wfgy_triage.runs.service import TriageService

    found = TriageService(load_settings()).compare(first, second, pair_here).pairing
    metrics = [m.__dict__ for m in found.metrics]
    typer.echo(json.dumps({"metrics": metrics, "reason": found.reason}))


def _read(file: Path) -> bytes:
    """The file's bytes, at most one more than is allowed: what is larger is refused, not read."""
    from wfgy_triage.report.export.session_file import LARGEST

    try:
        with file.open("rb") as source:
            return source.read(LARGEST + 1)
    except OSError as error:
        raise InputError(
            f"{file} cannot be read: {error.strerror or error}.", "Give the path of a session file."
        ) from error
