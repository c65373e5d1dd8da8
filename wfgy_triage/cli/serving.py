"""Commands around the web app: serve it, prepare the demo, list symptoms, and the processes that it starts."""

from __future__ import annotations

from typing import Annotated

import typer

from wfgy_triage.cli.shared import app, out, progress_bars
from wfgy_triage.errors import InputError
from wfgy_triage.settings import load_settings


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Interface to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port.")] = None,
    demo_pair: Annotated[
        bool, typer.Option("--demo/--no-demo", help="Prepare the demo pair if none is ready.")
    ] = True,
) -> None:
    """Serve the web app (the same as `python app.py`)."""
    from wfgy_triage.ui.serving import serve_forever

    serve_forever(load_settings(host=host, port=port), prepare_demo=demo_pair)


@app.command()
def demo(
    pair: Annotated[list[str] | None, typer.Option(help="Prepare only these demo pairs.")] = None,
    free_text: Annotated[
        bool, typer.Option("--free-text", help="Prepare only the model that reads complaints.")
    ] = False,
) -> None:
    """Prepare the demo pairs, of a real small model, and the model that reads complaints in your own words.

    What is already there is kept.
    """
    from wfgy_triage.demo import SIBLINGS, prepare_demo, prepare_reader

    settings, reader = load_settings(), "the model that reads complaints"
    known = [s.pair_id for s in SIBLINGS]
    if unknown := [p for p in pair or [] if p not in known]:
        raise InputError(f"There is no demo pair {unknown[0]!r}.", f"Demo pairs: {', '.join(known)}.")
    whole = not pair and not free_text
    with progress_bars() as report:
        if pair or whole:
            prepare_demo(settings, report, tuple(pair or ()))
        if free_text:
            prepare_reader(settings, report)
    made = [*(known if whole else pair or []), *([reader] if free_text or whole else [])]
    out.print(f"Ready under {settings.home / 'models'}: {', '.join(made)}.")


@app.command()
def symptoms() -> None:
    """List the symptoms; those with a live probe are marked."""
    from wfgy_triage.catalog import load_catalog
    from wfgy_triage.probes.registry import available_symptoms

    live = available_symptoms()
    for symptom in load_catalog().symptoms.values():
        mark = "live probe" if symptom.id in live else "no live probe yet"
        out.print(f"[bold]{symptom.id}[/]  {symptom.label}  [dim]({mark})[/]")


@app.command(hidden=True)
def worker(device: Annotated[str, typer.Option(help="The device it is for.")] = "") -> None:
    """Measure queued runs; started by the web app."""
    from wfgy_triage.runs.worker import main as work

    raise typer.Exit(work(load_settings(), device=device))


@app.command(hidden=True)
def matcher() -> None:
    """Answer the web app's free-text matching; started by it."""
    from wfgy_triage.runs.match_process import main as answer

    raise typer.Exit(answer())
