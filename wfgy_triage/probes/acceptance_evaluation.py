"""From stored samples of the acceptance probe to the page's rules, one verdict and a cause. A pure function of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import diagnose
from wfgy_triage.evidence import Evidence
from wfgy_triage.measure.stability import convergent_share
from wfgy_triage.measure.tension import Lambda
from wfgy_triage.probes.acceptance_charts import chart_data, literal
from wfgy_triage.probes.acceptance_samples import Stored
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.evidence import (
    lost_questions,
    mean_evidence,
    rate_evidence,
    shift_evidence,
    strongest,
)
from wfgy_triage.probes.localize import damage
from wfgy_triage.probes.paired import (
    Numbers,
    Outcomes,
    Payload,
    PerSide,
    Sides,
    counts,
    distance_metric,
    gate_of,
    mean_metric,
    missing_metric,
    rate_metric,
)
from wfgy_triage.probes.served import latency_gains, latency_metric, with_server_facts
from wfgy_triage.probes.token_metrics import Divergence, divergence
from wfgy_triage.result import Check, Gate, Metric, State
from wfgy_triage.store.records import Sample
from wfgy_triage.verdict import (
    Judgement,
    combine_full_check,
    judge_difference,
    judge_mean,
    not_measured,
    page_rule,
)

RULES = ("ds_drift", "coverage", "lambda_rate", "accuracy", "latency_gain")
"""The seed's core acceptance, in the order in which the rules are shown."""
NO_LATENCY = (
    "The CPU reference engine does not run ExLlamaV2's kernels, so its speed says nothing about them."
)
NO_WORDINGS = "λ needs several wordings of each question; these questions have one."


@dataclass(frozen=True)
class _Measured:
    """The numbers behind the rules, by question."""

    drift: Mapping[str, float]
    signed: Mapping[str, float]
    drift_floor: Mapping[str, float]
    cross: Mapping[str, float]
    cross_floor: Mapping[str, float]
    covered: Numbers
    stable: Numbers
    chaotic: Numbers
    right: Outcomes

    @classmethod
    def of(cls, stored: Stored) -> _Measured:
        far = stored.distances
        signed = {q: d["exl2"] - d["fp16"] for q, d in far.items()}
        return cls(
            drift={q: abs(d) for q, d in signed.items()},
            signed=signed,
            drift_floor={q: abs(d["fp16_floor"] - d["fp16"]) for q, d in far.items() if "fp16_floor" in d},
            cross={q: d["cross"] for q, d in far.items()},
            cross_floor={q: d["cross_floor"] for q, d in far.items() if "cross_floor" in d},
            covered=covered(stored.sides),
            stable=_runs(stored, convergent_share),
            chaotic=_runs(stored, lambda labels: sum(x is Lambda.CHAOTIC for x in labels) / len(labels)),
            right=stored.sides.each(lambda a: a["right"]),
        )


def evaluate_samples(
    samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
) -> Evaluation:
    """Evaluate whatever is stored; the order of the samples does not matter."""
    stored, level = Stored.of(samples), settings.level
    measured = _Measured.of(stored)
    tokens = divergence(stored.sides.pair, stored.sides.pair_floor, level)
    rules = (*_rules(measured, level), latency_metric(samples, level, NO_LATENCY))
    judged = {**_judgements(measured, level), "latency_gain": _judged_latency(samples, level)}
    whole = combine_full_check(judged, level)
    found = damage(samples, stored.sides.pair, usable)
    return Evaluation(
        state=whole.state,
        headline=_headline(whole.state, rules),
        page_rule=_literal(rules),
        metrics=with_server_facts(
            (*rules, *_details(measured, stored, level), *tokens.metrics), samples, level
        ),
        diagnosis=diagnose(
            _evidence(measured, stored, tokens, whole.state, whole.failed, level), checks, found
        ),
        charts=chart_data(stored, rules, tokens, found, level),
    )


def usable(answer: Payload) -> bool:
    """Whether an answer says the right thing."""
    return answer["right"] is True


def lost(samples: Sequence[Sample], settings: ProbeSettings) -> tuple[str, ...]:
    """The questions that EXL2 loses; see `evidence.lost_questions`."""
    sides, level = Sides.of(samples), settings.level
    right, good = sides.each(lambda a: a["right"]), sides.each(usable)
    tokens = divergence(sides.pair, sides.pair_floor, level)
    return lost_questions(
        rate_evidence(rate_metric("accuracy", right, level, True), right, good, tokens, level), good
    )


def covered(sides: Sides) -> Numbers:
    """Coverage of every answer whose evidence has content words."""
    found = sides.each(lambda a: a["coverage"])
    return PerSide(
        *({q: v for q, v in side.items() if v is not None} for side in (found.fp16, found.exl2, found.floor))
    )


def _runs(stored: Stored, read: Any) -> Numbers:
    """A number of the λ runs of each question; the twin does not repeat them."""
    several = {
        side: {q: read(labels) for q, labels in runs.items() if len(labels) > 2}
        for side, runs in stored.runs.items()
    }
    return PerSide(several["fp16"], several["exl2"], {})


def _rules(m: _Measured, level: float) -> tuple[Metric, ...]:
    stable = (
        mean_metric("lambda_rate", m.stable, level, True)
        if m.stable.both
        else missing_metric("lambda_rate", NO_WORDINGS, level, True)
    )
    return (
        distance_metric("ds_drift", m.drift, m.drift_floor, level, True),
        mean_metric("coverage", m.covered, level, True),
        stable,
        rate_metric("accuracy", m.right, level, True),
    )


def _judgements(m: _Measured, level: float) -> dict[str, Judgement]:
    """The rules once more as judgements: the correction for several rules needs their p-values."""
    values = {
        "ds_drift": list(m.drift.values()),
        "coverage": [m.covered.exl2[q] for q in m.covered.both],
        "lambda_rate": [m.stable.exl2[q] for q in m.stable.both],
    }
    judged = {
        name: judge_mean(found, _gate(name), level) if found else not_measured("Nothing was measured.")
        for name, found in values.items()
    }
    judged["accuracy"] = judge_difference(counts(m.right, m.right.exl2), _gate("accuracy"), level)
    return judged


def _judged_latency(samples: Sequence[Sample], level: float) -> Judgement:
    gains, _ = latency_gains(samples)
    if not gains:
        return not_measured(NO_LATENCY)
    return judge_mean(list(gains.values()), _gate("latency_gain"), level)


def _gate(metric: str) -> Gate:
    return next(g for g in load_catalog().gates.values() if g.metric == metric).gate()


def _details(m: _Measured, stored: Stored, level: float) -> tuple[Metric, ...]:
    drift = list(m.drift.values())
    floor = list(m.drift_floor.values())
    found = [
        _point("ds_drift_median", _quantile(drift, 0.5), _quantile(floor, 0.5), len(drift), level),
        _point("ds_drift_p95", _quantile(drift, 0.95), _quantile(floor, 0.95), len(drift), level),
        distance_metric("ds_shift", m.signed, {}, level),
        distance_metric("ds_cross", m.cross, m.cross_floor, level),
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
    m: _Measured, stored: Stored, tokens: Divergence, state: State, failed: Sequence[str], level: float
) -> Evidence:
    """The strongest evidence of a loss: of the rules that failed first, of all otherwise."""
    accuracy = rate_metric("accuracy", m.right, level, True)
    found: dict[str, Evidence] = {
        "accuracy": rate_evidence(accuracy, m.right, stored.sides.each(usable), tokens, level).evidence(),
        "coverage": mean_evidence("coverage", m.covered, tokens, level),
        "lambda_rate": mean_evidence("lambda_rate", m.stable, tokens, level),
        "ds_drift": shift_evidence(m.signed, m.drift_floor, tokens, level),
    }
    return strongest(found, state, failed)
