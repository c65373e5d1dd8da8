"""What the commands share: the app, consoles, exit codes, progress, and how a pair or a result is named."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from wfgy_triage.errors import InputError
from wfgy_triage.result import Result, State
from wfgy_triage.store.records import RunStatus

if TYPE_CHECKING:
    from wfgy_triage.pairs import Pair
    from wfgy_triage.store.records import Event, RunRecord

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


Questions = Annotated[
    int, typer.Option("--questions", "-n", min=1, max=200, help="How many questions to ask.")
]
JunitFile = Annotated[
    Path | None,
    typer.Option("--junit", help="Also write the verdict as JUnit XML to this file, for CI.", dir_okay=False),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Also write the result as JSON to this file.", dir_okay=False),
]


def check_writable(json_file: Path | None, option: str = "--json") -> None:
    """Refuse a file that cannot be written, or whose folder does not exist, before anything is measured."""
    if json_file is None:
        return
    folder = json_file.parent
    if not folder.is_dir():
        raise InputError(
            f"The folder of {json_file} does not exist.", f"Create it first or choose another {option} file."
        )
    # Asked, not tried: opening it would leave an empty file behind, or wait for the reader of a pipe.
    there = json_file.exists()
    place, needed = (json_file, os.W_OK) if there else (folder, os.W_OK | os.X_OK)
    if not os.access(place, needed, effective_ids=os.access in os.supports_effective_ids):
        what = "this file" if there else f"the folder {folder}"
        raise InputError(
            f"{json_file} cannot be written: {what} may not be changed by this user.",
            f"Allow it, or choose another {option} file.",
        )


def say_error(message: str, hint: str) -> None:
    """Say on standard error what is wrong, and below it what to do."""
    err.print(f"[bold red]Error:[/] {escape(message)}", highlight=False)
    if hint:
        # Not broken into lines: a command in it is to be copied whole.
        err.print(hint, highlight=False, markup=False, soft_wrap=True)


def write_file(file: Path, content: bytes, hint: str) -> bool:
    """Write what was asked for beside the terminal; where that fails say so, with what to do, and return False."""
    try:
        file.write_bytes(content)
    except OSError as error:
        say_error(f"{file} could not be written: {error.strerror or error}.", hint)
        return False
    return True


def as_json(value: Any) -> bytes:
    """A result as the file of `--json` has it."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def chosen_pair(pair: str | None, fp16: Path | None, exl2: Path | None) -> Pair | None:
    """The pair given by two folders, or None when a registered id is given."""
    from wfgy_triage.pairs import Pair

    if pair and not (fp16 or exl2):
        return None
    if pair or not (fp16 and exl2):
        raise InputError("Say which models to compare.", "Give --pair ID, or both --fp16 DIR and --exl2 DIR.")
    baseline, quantized = fp16.resolve(), exl2.resolve()
    for option, folder in (("--fp16", baseline), ("--exl2", quantized)):
        _holds_a_model(option, folder)
    digest = hashlib.sha256(f"{baseline}\n{quantized}".encode()).hexdigest()[:8]
    return Pair(f"folders-{digest}", f"{fp16.name} against {exl2.name}", baseline, quantized)


def _holds_a_model(option: str, folder: Path) -> None:
    """Refuse a folder without any file of a model: checks would only repeat that for each of them."""
    marks = ("config.json", "tokenizer.json", "*.safetensors")
    if any(next(folder.glob(mark), None) for mark in marks):
        return
    below = sorted({f.parent.name for f in folder.glob("*/config.json")})
    hint = (
        f"One of these may be meant: {', '.join(below[:5])}." if below else f"Give another {option} folder."
    )
    raise InputError(
        f"{folder} holds no model: no config.json, no tokenizer.json, no .safetensors file.", hint
    )


def finish(record: RunRecord, json_file: Path | None, junit_file: Path | None = None) -> int:
    """Show a recorded run, write it to the files that were asked for, and return its exit code."""
    # Shown first: a full disk must not cost what took an hour. Written even where nobody reads on (`| head`).
    try:
        code = _show(record)
    finally:
        written = _write(record, json_file, junit_file)
    return code if written else EXIT_ERROR


def _show(record: RunRecord) -> int:
    from wfgy_triage.report.terminal import show_result

    if record.result is None:
        return _say_failure(record)
    result = Result.from_json(record.result)
    show_result(out, result)
    if record.status is RunStatus.FAILED:
        return _say_failure(record)
    return EXIT_CODES[result.state]


def _say_failure(record: RunRecord) -> int:
    otherwise = "it has no result yet." if record.result is None else "what it measured before is shown."
    err.print(f"Session {record.id} is {record.status}: {record.error_message or otherwise}", markup=False)
    if record.error_hint:
        err.print(record.error_hint, markup=False)
    return EXIT_ERROR


def _write(record: RunRecord, json_file: Path | None, junit_file: Path | None) -> bool:
    """Write each file, whatever becomes of the other; False where one could not be written."""
    from wfgy_triage.report.junit import junit_xml

    again = (
        f"Session {record.id} is kept. Write the file with: python -m wfgy_triage sessions show {record.id}"
    )
    written = True
    if junit_file is not None:
        # A run that failed is one error there, whatever its part says: the file goes with the exit code.
        told = replace(record, result=None) if record.status is RunStatus.FAILED else record
        written = write_file(junit_file, junit_xml(told), f"{again} --junit FILE")
    if json_file is not None and record.result is not None:
        written = write_file(json_file, as_json(record.result), f"{again} --json FILE") and written
    return written


@contextmanager
def progress_bars() -> Iterator[Callable[[str, float], None]]:
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


def event_printer(report: Callable[[str, float], None]) -> Callable[[Event], None]:
    """Return what shows a run's events: stages as bars, notes as lines."""

    def show(event: Event) -> None:
        if event.kind == "stage":
            report(event.payload["label"], event.payload["done"] / max(event.payload["total"], 1))
        elif event.kind == "note":
            err.print(event.payload["text"])

    return show
