"""The command line: a public contract (names, JSON and exit codes are stable).

Exit codes: 0 PASS, 1 FAIL, 2 usage or prerequisite error, 3 INCONCLUSIVE, 4 NOT MEASURED, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from typer.exceptions import TyperException

from wfgy_triage.errors import InputError, TriageError
from wfgy_triage.result import Result, State
from wfgy_triage.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wfgy_triage.pairs import Pair
    from wfgy_triage.store.records import Event, RunRecord, RunSpec

EXIT_CODES = {State.PASS: 0, State.FAIL: 1, State.INCONCLUSIVE: 3, State.NOT_MEASURED: 4}
EXIT_ERROR = 2
EXIT_STOPPED = 130

app = typer.Typer(
    help="Guided, measured triage of ExLlamaV2 (EXL2) models against their FP16 baseline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
sessions = typer.Typer(help="Recorded sessions.", no_args_is_help=True)
app.add_typer(sessions, name="sessions")

out = Console()
err = Console(stderr=True)


class Method(StrEnum):
    """How `quantize` rounds."""

    gptq = "gptq"
    rtn = "rtn"


FolderIn = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Model folder to read.")]
FolderOut = Annotated[Path, typer.Argument(help="Folder to write; must not exist yet.")]
Questions = Annotated[
    int, typer.Option("--questions", "-n", min=1, max=200, help="How many questions to ask.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the result as JSON to this file.")]


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
) -> None:
    """Prepare the demo pair: a real small model, FP16 and EXL2. What is already there is kept."""
    from wfgy_triage.demo import SIBLINGS, prepare_demo

    settings = load_settings()
    known = [s.pair_id for s in SIBLINGS]
    if unknown := [p for p in pair or [] if p not in known]:
        raise InputError(f"There is no demo pair {unknown[0]!r}.", f"Demo pairs: {', '.join(known)}.")
    with _progress() as report:
        prepare_demo(settings, report, tuple(pair or ()))
    out.print(f"Ready under {settings.home / 'models'}: {', '.join(pair or known)}.")


@app.command()
def symptoms() -> None:
    """List the symptoms; those with a live probe are marked."""
    from wfgy_triage.catalog import load_catalog
    from wfgy_triage.probes.registry import available_symptoms

    live = available_symptoms()
    for symptom in load_catalog().symptoms.values():
        mark = "live probe" if symptom.id in live else "no live probe yet"
        out.print(f"[bold]{symptom.id}[/]  {symptom.label}  [dim]({mark})[/]")


@app.command()
def probe(
    symptom: Annotated[str, typer.Argument(help="Symptom id, see `symptoms`.")],
    pair: Annotated[str | None, typer.Option(help="Id of a registered model pair.")] = None,
    fp16: Annotated[
        Path | None, typer.Option(help="FP16 folder, instead of --pair.", file_okay=False)
    ] = None,
    exl2: Annotated[
        Path | None, typer.Option(help="EXL2 folder, instead of --pair.", file_okay=False)
    ] = None,
    questions: Questions = 20,
    seed: Annotated[int, typer.Option(min=0, help="Base seed of every request.")] = 0,
    workload: Annotated[
        Path | None, typer.Option(help="Your own questions: a .jsonl, .csv or .md file, or a folder of them.")
    ] = None,
    chunks: Annotated[
        Path | None,
        typer.Option(help="wrong_snippet: your passages, one JSON object a line.", dir_okay=False),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="wrong_snippet: a FAISS index of --chunks, in their order.", dir_okay=False),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="A setting of the probe, as name=value; may be repeated. See docs/measuring.md."),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Measure one symptom on one pair, here and now. The exit code is the verdict."""
    from wfgy_triage.runs.headless import run_headless
    from wfgy_triage.store.records import RunSpec

    settings = load_settings()
    chosen = _pair(pair, fp16, exl2)
    if json_file is not None and not json_file.parent.is_dir():
        raise InputError(
            f"The folder of {json_file} does not exist.", "Create it first or choose another --json file."
        )
    pair_id = chosen.id if chosen else pair
    options = _options(option or [], chunks=chunks, index=index)
    asked = _workload(settings, workload)
    spec: RunSpec = RunSpec(
        symptom, pair_id or "", questions=questions, seed=seed, workload_id=asked, options=options
    )
    with _progress() as report:
        record = run_headless(settings, spec, _event_printer(report), pair=chosen)
    raise typer.Exit(_finish(record, json_file))


@app.command()
def quantize(
    fp16_dir: FolderIn,
    out_dir: FolderOut,
    bpw: Annotated[float, typer.Option(min=2.2, max=8.5, help="Bits per weight of the decoder layers.")],
    head_bits: Annotated[int, typer.Option(help="Bits of the output head: 2, 3, 4, 5, 6 or 8.")] = 6,
    method: Annotated[
        Method, typer.Option(help="gptq is better, rtn (round to nearest) faster.")
    ] = Method.gptq,
    calibration: Annotated[list[Path] | None, typer.Option(help="UTF-8 text files to calibrate on.")] = None,
) -> None:
    """Write an EXL2 checkpoint on the CPU."""
    from wfgy_triage.engines.calibration import TransformersWalker
    from wfgy_triage.exl2.convert import quantize_folder

    with _progress() as report:
        outcome = quantize_folder(
            fp16_dir,
            out_dir,
            bpw=bpw,
            head_bits=head_bits,
            method=method.value,
            calibration_files=calibration or None,
            walker=TransformersWalker(fp16_dir),
            progress=lambda done, total, label: report(label, done / max(total, 1)),
        )
    out.print(f"Wrote {out_dir}: {outcome.decoder_bpw:.2f} bits per weight in {outcome.seconds:.0f} s.")


@app.command()
def dequantize(exl2_dir: FolderIn, out_dir: FolderOut) -> None:
    """Turn an EXL2 checkpoint back into an ordinary FP16 folder."""
    from wfgy_triage.exl2.dequantize import dequantize_folder

    with _progress() as report:
        dequantize_folder(
            exl2_dir, out_dir, progress=lambda done, total, label: report(label, done / max(total, 1))
        )
    out.print(f"Wrote {out_dir}.")


@app.command()
def inspect(folder: FolderIn) -> None:
    """Show bits per layer, size and anomalies of a checkpoint. The exit code is 1 when there are anomalies."""
    from wfgy_triage.exl2.inspect import inspect_folder
    from wfgy_triage.report.terminal import show_inspection

    report = inspect_folder(folder)
    show_inspection(out, report)
    raise typer.Exit(1 if report.anomalies else 0)


@app.command(hidden=True)
def worker() -> None:
    """Measure queued runs; started by the web app."""
    from wfgy_triage.runs.worker import main as work

    raise typer.Exit(work(load_settings()))


@sessions.command("list")
def sessions_list(limit: Annotated[int, typer.Option(min=1, max=1000)] = 50) -> None:
    """List recorded sessions, newest first."""
    from wfgy_triage.report.terminal import show_sessions
    from wfgy_triage.runs.service import TriageService

    show_sessions(out, TriageService(load_settings()).list(limit=limit))


@sessions.command("show")
def sessions_show(run_id: str, json_file: JsonFile = None) -> None:
    """Show one recorded session; the exit code is its verdict."""
    from wfgy_triage.runs.service import TriageService

    raise typer.Exit(_finish(TriageService(load_settings()).get(run_id), json_file))


def main() -> None:
    """Run the command line; errors are sentences, not tracebacks."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' own bars would be mixed with ours
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except TyperException as error:
        err.print(f"[bold red]Error:[/] {_usage_message(error)}", highlight=False)
        err.print("See 'python -m wfgy_triage --help' for commands and options.")
        sys.exit(EXIT_ERROR)
    except TriageError as error:
        err.print(f"[bold red]Error:[/] {escape(error.message)}", highlight=False)
        if error.hint:
            err.print(error.hint, highlight=False, markup=False)
        sys.exit(EXIT_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        err.print("Stopped. What was complete is kept; the same command goes on from there.")
        sys.exit(EXIT_STOPPED)


def _usage_message(error: TyperException) -> str:
    """What is wrong with the command line, in one sentence."""
    text = getattr(error, "format_message", lambda: str(error))()
    return escape(text if text.endswith(".") else f"{text}.")


def _options(given: list[str], **files: Path | None) -> dict[str, str]:
    """Settings of a probe from `name=value` and from the options that name files."""
    found = {name: str(path.resolve()) for name, path in files.items() if path is not None}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise InputError(
                f"--option {text!r} is not of the form name=value.", "For example: --option k=10"
            )
        found[name] = value
    return found


def _pair(pair: str | None, fp16: Path | None, exl2: Path | None) -> Pair | None:
    """The pair given by two folders, or None when a registered id is given."""
    from wfgy_triage.pairs import Pair

    if pair and not (fp16 or exl2):
        return None
    if pair or not (fp16 and exl2):
        raise InputError("Say which models to compare.", "Give --pair ID, or both --fp16 DIR and --exl2 DIR.")
    baseline, quantized = fp16.resolve(), exl2.resolve()
    digest = hashlib.sha256(f"{baseline}\n{quantized}".encode()).hexdigest()[:8]
    return Pair(f"folders-{digest}", f"{fp16.name} against {exl2.name}", baseline, quantized)


def _workload(settings: Settings, path: Path | None) -> str:
    """The id of the questions to ask: a kept copy of the user's own, or the built-in ones."""
    from wfgy_triage.workload.stored import BUILTIN, store_upload
    from wfgy_triage.workload.upload import read_path

    if path is None:
        return BUILTIN
    upload = read_path(path)
    err.print(f"Read {upload.questions} questions from {path}.", highlight=False, markup=False)
    for note in upload.notes:
        err.print(note, highlight=False, markup=False)
    return store_upload(settings.home, upload).id


def _finish(record: RunRecord, json_file: Path | None) -> int:
    """Show a recorded run and return its exit code."""
    from wfgy_triage.report.terminal import show_result

    if record.result is None:
        err.print(
            f"Session {record.id} is {record.status}: {record.error_message or 'it has no result yet.'}"
        )
        if record.error_hint:
            err.print(record.error_hint)
        return EXIT_ERROR
    result = Result.from_json(record.result)
    show_result(out, result)
    if json_file is not None:
        json_file.write_text(json.dumps(record.result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return EXIT_CODES[result.state]


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """Bars on a terminal, one line a step elsewhere; gives a `report(step, share)`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def report(step: str, share: float) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=1.0)
                if not err.is_terminal:
                    err.print(step)
            bars.update(tasks[step], completed=share)

        yield report


def _event_printer(report: Callable[[str, float], None]) -> Callable[[Event], None]:
    def show(event: Event) -> None:
        if event.kind == "stage":
            report(event.payload["label"], event.payload["done"] / max(event.payload["total"], 1))
        elif event.kind == "note":
            err.print(event.payload["text"])

    return show
