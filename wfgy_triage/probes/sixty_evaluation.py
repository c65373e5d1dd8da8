"""From stored samples of "Fix in 60 seconds" to its three rules, one verdict and a cause. A pure function of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import methodcaller
from typing import Any

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import diagnose
from wfgy_triage.evidence import Evidence
from wfgy_triage.measure.stability import label_run
from wfgy_triage.measure.tension import K_SWEEP, STABLE, Lambda
from wfgy_triage.probes.acceptance_charts import CLASSES, lambda_rows, literal, rule_row
from wfgy_triage.probes.acceptance_evaluation import listed
from wfgy_triage.probes.acceptance_rules import beyond, bound, covered, kept
from wfgy_triage.probes.acceptance_samples import read_run
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.chart_data import class_chart, damage_chart, rate_charts
from wfgy_triage.probes.damage import damage
from wfgy_triage.probes.evidence import lost_rules, mean_evidence, shift_evidence, strongest, together
from wfgy_triage.probes.lost import ANSWERED_QUESTIONS, Lost
from wfgy_triage.probes.paired import (
    Numbers,
    Payload,
    PerSide,
    Sides,
    distance_metric,
    gate_of,
    judge_numbers,
    mean_metric,
    missing_metric,
    rate_metric,
)
from wfgy_triage.probes.served import again_spread, with_server_facts
from wfgy_triage.result import Check, Metric, State
from wfgy_triage.store.records import Sample
from wfgy_triage.verdict import Judgement, combine_full_check, not_measured
from wfgy_triage.workload.citations import WITH_K

OF_SWEEP = "lambda_over_k"
"""The rule that takes the answers with more passages."""
RULES = ("coverage", OF_SWEEP, "ds_drift")
LOST_SWEPT = 3
"""Questions that are asked again with every number of passages and a part back: four prompts each, long ones."""
NO_ANSWERS = "Nothing was answered on both sides."
Sweep = Mapping[int, Mapping[str, Lambda]]


@dataclass(frozen=True)
class _Measured:
    """The numbers behind the rules, by question; `sides` holds the answers with few passages alone."""

    sides: Sides
    drift: Mapping[str, float]
    signed: Mapping[str, float]
    floor: Mapping[str, float]
    sweep: Mapping[str, Sweep]
    stable: Numbers
    covered: Numbers

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> _Measured:
        everything = Sides.of(samples)
        first = Sides.of([s for s in samples if WITH_K not in s.key.question])
        far = first.each(lambda a: float(a["ds"]))
        signed = {q: far.exl2[q] - far.fp16[q] for q in far.both}
        sweep = {"fp16": _labels(everything.fp16), "exl2": _labels(everything.exl2)}
        return cls(
            sides=first,
            drift={q: abs(d) for q, d in signed.items()},
            signed=signed,
            floor={q: abs(far.floor[q] - far.fp16[q]) for q in far.fp16 if q in far.floor},
            sweep=sweep,
            stable=PerSide(_held(sweep["fp16"]), _held(sweep["exl2"]), {}),
            covered=covered(first),
        )

    def numbers(self, rule: str) -> Numbers:
        """What a rule is about; the drift of FP16 against itself is none."""
        drift = PerSide[float](dict.fromkeys(self.drift, 0.0), self.drift, {})
        return {"ds_drift": drift, OF_SWEEP: self.stable, "coverage": self.covered}[rule]

    def asked(self, swept: int | None) -> int | None:
        """How many more questions a run has to ask to sweep so many more: it sweeps the first half of them.

        None where that is not known, or no more are needed: a stopped run has not yet swept all that it would.
        """
        if swept is None:
            return None
        more = 2 * (len(self.stable.both) + swept) - len(self.sides.both)
        return more if more > 0 else None


def evaluate_samples(
    samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
) -> Evaluation:
    """Evaluate whatever is stored; the order of the samples does not matter."""
    level, m = settings.level, _Measured.of(samples)
    rules = _rules(m, level)
    whole = combine_full_check(_judgements(m, level), level)
    evidence = _evidence(samples, m, level, whole.failed)
    found = damage(samples, {}, _lost(samples, m, evidence, whole.failed))
    right = rate_metric("accuracy", m.sides.each(lambda a: a["right"]), level)
    details = (right, distance_metric("ds_shift", m.signed, {}, level))
    return Evaluation(
        state=whole.state,
        headline=_headline(whole.state, rules),
        page_rule=_literal(rules),
        metrics=with_server_facts((*rules, *details), samples, level),
        diagnosis=diagnose(strongest(evidence, whole.state, whole.failed), checks, found),
        charts={
            "gate_rules": [rule_row(r) for r in rules],
            "lambda_by_k": lambda_rows(m.sweep, STABLE),
            "drift_by_question": [
                {"question": q, "drift": d, "floor": m.floor.get(q)} for q, d in m.signed.items()
            ],
            "rates": rate_charts([right], level),
            "failure_classes": class_chart(m.sides.each(lambda a: str(a["kind"])), CLASSES),
            **damage_chart(found),
        },
    )


def lost(samples: Sequence[Sample], settings: ProbeSettings) -> Lost:
    """What EXL2 loses more of than noise does; nothing where it loses no more."""
    level, m = settings.level, _Measured.of(samples)
    failed = combine_full_check(_judgements(m, level), level).failed
    return _lost(samples, m, _evidence(samples, m, level, failed), failed)


def _lost(
    samples: Sequence[Sample], m: _Measured, evidence: Mapping[str, Evidence], failed: Sequence[str]
) -> Lost:
    """What the first rule is about that is lost beyond the noise."""
    for rule in lost_rules(evidence, failed):
        if questions := beyond(m.numbers(rule), bound(rule)):
            most = LOST_SWEPT if rule == OF_SWEEP else ANSWERED_QUESTIONS
            return Lost(questions, partial(_well_on, rule=rule), most, rule=rule)
    return Lost()


def _well_on(samples: Sequence[Sample], side: str, rule: str) -> dict[str, bool]:
    """For each question that is measured on a side: whether it keeps within a rule's bound, or does as well as FP16."""
    places = {"fp16": "fp16", side: "exl2"}
    among = [replace(s, key=replace(s.key, side=places[s.key.side])) for s in samples if s.key.side in places]
    return kept(_Measured.of(among).numbers(rule), bound(rule))


def _evidence(
    samples: Sequence[Sample], m: _Measured, level: float, failed: Collection[str]
) -> dict[str, Evidence]:
    """Evidence of a loss, by rule."""
    of = {rule: together(rule, failed, RULES) for rule in RULES}
    covered_again, ds_again = (again_spread(samples, methodcaller("get", key)) for key in ("coverage", "ds"))
    swept = mean_evidence(OF_SWEEP, m.stable, None, level, of[OF_SWEEP])
    return {
        "coverage": mean_evidence("coverage", m.covered, None, level, of["coverage"], covered_again),
        OF_SWEEP: replace(swept, more_questions=m.asked(swept.more_questions)),
        "ds_drift": shift_evidence(m.signed, m.floor, None, level, of["ds_drift"], ds_again),
    }


def _labels(answers: Mapping[str, Payload]) -> dict[int, dict[str, Lambda]]:
    """By k and question: the answer with k passages against the same side's own with few."""
    found: dict[int, dict[str, Lambda]] = {k: {} for k in K_SWEEP}
    for name, payload in answers.items():
        question, marked, k = name.partition(WITH_K)
        if marked and question in answers:
            found[int(k)][question] = label_run(read_run(payload), read_run(answers[question]))
    return found


def _held(sweep: Sweep) -> dict[str, float]:
    """Share of k at which λ does not flip divergent, for questions answered at every k.

    A flip is an answer that says nothing any more (←), or something else from other sources (×). One that keeps the
    claim or the sources has not flipped.
    """
    questions = set.intersection(*(set(labels) for labels in sweep.values()))
    return {q: sum(by_q[q] in STABLE for by_q in sweep.values()) / len(sweep) for q in sorted(questions)}


def _rules(m: _Measured, level: float) -> tuple[Metric, ...]:
    return (
        distance_metric("ds_drift", m.drift, m.floor, level, True)
        if m.drift
        else missing_metric("ds_drift", NO_ANSWERS, level, True),
        _swept(m, level),
        _mean("coverage", m.covered, level),
    )


def _swept(m: _Measured, level: float) -> Metric:
    """The rule of the sweep, with how many questions a run would have to ask more."""
    found = _mean(OF_SWEEP, m.stable, level)
    more = m.asked(found.more_questions)
    if more is None:
        return found
    half = f"Half of a run's questions are asked with more passages, so that a run takes about {more} more."
    return replace(found, more_questions=more, note=f"{found.note} {half}")


def _mean(name: str, numbers: Numbers, level: float) -> Metric:
    return (
        mean_metric(name, numbers, level, True)
        if numbers.both
        else missing_metric(name, NO_ANSWERS, level, True)
    )


def _judgements(m: _Measured, level: float) -> dict[str, Judgement]:
    """The rules once more as judgements: the correction for several rules needs their p-values."""
    values = {
        "ds_drift": list(m.drift.values()),
        OF_SWEEP: [m.stable.exl2[q] for q in m.stable.both],
        "coverage": [m.covered.exl2[q] for q in m.covered.both],
    }
    return {
        name: judge_numbers(found, gate, level)
        if found and (gate := gate_of(name)) is not None
        else not_measured(NO_ANSWERS)
        for name, found in values.items()
    }


def _headline(state: State, rules: Sequence[Metric]) -> str:
    titles = load_catalog().metrics
    by_state = {s: [titles[r.id].label for r in rules if r.state is s] for s in State}
    if state is State.PASS:
        return "Nothing to fix: drift, stability and coverage all hold."
    if state is State.FAIL:
        return f"The gate is missed for: {listed(by_state[State.FAIL])}."
    if state is State.NOT_MEASURED:
        return f"Not measured: {listed(by_state[State.NOT_MEASURED])}."
    return f"More questions are needed for: {listed(by_state[State.INCONCLUSIVE] or by_state[State.FAIL])}."


def _literal(rules: Sequence[Metric]) -> str:
    found: list[Any] = [met for r in rules if (met := literal(r)) is not None]
    if not found:
        return "None of the page's literal rules could be applied: nothing was measured."
    if len(found) < len(rules):
        applied = f"{len(found)} literal rules that could be applied ({len(rules)} in all)"
        return f"On this sample {sum(found)} of the {applied} hold."
    return f"On this sample {sum(found)} of the page's {len(rules)} literal rules hold."
