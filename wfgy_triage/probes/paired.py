"""Metrics that compare both sides question by question: rates of hits, and means of numbers.

A probe turns its stored samples into one outcome or one number a question and side; this module turns those into a
`Metric` with paired difference, intervals, noise floor, gate and state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from wfgy_triage.catalog import load_catalog
from wfgy_triage.fixmap_records import GateRecord
from wfgy_triage.measure.statistics import Interval, PairedCounts, mean_interval, share, tango
from wfgy_triage.result import Metric, State
from wfgy_triage.store.records import Sample
from wfgy_triage.verdict import Judgement, judge_difference, judge_mean, judge_rate, not_measured, page_rule
from wfgy_triage.verdict_loss import judge_loss, judge_share

Payload = Mapping[str, Any]
T = TypeVar("T")
SIDES = ("fp16", "exl2", "fp16_floor", "pair", "pair_floor")


@dataclass(frozen=True)
class Sides:
    """Payloads by question id for each kind of sample; questions in the order of their ids."""

    fp16: Mapping[str, Payload]
    exl2: Mapping[str, Payload]
    floor: Mapping[str, Payload]
    pair: Mapping[str, Payload]
    pair_floor: Mapping[str, Payload]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Sides:
        """Sort stored samples by side; other sides than these five are passed over."""
        found: dict[str, dict[str, Payload]] = {side: {} for side in SIDES}
        for sample in samples:
            if sample.key.side in found:
                found[sample.key.side][sample.key.question] = sample.payload
        return cls(*(dict(sorted(found[side].items())) for side in SIDES))

    @property
    def both(self) -> list[str]:
        """Questions answered on both sides."""
        return [q for q in self.fp16 if q in self.exl2]

    def each(self, read: Callable[[Payload], T]) -> PerSide[T]:
        """Apply a reading to every answer of the three answering sides."""
        return PerSide(
            *({q: read(p) for q, p in side.items()} for side in (self.fp16, self.exl2, self.floor))
        )


@dataclass(frozen=True)
class PerSide(Generic[T]):
    """One value a question for FP16, EXL2 and the FP16 twin (the noise floor)."""

    fp16: Mapping[str, T]
    exl2: Mapping[str, T]
    floor: Mapping[str, T]

    @property
    def both(self) -> list[str]:
        """Questions with a value on both sides."""
        return [q for q in self.fp16 if q in self.exl2]


Outcomes = PerSide[bool | None]
"""Whether each answer is a hit; None where that is not settled (cut off before it was)."""
Numbers = PerSide[float]


def gate_of(metric: str) -> GateRecord | None:
    """The gate of the fix map that is held against a metric; None for descriptive metrics."""
    return next((g for g in load_catalog().gates.values() if g.metric == metric), None)


def counts(outcomes: Outcomes, other: Mapping[str, bool | None]) -> PairedCounts:
    """Count hits of FP16 against another side, over the questions that are settled on both."""
    pairs = [(outcomes.fp16[q], other[q]) for q in outcomes.fp16 if q in other]
    settled = [(a, b) for a, b in pairs if a is not None and b is not None]
    return PairedCounts.from_outcomes([a for a, _ in settled], [b for _, b in settled])


def judge_side(
    outcomes: Outcomes, side: Mapping[str, bool | None], gate: GateRecord, level: float
) -> Judgement:
    """Hold one side's rate against a gate on the value; only questions answered on both sides count.

    An answer that is not settled may be either, so it can only make the verdict less certain.
    """
    asked = [side[q] for q in outcomes.both]
    settled = [o for o in asked if o is not None]
    if not asked:
        return not_measured("No question was answered on both sides.")
    return judge_rate(sum(settled), len(settled), gate.gate(), level, unmeasured=len(asked) - len(settled))


def judge_lost(outcomes: Outcomes, gate: GateRecord, level: float) -> Judgement:
    """Hold the loss of hits against a gate on the loss, over the questions that both sides answered.

    An answer that is not settled may be either, on both sides, so it can only make the verdict less certain.
    """
    pairs = [(outcomes.fp16[q], outcomes.exl2[q]) for q in outcomes.both]

    def as_if(fp16: bool) -> PairedCounts:
        """What is not settled as a hit of this side, and of EXL2 as the opposite."""
        return PairedCounts.from_outcomes(
            [fp16 if a is None else a for a, _ in pairs], [not fp16 if b is None else b for _, b in pairs]
        )

    extremes = as_if(False), as_if(True)
    return judge_difference(counts(outcomes, outcomes.exl2), gate.gate(), level, extremes)


def judge_numbers(values: Sequence[float], gate: GateRecord, level: float) -> Judgement:
    """Hold a mean over questions against a gate; where the fix map imagines a further one, PASS has to survive it."""
    if gate.imagined is None:
        return judge_mean(values, gate.gate(), level)
    judge = judge_share if gate.op == ">=" else judge_loss
    return judge(values, gate.gate(), gate.imagined, level)


def rate_metric(name: str, outcomes: Outcomes, level: float, primary: bool = False) -> Metric:
    """The rate of hits on both sides, judged where the fix map has a gate for it."""
    found, twin = counts(outcomes, outcomes.exl2), counts(outcomes, outcomes.floor)
    gate = gate_of(name)
    judged = None
    if gate is not None:
        judged = (
            judge_lost(outcomes, gate, level)
            if gate.applies_to == "loss"
            else judge_side(outcomes, outcomes.exl2, gate, level)
        )
    return _metric(
        name,
        gate,
        judged,
        level,
        fp16=share(found.both + found.only_reference, found.n),
        exl2=share(found.both + found.only_candidate, found.n),
        difference=found.difference if found.n else None,
        interval=tango(found, level) if found.n else None,
        n=found.n,
        floor=abs(twin.difference) if twin.n else None,
        primary=primary,
    )


def mean_metric(name: str, numbers: Numbers, level: float, primary: bool = False) -> Metric:
    """The mean over questions on both sides, judged where the fix map has a gate for it."""
    both = numbers.both
    fp16, exl2 = ([side[q] for q in both] for side in (numbers.fp16, numbers.exl2))
    differences = [b - a for a, b in zip(fp16, exl2, strict=True)]
    twin = [numbers.floor[q] - numbers.fp16[q] for q in numbers.fp16 if q in numbers.floor]
    gate = gate_of(name)
    judged = None
    if gate is not None:
        values = [-d for d in differences] if gate.applies_to == "loss" else exl2
        judged = judge_numbers(values, gate, level)
    return _metric(
        name,
        gate,
        judged,
        level,
        fp16=_mean(fp16),
        exl2=_mean(exl2),
        difference=_mean(differences),
        interval=mean_interval(differences, level) if len(differences) > 1 else None,
        n=len(both),
        floor=abs(float(np.mean(twin))) if twin else None,
        primary=primary,
    )


def distance_metric(
    name: str,
    values: Mapping[str, float],
    floor: Mapping[str, float],
    level: float,
    primary: bool = False,
) -> Metric:
    """The mean over questions of a quantity that belongs to the pair, not to a side (a distance, a divergence).

    Args:
        name: id of the metric.
        values: by question, FP16 against EXL2.
        floor: by question, FP16 against its twin.
        level: two-sided level of the intervals.
        primary: whether it decides the symptom.
    """
    found, gate = list(values.values()), gate_of(name)
    return _metric(
        name,
        gate,
        judge_numbers(found, gate, level) if gate else None,
        level,
        fp16=None,
        exl2=_mean(found),
        difference=None,
        interval=mean_interval(found, level) if len(found) > 1 else None,
        n=len(found),
        floor=_mean(list(floor.values())),
        primary=primary,
    )


def missing_metric(name: str, reason: str, level: float, primary: bool = False) -> Metric:
    """A metric that could not be measured, with the reason."""
    gate = gate_of(name)
    return _metric(
        name,
        gate,
        not_measured(reason),
        level,
        fp16=None,
        exl2=None,
        difference=None,
        interval=None,
        n=0,
        floor=None,
        primary=primary,
    )


def literal_rule(metric: Metric) -> str:
    """The page's own rule on this very sample, as a sentence; it is not the verdict."""
    gate = gate_of(metric.id)
    if gate is None:
        return ""
    value = metric.exl2
    if gate.applies_to == "loss":
        value = None if metric.difference is None else 0.0 - metric.difference  # not "-0"
    met = page_rule(value, gate.gate())
    if met is None or value is None:
        return "The page's literal rule cannot be applied: there is no value."
    word = "meets" if met else "does not meet"
    return f"On this sample EXL2 ({_shown(value, metric, gate)}) {word} the page's literal rule " + (
        f"({gate.op} {_shown(gate.value, metric, gate)})."
    )


def _shown(value: float, metric: Metric, gate: GateRecord) -> str:
    if metric.unit != "share":
        return f"{value:.3g} {metric.unit}".strip()
    return f"{100 * value:.3g} {'points lost' if gate.applies_to == 'loss' else '%'}"


def _metric(
    name: str,
    gate: GateRecord | None,
    judged: Judgement | None,
    level: float,
    *,
    fp16: float | None,
    exl2: float | None,
    difference: float | None,
    interval: Interval | None,
    n: int,
    floor: float | None,
    primary: bool,
) -> Metric:
    text = load_catalog().metrics[name]
    state = judged.state if judged else None
    return Metric(
        id=name,
        label=text.label,
        unit=text.unit,
        fp16=fp16,
        exl2=exl2,
        difference=difference,
        interval=interval.bounds if interval else None,
        gated_interval=judged.interval.bounds if gate and judged and judged.interval else None,
        level=level,
        n=n,
        floor=floor,
        gate=gate.gate() if gate else None,
        state=state if gate or state is State.NOT_MEASURED else None,
        note=judged.note if judged else "",
        primary=primary,
        more_questions=judged.more_questions if judged else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
