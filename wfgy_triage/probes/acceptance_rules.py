"""The rules of the acceptance list: their numbers by question, their metrics, and which questions fail which rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from wfgy_triage.catalog import load_catalog
from wfgy_triage.fixmap_records import GateRecord
from wfgy_triage.measure.stability import convergent_share
from wfgy_triage.measure.tension import Lambda
from wfgy_triage.probes.acceptance_samples import SEEDS, SIDES, Stored
from wfgy_triage.probes.items import RUNS, arm_side
from wfgy_triage.probes.latency import GAIN, latency_metric, latency_of
from wfgy_triage.probes.paired import (
    Numbers,
    Outcomes,
    PerSide,
    Sides,
    distance_metric,
    judge_lost,
    judge_numbers,
    mean_metric,
    missing_metric,
    rate_metric,
)
from wfgy_triage.result import Gate, Metric, State
from wfgy_triage.store.records import Sample
from wfgy_triage.verdict import Judgement, not_measured, page_rule
from wfgy_triage.workload.upload_questions import WORDINGS

RULES = ("ds_drift", "coverage", "lambda_rate", "accuracy", GAIN)
"""The seed's core acceptance, in the order in which the rules are shown."""
OF_ANSWERS = ("ds_drift", "coverage", "accuracy")
"""The rules that the answers to the first wording decide."""
OF_RUNS = "lambda_rate"
"""The rule that takes every wording under every seed."""
NO_WORDINGS = f"λ needs {WORDINGS} wordings of each question; these questions have fewer."
NO_RUNS = f"The questions were not asked in other wordings and with other seeds. λ takes {WORDINGS} wordings of each."


@dataclass(frozen=True)
class Measured:
    """The numbers behind the rules, by question."""

    drift: Mapping[str, float]
    signed: Mapping[str, float]
    drift_floor: Mapping[str, float]
    covered: Numbers
    stable: Numbers
    chaotic: Numbers
    right: Outcomes
    repeated: bool
    answered: int

    @classmethod
    def of(cls, stored: Stored) -> Measured:
        """Read them from sorted samples.

        `repeated`: whether both sides answered more than once for λ; `answered`: questions that both answered at all.
        """
        far = stored.sides.each(lambda a: a.get("ds"))
        fp16, exl2, floor = (
            {q: float(d) for q, d in side.items() if d is not None}
            for side in (far.fp16, far.exl2, far.floor)
        )
        signed = {q: exl2[q] - fp16[q] for q in fp16 if q in exl2}
        return cls(
            drift={q: abs(d) for q, d in signed.items()},
            signed=signed,
            drift_floor={q: abs(floor[q] - fp16[q]) for q in fp16 if q in floor},
            covered=covered(stored.sides),
            stable=_runs(stored, convergent_share),
            chaotic=_runs(stored, lambda labels: sum(x is Lambda.CHAOTIC for x in labels) / len(labels)),
            right=stored.sides.each(lambda a: a["right"]),
            repeated=all(stored.runs[side] for side in SIDES),
            answered=len(stored.sides.fp16.keys() & stored.sides.exl2.keys()),
        )


def covered(sides: Sides) -> Numbers:
    """Coverage of every answer whose evidence has content words."""
    found = sides.each(lambda a: a["coverage"])
    return PerSide(
        *({q: v for q, v in side.items() if v is not None} for side in (found.fp16, found.exl2, found.floor))
    )


def _runs(stored: Stored, read: Callable[[Sequence[Lambda]], float]) -> Numbers:
    """A number of the λ runs of each question that was asked in all its wordings; the twin repeats a part of them."""
    several = {
        side: {q: read(labels) for q, labels in runs.items() if len(labels) == WORDINGS * SEEDS}
        for side, runs in stored.runs.items()
    }
    return PerSide(several["fp16"], several["exl2"], several["fp16_floor"])


def rule_metrics(samples: Sequence[Sample], m: Measured, level: float) -> tuple[Metric, ...]:
    """The five rules as metrics, in the order of `RULES`."""
    return (
        distance_metric("ds_drift", m.drift, m.drift_floor, level, True),
        mean_metric("coverage", m.covered, level, True),
        _stability(m, level),
        rate_metric("accuracy", m.right, level, True),
        latency_metric(samples, level),
    )


def _stability(m: Measured, level: float) -> Metric:
    """The rule of λ, with what it is about where that is not every question."""
    if not m.stable.both:
        return missing_metric(OF_RUNS, NO_WORDINGS if m.repeated else NO_RUNS, level, True)
    found, counted = mean_metric(OF_RUNS, m.stable, level, True), len(m.stable.both)
    if counted >= m.answered:
        return found
    some = f"λ is about {counted} of {m.answered} questions: those asked in {WORDINGS} wordings with {SEEDS} seeds."
    return replace(found, note=f"{found.note} {some}".strip())


def judgements(samples: Sequence[Sample], m: Measured, level: float) -> dict[str, Judgement]:
    """The rules once more as judgements: the correction for several rules needs their p-values."""
    values = {
        "ds_drift": list(m.drift.values()),
        "coverage": [m.covered.exl2[q] for q in m.covered.both],
        OF_RUNS: [m.stable.exl2[q] for q in m.stable.both],
    }
    judged = {
        name: judge_numbers(found, _gate(name), level) if found else not_measured("Nothing was measured.")
        for name, found in values.items()
    }
    judged["accuracy"] = judge_lost(m.right, _gate("accuracy"), level)
    times = latency_of(samples)
    gains = list(times.gains.values())
    judged[GAIN] = judge_numbers(gains, _gate(GAIN), level) if gains else not_measured(times.note)
    return judged


def failed_rules(samples: Sequence[Sample], level: float) -> tuple[str, ...]:
    """Ids of the rules that fail."""
    found = rule_metrics(samples, Measured.of(Stored.of(samples)), level)
    return tuple(r.id for r in found if r.state is State.FAIL)


def lost_on(samples: Sequence[Sample], side: str, rules: Collection[str]) -> frozenset[str]:
    """Questions on which a side misses the bound of one of these rules and does worse than FP16.

    FP16's own value need not keep within the bound: where it misses it too, doing as well as FP16 is what a change can
    bring back.

    Args:
        samples: everything stored for the run.
        side: whose answers are looked at; its λ runs stand beside it.
        rules: ids of the rules.
    """
    return frozenset(q for rule in rules for q, well in well_on(samples, side, rule).items() if not well)


def well_on(samples: Sequence[Sample], side: str, rule: str) -> dict[str, bool]:
    """For each question that is measured on a side: whether it keeps within a rule's bound, or does as well as FP16.

    Args:
        samples: everything stored for the run.
        side: whose answers are looked at; its λ runs stand beside it.
        rule: id of the rule.
    """
    return kept(*_numbers_on(samples, side, rule))


def lost_by(samples: Sequence[Sample], rule: str) -> tuple[str, ...]:
    """Questions on which FP16 keeps within the bound of a rule and EXL2 does not: more bits could help there."""
    return beyond(*_numbers_on(samples, SIDES[1], rule))


def kept(found: Numbers, gate: Gate) -> dict[str, bool]:
    """Which questions EXL2 answers within a bound, or as well as FP16 where that is outside too."""
    return {
        q: bool(page_rule(found.exl2[q], gate)) or not _worse(found.exl2[q], found.fp16[q], gate)
        for q in found.both
    }


def beyond(found: Numbers, gate: Gate) -> tuple[str, ...]:
    """Questions that FP16 answers within a bound and EXL2 does not."""
    return tuple(
        q for q in found.both if page_rule(found.fp16[q], gate) and not page_rule(found.exl2[q], gate)
    )


def _numbers_on(samples: Sequence[Sample], side: str, rule: str) -> tuple[Numbers, Gate]:
    """What a rule is about, with a side in EXL2's place, and its bound for a single question."""
    places = {"fp16": "fp16", side: "exl2"}
    places |= {arm_side(a, RUNS): arm_side(b, RUNS) for a, b in places.items()}
    among = [replace(s, key=replace(s.key, side=places[s.key.side])) for s in samples if s.key.side in places]
    m = Measured.of(Stored.of(among))
    right = PerSide[float](_rated(m.right.fp16), _rated(m.right.exl2), {})
    numbers: dict[str, tuple[Numbers, Gate]] = {
        "ds_drift": (PerSide(dict.fromkeys(m.drift, 0.0), m.drift, {}), bound("ds_drift")),
        "coverage": (m.covered, bound("coverage")),
        OF_RUNS: (m.stable, bound(OF_RUNS)),
        "accuracy": (right, Gate(">=", 1.0, "")),
    }
    return numbers[rule]


def _worse(value: float, reference: float, gate: Gate) -> bool:
    return value < reference if gate.op == ">=" else value > reference


def _rated(outcomes: Mapping[str, bool | None]) -> dict[str, float]:
    """1 for a right answer; one that was cut off before it was right is not right."""
    return {q: float(right is True) for q, right in outcomes.items()}


def bound(metric: str) -> Gate:
    """The gate of the fix map that is held against a metric."""
    return _gate(metric).gate()


def _gate(metric: str) -> GateRecord:
    return next(g for g in load_catalog().gates.values() if g.metric == metric)
