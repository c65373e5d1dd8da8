"""Every probe against the bit rate: the demo model at several rates, each looked at by whole runs.

The rates of the demo's siblings are theirs; the others are quantized once in the same way and kept like those that the
remedy `raise_bpw` makes, by what they were made from. One home serves all runs, so FP16 is asked once and later rows
are faster (`reused` counts what was taken from before). A row is written when its run has ended; a row that is in the
file already, of the same two models, is not measured again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import Stopwatch
from benchmarks.bank_workshop import Workshop, named_rate
from benchmarks.row_file import Row, RowFile
from wfgy_triage.catalog import load_catalog
from wfgy_triage.demo import HEAD_BITS, SIBLINGS, exl2_folder
from wfgy_triage.errors import InputError, TriageError
from wfgy_triage.exl2.headers import weights_fingerprint
from wfgy_triage.exl2.recipe import Recipe
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.registry import available_symptoms
from wfgy_triage.remedies.requantize import Siblings
from wfgy_triage.runs.trial_options import DEFAULT_SECONDS, FIX, FIX_SECONDS
from wfgy_triage.settings import load_settings
from wfgy_triage.store.records import RunRecord, RunStatus

SECTION = "bit_rates"
RATES = (2.3, 3.3, 4.2, 5.3, 6.0, 8.0)
QUESTIONS = 20
FAST_RATES, FAST_QUESTIONS = (3.3,), 5
START = "demo"
"""The sibling that a new one is asked for beside; none of its weights are copied, since the rate is another."""
HEAD = (
    "| bpw | state | metric | FP16 | EXL2 | difference [interval] | noise floor | cause | seconds | foreign |"
)
TRIAL = (
    "id",
    "remedy",
    "status",
    "state",
    "reason",
    "effect",
    "rules",
    "guards",
    "lost",
    "restored",
    "seconds",
)
"""What a row keeps of a trial."""
TRIALS_HEAD = "| bpw | change | WFGY | metric | before | after | effect [interval] | outcome | seconds |"

Look = Callable[[Pair, str, int, Mapping[str, str]], RunRecord]


def run(
    fast: bool = False,
    bpw: Sequence[float] | None = None,
    probe: Sequence[str] | None = None,
    questions: int | None = None,
    fix: bool = False,
    fix_seconds: int | None = None,
    json: Path | None = None,
) -> dict[str, Any]:
    """Make the siblings, run every probe on each, print a table a probe; see the module.

    Args:
        fast: one rate and few questions.
        bpw: bits per weight of the decoder.
        probe: which probes; all without it.
        questions: questions a run.
        fix: whether changes are tried after a FAIL.
        fix_seconds: for how long; the app's own time without it.
        json: the file of the results; its rows are not measured again.

    Raises:
        InputError: an unknown probe.
        PrerequisiteError: the demo pair is not there.
    """
    symptoms = tuple(probe or available_symptoms())
    if unknown := set(symptoms) - set(available_symptoms()):
        raise InputError(
            f"There is no probe {sorted(unknown)[0]!r}.", f"Probes: {', '.join(available_symptoms())}."
        )
    settings = load_settings()
    scratch = settings.home / "cache" / "bit-rates"
    scratch.mkdir(parents=True, exist_ok=True)
    shop = Workshop(settings, scratch)
    rates = bpw or (FAST_RATES if fast else RATES)
    asked = questions or (FAST_QUESTIONS if fast else QUESTIONS)
    allowed = (DEFAULT_SECONDS if fix_seconds is None else fix_seconds) if fix else 0
    kept, shown = RowFile(json, SECTION), []
    for rate in rates:
        pair = sibling(shop, rate)
        shown += [look_once(kept, shop.run, pair, rate, symptom, asked, allowed) for symptom in symptoms]
    for symptom in symptoms:
        of_symptom = [r for r in shown if r["probe"] == symptom]
        _print(symptom, of_symptom)
        print_trials(of_symptom)
    return {"rows": kept.rows}


def sibling(shop: Workshop, rate: float) -> Pair:
    """The demo model at a rate: the demo's own sibling, else one made now or kept from before.

    Raises:
        PrerequisiteError: the demo pair is not there, or too little disk or memory.
        InputError: a rate that the format cannot give.
    """
    ready = next((s for s in SIBLINGS if s.bpw == rate), None)
    if ready is not None and (exl2_folder(shop.settings, ready) / "config.json").is_file():
        return shop.pair(ready.pair_id)
    start = shop.pair(START)
    # Where runs keep what they make, so that a run's `raise_bpw` and this find each other's.
    home = shop.settings.home
    siblings = Siblings(home / "changed" / "siblings", statistics=home / "statistics")
    print(f"{rate:g} bpw: making it, or taking the one that is kept", file=sys.stderr, flush=True)
    folder = siblings.make(start.fp16, start.exl2, Recipe(bpw=rate, head_bits=HEAD_BITS))
    assert folder is not None  # nothing asks it to stop
    return Pair(f"demo-at-{named_rate(rate)}bpw", f"The demo model at {rate:g} bpw", start.fp16, folder)


def look_once(
    kept: RowFile, look: Look, pair: Pair, rate: float, symptom: str, questions: int, fix_seconds: int
) -> Row:
    """The row of a rate and probe: that of the file, else measured now and added to it.

    Changes are tried for `fix_seconds`, none with 0. A run that gave no result is shown and not kept, so that the next
    call tries it again.

    Raises:
        KeyboardInterrupt: the run was cancelled.
    """
    facts = {
        "bpw": rate,
        "probe": symptom,
        "questions": questions,
        "fix": bool(fix_seconds),
        **({"fix_seconds": fix_seconds} if fix_seconds else {}),
        "models": [weights_fingerprint(pair.fp16), weights_fingerprint(pair.exl2)],
    }
    if found := kept.find(**facts):
        return found
    with Stopwatch() as watch:
        measured = _measured(look, pair, symptom, questions, fix_seconds)
    spent = {"seconds": round(watch.seconds, 1), "foreign": watch.foreign}
    row = {**facts, **measured, **spent}
    if measured["error"] is None:
        kept.add(row)
    said = row["error"] or f"{row['state']}, {row['cause']}"
    print(f"{rate:g} bpw {symptom}: {said}, {row['seconds']:.0f} s", file=sys.stderr, flush=True)
    return row


def _measured(look: Look, pair: Pair, symptom: str, questions: int, fix_seconds: int) -> dict[str, Any]:
    """What a run came to, or why there is none."""
    nothing: dict[str, Any] = {
        "state": None,
        "cause": None,
        "primaries": [],
        "reused": {},
        "recommendation": None,
    }
    try:
        tried = {FIX: "yes", FIX_SECONDS: str(fix_seconds)} if fix_seconds else {FIX: "no"}
        record = look(pair, symptom, questions, tried)
    except TriageError as error:
        return {**nothing, "error": str(error)}
    if record.status is RunStatus.CANCELLED:
        raise KeyboardInterrupt
    if record.result is None:
        return {**nothing, "error": record.error_message or "The run gave no result."}
    result = record.result
    names = ("id", "fp16", "exl2", "difference", "interval", "level", "n", "floor", "state")
    found = result.get("recommendation") or {}
    return {
        "state": result["state"],
        "cause": result["diagnosis"]["cause"],
        "confidence": result["diagnosis"]["confidence"],
        "primaries": [{n: m.get(n) for n in names} for m in result["metrics"] if m.get("primary")],
        "reused": result.get("reused", {}),
        "timings": result["timings"],
        "decoder_bpw": result["pair"]["exl2"].get("decoder_bpw"),
        "recommendation": {n: found.get(n) for n in ("candidate", "verified", "state_after", "seconds")}
        if found
        else None,
        "trials": [{n: trial.get(n) for n in TRIAL} for trial in found.get("trials", ())],
        "error": None,
    }


def _print(symptom: str, rows: Sequence[Row]) -> None:
    print(f"\n### {symptom}\n\n{HEAD}\n|{'---|' * (HEAD.count('|') - 1)}")
    for row in rows:
        if row["error"] is not None:
            print(f"| {row['bpw']:g} | NOT MEASURED | {row['error']} | | | | | | {row['seconds']} | |")
            continue
        if not row["primaries"]:
            print(f"| {row['bpw']:g} | {row['state']} | – | | | | | {row['cause']} | {row['seconds']} | |")
        for number, metric in enumerate(row["primaries"]):
            last = (row["cause"], row["seconds"], "–" if row["foreign"] is None else row["foreign"])
            ends, first = (
                ((f"{row['bpw']:g}", row["state"]), last) if not number else (("", ""), ("", "", ""))
            )
            cells = [*ends, *_cells(metric), *first]
            print(f"| {' | '.join(map(str, cells))} |")


def print_trials(rows: Sequence[Row]) -> None:
    """One line a change that was tried, the recommended one in bold; nothing where none was."""
    tried = [(row, trial) for row in rows for trial in row.get("trials", ())]
    if not tried:
        return
    print(f"\n{TRIALS_HEAD}\n|{'---|' * (TRIALS_HEAD.count('|') - 1)}")
    for row, trial in tried:
        effect, chosen = trial["effect"] or {}, (row["recommendation"] or {}).get("candidate") == trial["id"]
        name = f"**{trial['id']}**" if chosen else trial["id"]
        modules = ", ".join(load_catalog().remedies[trial["remedy"]].wfgy)
        values = [_number(effect.get(side)) for side in ("before", "after")]
        between = "–"
        if effect.get("interval"):
            bounds = ", ".join(_number(bound) for bound in effect["interval"])
            between = f"{_number(effect['difference'])} [{bounds}]"
        came = (
            f"{trial['status']}, {trial['restored']} of {trial['lost']} lost back"
            if trial["lost"]
            else trial["status"]
        )
        cells = (
            f"{row['bpw']:g}",
            name,
            modules,
            effect.get("id", "–"),
            *values,
            between,
            came,
            _number(trial["seconds"]),
        )
        print(f"| {' | '.join(cells)} |")


def _cells(metric: Mapping[str, Any]) -> list[str]:
    # A distance between the sides has no difference; its interval is that of the distance itself.
    between = _number(metric["difference"])
    if metric["interval"] is not None:
        value = metric["exl2"] if metric["difference"] is None else metric["difference"]
        between = f"{_number(value)} [{', '.join(_number(bound) for bound in metric['interval'])}]"
    named = f"{metric['id']}, n = {metric['n']}"
    return [named, _number(metric["fp16"]), _number(metric["exl2"]), between, _number(metric["floor"])]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
