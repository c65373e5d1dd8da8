"""Commands of the runtime guard: run it, and report what it has seen."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from wfgy_triage.cli.shared import EXIT_CODES, app, err, out
from wfgy_triage.errors import InputError
from wfgy_triage.result import State
from wfgy_triage.settings import load_settings

if TYPE_CHECKING:
    from wfgy_triage.guard.overview import Overview


class ModeChoice(StrEnum):
    """What happens to an answer that fails."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


guard = typer.Typer(
    help="Watch the answers of a model server in use: JSON, citations, coverage.", invoke_without_command=True
)
app.add_typer(guard, name="guard")


@guard.callback()
def run_guard(
    context: typer.Context,
    upstream: Annotated[
        str | None, typer.Option(help="Address of the model server, e.g. http://127.0.0.1:5000.")
    ] = None,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port.")] = 8001,
    mode: Annotated[
        ModeChoice, typer.Option(help="observe, or refuse answers that fail.")
    ] = ModeChoice.OBSERVE,
    policy: Annotated[Path | None, typer.Option(help="Policy file, see docs/guard.md.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Address that alerts are posted to.")] = None,
    window_answers: Annotated[
        int | None, typer.Option(min=10, max=5000, help="Newest answers that rates are taken over.")
    ] = None,
    window_minutes: Annotated[
        int | None, typer.Option(min=1, max=10080, help="And how old they may be.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Longest silence of the model server, seconds.")
    ] = 600,
    max_body_mb: Annotated[int, typer.Option(min=1, max=512, help="Longest request.")] = 32,
) -> None:
    """Run the guard in front of a model server (or `guard report`)."""
    if context.invoked_subcommand is not None:
        return
    if upstream is None:
        raise InputError("Say which model server to guard.", "For example --upstream http://127.0.0.1:5000")
    from wfgy_triage.guard.server import GuardOptions, serve_guard

    options = GuardOptions(
        upstream=upstream,
        host=host,
        port=port,
        mode=mode.value,
        policy=policy,
        webhook=webhook,
        window_answers=window_answers,
        window_minutes=window_minutes,
        timeout_s=timeout,
        max_body=max_body_mb << 20,
    )
    serve_guard(options, load_settings())


@guard.command("report")
def guard_report(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Report the gates now and what failed last. Exit code: 1 a gate was left, 0 all that are measured hold."""
    from wfgy_triage.guard.overview import read_overview
    from wfgy_triage.guard.watched import load_watched
    from wfgy_triage.store.database import open_database
    from wfgy_triage.store.guard import GuardRepository

    database = open_database(load_settings().database_url)
    try:
        now = datetime.now(UTC)
        view = read_overview(GuardRepository(database), load_watched(), now)
    finally:
        database.close()
    if as_json:
        typer.echo(json.dumps(_as_json(view, now), indent=2, ensure_ascii=False))
    else:
        _show(view, now)
    raise typer.Exit(_exit_code(view))


def _show(view: Overview, now: datetime) -> None:
    from wfgy_triage.report.format import interval, moment, quantity
    from wfgy_triage.report.words import class_words

    if view.empty:
        err.print("No guard has run here yet. Start one with: python -m wfgy_triage guard --upstream URL")
        return
    alive = view.alive(now)
    for server in alive:
        out.print(
            f"Running at {server.address} in front of {server.upstream} ({server.mode}); {server.answers:,} "
            f"answers, {server.dropped:,} of them not logged.",
            markup=False,
            highlight=False,
        )
    if not alive:
        out.print(f"No guard is running; the last one was seen at {moment(view.servers[0].seen_at)}.")
    table = Table(box=None, pad_edge=False)
    for column in ("Rate", "Now", "Interval", "Gate", "Answers", "State"):
        table.add_column(column)
    for state in view.states:
        gate, bounds = state.watch.gate, state.judgement.interval
        table.add_row(
            state.watch.label,
            quantity(state.value, "share"),
            interval(bounds.bounds if bounds else None, "share"),
            f"{gate.op} {gate.value:g}",
            str(state.answers),
            state.state.value,
        )
    out.print(table)
    for failure in view.failures[:5]:
        said = f"{moment(failure.at)}  {failure.model or 'model'}: {class_words(failure.failure)}. {failure.reason}"
        out.print(said, markup=False, highlight=False)


def _as_json(view: Overview, now: datetime) -> dict[str, Any]:
    alive = {s.id for s in view.alive(now)}
    return {
        "window": {"answers": view.window[0], "minutes": view.window[1]},
        "servers": [_plain(s) | {"running": s.id in alive} for s in view.servers],
        "gates": [
            {
                "gate": s.watch.gate.id,
                "metric": s.watch.gate.metric,
                "op": s.watch.gate.op,
                "bound": s.watch.gate.value,
                "value": s.value,
                "interval": list(s.judgement.interval.bounds) if s.judgement.interval else None,
                "answers": s.answers,
                "state": s.state.value,
                "note": s.judgement.note,
            }
            for s in view.states
        ],
        "verdicts": view.verdicts,
        "events": [_plain(e) for e in view.events],
        "failures": [_plain(f) for f in view.failures],
    }


def _plain(record: Any) -> dict[str, Any]:
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(record).items()}


def _exit_code(view: Overview) -> int:
    states = {s.state for s in view.states} - {State.NOT_MEASURED}
    for state in (State.FAIL, State.INCONCLUSIVE, State.PASS):
        if state in states:
            return EXIT_CODES[state]
    return EXIT_CODES[State.NOT_MEASURED]
