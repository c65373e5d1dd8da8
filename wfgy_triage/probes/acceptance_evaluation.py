"""From stored samples of the acceptance probe to the page's rules, one verdict and a cause. A pure function of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import methodcaller

import numpy as np

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import diagnose
from wfgy_triage.evidence import Evidence
from wfgy_triage.measure.stability import convergent_share
from wfgy_triage.measure.tension import Lambda
from wfgy_triage.probes.acceptance_charts import chart_data, literal
from wfgy_triage.probes.acceptance_rules import (
    OF_RUNS,
    Measured,
    judgements,
    lost_by,
    rule_metrics,
    well_on,
)
from wfgy_triage.probes.acceptance_samples import Stored
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.damage import damage
from wfgy_triage.probes.evidence import (
    lost_rules,
    mean_evidence,
    rate_evidence,
    shift_evidence,
    strongest,
    together,
)
from wfgy_triage.probes.items import RUNS
from wfgy_triage.probes.latency import time_metrics
from wfgy_triage.probes.lost import ANSWERED_QUESTIONS, Lost, lost_answers
from wfgy_triage.probes.paired import (
    Payload,
    PerSide,
    distance_metric,
    gate_of,
    mean_metric,
    missing_metric,
    rate_metric,
)
from wfgy_triage.probes.served import again_spread, with_again, with_server_facts
from wfgy_triage.probes.token_metrics import Divergence, divergence
from wfgy_triage.result import Check, Metric, State
from wfgy_triage.store.records import Sample
from wfgy_triage.verdict import combine_full_check, page_rule

LOSSES = ("accuracy", "coverage", "lambda_rate", "ds_drift")
"""Rules on which EXL2 can lose something against FP16."""
LOST_RUNS = 4
"""Questions whose λ runs are asked again with a part back: three prompts each, as many as of twelve single answers."""


def evaluate_samples(
    samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
) -> Evaluation:
    """Evaluate whatever is stored; the order of the samples does not matter."""
    stored, level = Stored.of(samples), settings.level
    measured = Measured.of(stored)
    tokens = divergence(stored.sides.pair, stored.sides.pair_floor, level)
    rules = rule_metrics(samples, measured, level)
    whole = combine_full_check(judgements(samples, measured, level), level)
    evidence = _evidence(samples, measured, stored, tokens, level, whole.failed)
    found = damage(samples, stored.sides.pair, _lost(samples, stored, evidence, whole.failed))
    return Evaluation(
        state=whole.state,
        headline=_headline(whole.state, rules),
        page_rule=_literal(rules),
        metrics=with_server_facts(
            (*rules, *_details(measured, stored, level), *time_metrics(samples, level), *tokens.metrics),
            samples,
            level,
        ),
        diagnosis=diagnose(strongest(evidence, whole.state, whole.failed), checks, found),
        charts=chart_data(stored, measured, rules, tokens, found, level),
    )


def usable(answer: Payload) -> bool:
    """Whether an answer says the right thing."""
    return answer["right"] is True


def lost(samples: Sequence[Sample], settings: ProbeSettings) -> Lost:
    """What EXL2 loses more of than noise does; nothing where it loses no more."""
    stored, level = Stored.of(samples), settings.level
    measured = Measured.of(stored)
    tokens = divergence(stored.sides.pair, stored.sides.pair_floor, level)
    failed = combine_full_check(judgements(samples, measured, level), level).failed
    return _lost(samples, stored, _evidence(samples, measured, stored, tokens, level, failed), failed)


def _lost(
    samples: Sequence[Sample], stored: Stored, evidence: Mapping[str, Evidence], failed: Sequence[str]
) -> Lost:
    """Right answers where they are lost; otherwise what the first rule is about that is lost beyond the noise."""
    if evidence["accuracy"].above_noise:
        good = stored.sides.each(usable)
        return lost_answers([q for q in good.both if good.fp16[q] and not good.exl2[q]], usable)
    for rule in lost_rules(evidence, failed):
        if questions := lost_by(samples, rule):
            most, arm = (LOST_RUNS, RUNS) if rule == OF_RUNS else (ANSWERED_QUESTIONS, "")
            return Lost(questions, partial(well_on, rule=rule), most, arm, rule)
    return Lost()


def _details(m: Measured, stored: Stored, level: float) -> tuple[Metric, ...]:
    drift, floor, far = list(m.drift.values()), list(m.drift_floor.values()), stored.distances
    cross = {q: d["cross"] for q, d in far.items()}
    cross_floor = {q: d["cross_floor"] for q, d in far.items() if "cross_floor" in d}
    found = [
        _point("ds_drift_median", _quantile(drift, 0.5), _quantile(floor, 0.5), len(drift), level),
        _point("ds_drift_p95", _quantile(drift, 0.95), _quantile(floor, 0.95), len(drift), level),
        distance_metric("ds_shift", m.signed, {}, level),
        distance_metric("ds_cross", cross, cross_floor, level),
    ]
    if m.chaotic.both:
        found.append(mean_metric("lambda_chaotic", m.chaotic, level))
    swept = PerSide[float](swept_share(stored.sweep["fp16"]), swept_share(stored.sweep["exl2"]), {})
    if swept.both:
        found.append(mean_metric("lambda_k_rate", swept, level))
    return tuple(found)


def _point(name: str, value: float | None, floor: float | None, n: int, level: float) -> Metric:
    """A quantile that is shown beside its strict-mode bound, not judged: its interval at 20 questions says little."""
    gate = gate_of(name)
    blank = missing_metric(name, "", level)
    met = page_rule(value, gate.gate()) if gate else None
    note = (
        ""
        if met is None or gate is None
        else (f"Strict mode asks for {gate.op} {gate.value:g}: {'met' if met else 'not met'} on this sample.")
    )
    return replace(blank, exl2=value, floor=floor, n=n, gate=None, state=None, note=note)


def _quantile(values: Sequence[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if values else None


def swept_share(by_k: Mapping[int, Mapping[str, Lambda]]) -> dict[str, float]:
    """Share of k at which a question's answer stays what it was, for questions measured at every k."""
    questions = set.intersection(*(set(labels) for labels in by_k.values())) if by_k else set()
    return {q: convergent_share([labels[q] for labels in by_k.values()]) for q in sorted(questions)}


def _headline(state: State, rules: Sequence[Metric]) -> str:
    titles = load_catalog().metrics
    by_state = {s: [titles[r.id].label for r in rules if r.state is s] for s in State}
    if state is State.FAIL:
        verb = "miss" if len(by_state[State.FAIL]) > 1 else "misses"
        return f"Do not ship: {listed(by_state[State.FAIL])} {verb} the gate."
    if state is State.PASS:
        return "Ship: every rule of the acceptance list holds."
    parts = []
    if by_state[State.PASS]:
        parts.append(f"{len(by_state[State.PASS])} of {len(rules)} rules hold")
    if by_state[State.FAIL]:
        failing = listed(by_state[State.FAIL])
        parts.append(f"outside the gate, but not after correction for several rules: {failing}")
    if by_state[State.INCONCLUSIVE]:
        parts.append(f"more questions are needed for: {listed(by_state[State.INCONCLUSIVE])}")
    if by_state[State.NOT_MEASURED]:
        parts.append(f"not measured: {listed(by_state[State.NOT_MEASURED])}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def listed(names: Sequence[str]) -> str:
    """Names in one line."""
    return ", ".join(names)


def _literal(rules: Sequence[Metric]) -> str:
    found = [literal(r) for r in rules]
    measured = [met for met in found if met is not None]
    return (
        f"On this sample the page's literal rules hold for {sum(measured)} of the {len(measured)} that were measured"
        f" ({len(rules)} in all)."
    )


def _evidence(
    samples: Sequence[Sample],
    m: Measured,
    stored: Stored,
    tokens: Divergence,
    level: float,
    failed: Collection[str],
) -> dict[str, Evidence]:
    """Evidence of a loss, by rule."""
    accuracy = rate_metric("accuracy", m.right, level, True)
    of = {rule: together(rule, failed, LOSSES) for rule in LOSSES}
    good = stored.sides.each(usable)
    right = rate_evidence(accuracy, m.right, good, tokens, level, of["accuracy"])
    covered_again, ds_again = (again_spread(samples, methodcaller("get", key)) for key in ("coverage", "ds"))
    return {
        "accuracy": with_again(right, samples, usable).evidence(),
        "coverage": mean_evidence("coverage", m.covered, tokens, level, of["coverage"], covered_again),
        "lambda_rate": mean_evidence("lambda_rate", m.stable, tokens, level, of["lambda_rate"]),
        "ds_drift": shift_evidence(m.signed, m.drift_floor, tokens, level, of["ds_drift"], ds_again),
    }
