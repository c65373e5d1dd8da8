"""A run as changes see it, without a store: what benchmarks of single changes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import Stopwatch
from wfgy_triage.engines.base import Completion, Engine
from wfgy_triage.measure.statistics import PairedCounts, tango
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.base import Probe, ProbeContext, ProbeSettings
from wfgy_triage.probes.items import Item
from wfgy_triage.remedies.base import Case, Shop
from wfgy_triage.result import Diagnosis
from wfgy_triage.store.records import Sample

RATES = ("valid", "correct", "right")
"""Of cited answers: only supplied sources, the right one among them, the right answer."""


def case_of(probe: Probe, engine: Engine, questions: int, samples: tuple[Sample, ...] = ()) -> Case:
    """A case in which one engine stands on both sides: questions are built with its tokenizer.

    Raises:
        ValueError: the probe asks no questions.
    """
    context = ProbeContext(
        fp16=engine,
        exl2=engine,
        open_floor=lambda: engine,
        settings=ProbeSettings(questions=questions),
        done=frozenset(),
        stored=lambda: samples,
        save=lambda saved: None,
        progress=lambda stage, label, done, total: None,
        should_stop=lambda: False,
    )
    subject = probe.subject(context)
    if subject is None:
        raise ValueError("the probe asks no questions")
    here = Path()
    shop = Shop(_no_engine, lambda folder: (), here)
    return Case(context, subject, Pair("bench", "Benchmark", here, here), Diagnosis("unknown", "low"), shop)


def _no_engine(folder: Path) -> Engine:
    raise ValueError("no other model is opened here")


def heading() -> None:
    """Print the head of the table of rates."""
    print(f"{'':<46}" + "".join(f"{rate + ' [difference, 95 %]':>30}" for rate in RATES) + f"{'seconds':>9}")


def asked(engine: Engine, items: Sequence[Item]) -> tuple[dict[str, Completion], float]:
    """Answers by request id, and the seconds they took."""
    with Stopwatch() as watch:
        found = {c.id: c for c in engine.generate([i.request for i in items])}
    return found, watch.seconds


def rates_of(
    label: str,
    case: Case,
    items: Sequence[Item],
    answers: Mapping[str, Completion],
    before: Mapping[str, Any] | None,
    seconds: float,
) -> dict[str, Any]:
    """One row of the table, with the paired difference to an earlier row."""
    judged = [case.subject.judge(i, answers[i.request_id]) for i in items]
    row: dict[str, Any] = {"change": label, "questions": len(items), "seconds": round(seconds, 1)}
    shown = f"{label:<46}"
    for rate in RATES:
        hits = [bool(j[rate]) for j in judged]
        row[rate] = hits
        between = ""
        if before is not None:
            interval = tango(PairedCounts.from_outcomes(before[rate], hits))
            row[f"{rate}_interval"] = [interval.low, interval.high]
            between = f" [{interval.low:+.2f}, {interval.high:+.2f}]"
        shown += f"{f'{sum(hits)}/{len(hits)}{between}':>30}"
    print(f"{shown}{row['seconds']:>9}", flush=True)
    return row
