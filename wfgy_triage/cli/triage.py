"""Commands that measure: probe, gate, doctor, match."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from wfgy_triage.cli.shared import (
    EXIT_CODES,
    EXIT_ERROR,
    JsonFile,
    JunitFile,
    Questions,
    app,
    as_json,
    check_writable,
    chosen_pair,
    err,
    event_printer,
    finish,
    out,
    progress_bars,
    write_file,
)
from wfgy_triage.errors import InputError
from wfgy_triage.result import State
from wfgy_triage.runs.trial_options import DEFAULT_SECONDS, FIX, FIX_SECONDS, MOST_SECONDS
from wfgy_triage.settings import Settings, load_settings


@app.command()
def match(
    text: Annotated[str | None, typer.Argument(help="The complaint, in your own words.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help='JSON lines like {"id", "text"}, instead of TEXT.')
    ] = None,
) -> None:
    """Rank the symptoms for a complaint, or say that none fits. With --file: JSON lines in, JSON lines out."""
    from wfgy_triage.complaints import Complaint, check_complaint, read_complaints
    from wfgy_triage.report.terminal import show_match

    if (text is None) == (file is None):
        raise InputError("Say what to match.", 'Give a text, or --file with JSON lines like {"id", "text"}.')
    complaints = read_complaints(file) if file else (Complaint("", check_complaint(text or "")),)
    from wfgy_triage.matching import load_matcher

    matches = load_matcher(load_settings()).match([c.text for c in complaints])
    if file is None:
        show_match(out, next(matches))
        return
    try:
        for complaint, found in zip(complaints, matches, strict=True):
            line = json.dumps({"id": complaint.id, **found.to_json()}, ensure_ascii=False)
            sys.stdout.buffer.write(line.encode() + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # whoever read the lines has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


PairId = Annotated[str | None, typer.Option(help="Id of a registered model pair.")]
Fp16Folder = Annotated[Path | None, typer.Option(help="FP16 folder, instead of --pair.", file_okay=False)]
Exl2Folder = Annotated[Path | None, typer.Option(help="EXL2 folder, instead of --pair.", file_okay=False)]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        help="Base seed of answers that are drawn: the repeated ones of acceptance_gate, and those of some changes "
        "that are tried. Greedy questions do not depend on it.",
    ),
]
OwnQuestions = Annotated[
    Path | None, typer.Option(help="Your own questions: a .jsonl, .csv or .md file, or a folder of them.")
]
ProbeOption = Annotated[
    list[str] | None,
    typer.Option(help="A setting of the probe, as name=value; may be repeated. See docs/measuring.md."),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Measure all of it anew: no FP16 answers of earlier runs.")
]
NoFix = Annotated[bool, typer.Option("--no-fix", help="Measure only: try no changes after a FAIL.")]
FixSeconds = Annotated[int, typer.Option(min=0, max=MOST_SECONDS, help="How long trying changes may take.")]


@app.command()
def probe(
    symptom: Annotated[str, typer.Argument(help="Symptom id, see `symptoms`.")],
    pair: PairId = None,
    fp16: Fp16Folder = None,
    exl2: Exl2Folder = None,
    questions: Questions = 20,
    seed: Seed = 0,
    workload: OwnQuestions = None,
    chunks: Annotated[
        Path | None,
        typer.Option(help="wrong_snippet: your passages, one JSON object a line.", dir_okay=False),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="wrong_snippet: a FAISS index of --chunks, in their order.", dir_okay=False),
    ] = None,
    option: ProbeOption = None,
    no_fix: NoFix = False,
    fix_seconds: FixSeconds = DEFAULT_SECONDS,
    no_cache: NoCache = False,
    json_file: JsonFile = None,
    junit_file: JunitFile = None,
) -> None:
    """Measure one symptom on one pair, here and now; after a FAIL, try changes. The exit code is the verdict."""
    from wfgy_triage.catalog import load_catalog
    from wfgy_triage.runs.headless import run_headless
    from wfgy_triage.store.records import RunSpec

    settings = load_settings(cache_rows=0 if no_cache else None)
    # Looked up for its message: somebody who mistypes it is not to be asked for models first.
    load_catalog().symptoms[symptom]
    chosen = chosen_pair(pair, fp16, exl2)
    check_writable(json_file)
    check_writable(junit_file, "--junit")
    pair_id = chosen.id if chosen else pair
    options = _options(option or [], chunks=chunks, index=index) | _trial_options(no_fix, fix_seconds)
    asked = _workload(settings, workload)
    spec: RunSpec = RunSpec(
        symptom, pair_id or "", questions=questions, seed=seed, workload_id=asked, options=options
    )
    with progress_bars() as report:
        record = run_headless(settings, spec, event_printer(report), pair=chosen)
    raise typer.Exit(finish(record, json_file, junit_file))


@app.command()
def gate(
    pair: PairId = None,
    fp16: Fp16Folder = None,
    exl2: Exl2Folder = None,
    questions: Questions = 20,
    seed: Seed = 0,
    workload: OwnQuestions = None,
    option: ProbeOption = None,
    no_fix: NoFix = False,
    fix_seconds: FixSeconds = DEFAULT_SECONDS,
    no_cache: NoCache = False,
    json_file: JsonFile = None,
    junit_file: JunitFile = None,
) -> None:
    """Ship or not: the page's acceptance list on one pair. The exit code is the verdict."""
    probe(
        "acceptance_gate",
        pair,
        fp16,
        exl2,
        questions,
        seed,
        workload,
        option=option,
        no_fix=no_fix,
        fix_seconds=fix_seconds,
        no_cache=no_cache,
        json_file=json_file,
        junit_file=junit_file,
    )


@app.command()
def doctor(
    pair: PairId = None,
    fp16: Annotated[Path | None, typer.Option(help="FP16 folder.", file_okay=False, exists=True)] = None,
    exl2: Annotated[Path | None, typer.Option(help="EXL2 folder.", file_okay=False, exists=True)] = None,
    json_file: JsonFile = None,
) -> None:
    """Check this machine, and with a pair its folders and models. The exit code is 1 when any check failed.

    It is 4 when none did, but an essential check of the pair could not be made.
    """
    from wfgy_triage.pairs import get_pair
    from wfgy_triage.report.terminal import doctor_object, show_findings
    from wfgy_triage.runs.doctor import run_doctor
    from wfgy_triage.runs.lane import lane_of

    settings = load_settings()
    chosen = None
    if pair or fp16 or exl2:
        chosen = chosen_pair(pair, fp16, exl2) or get_pair(settings, pair or "")
    check_writable(json_file)
    with progress_bars() as report:
        findings = run_doctor(lane_of(settings, chosen), chosen, report)
    show_findings(out, findings)
    record = doctor_object(findings, chosen)
    hint = "Nothing of it is kept: give the same command again with another --json file."
    if json_file is not None and not write_file(json_file, as_json(record), hint):
        raise typer.Exit(EXIT_ERROR)
    raise typer.Exit(EXIT_CODES[State(record["state"])])


def _trial_options(no_fix: bool, seconds: int) -> dict[str, str]:
    """Whether and how long changes are tried, where it is not the usual; what `--option` says then counts."""
    if no_fix:
        return {FIX: "no"}
    return {} if seconds == DEFAULT_SECONDS else {FIX_SECONDS: str(seconds)}


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
