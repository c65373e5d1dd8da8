"""From stored samples of the JSON probe to metrics, verdict and cause. A pure function of them.

Rates are over questions whose outcome is settled on both sides, so that the comparison is paired. An answer cut off by
the length limit is settled only where no continuation could have helped; otherwise it leaves the rate and, in the
verdict, may count as either outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import RateEvidence, diagnose_rate
from wfgy_triage.measure.agreement import (
    AgreementReport,
    AgreementSummary,
    Estimate,
    QuestionTokens,
    mean_kl,
    summarise_agreement,
)
from wfgy_triage.measure.statistics import PairedCounts, mcnemar_exact, share, tango
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.json_charts import chart_data
from wfgy_triage.probes.json_samples import PRIMARY, RATES, Payload, Sides
from wfgy_triage.result import Check, Gate, Metric, State
from wfgy_triage.store.records import Sample
from wfgy_triage.verdict import Judgement, judge_rate, not_measured, page_rule

TOKEN_METRICS = (
    "kld",
    "kld_median",
    "kld_p90",
    "kld_p99",
    "kld_structure",
    "kld_content",
    "top1",
    "ppl_ratio",
)
"""Divergence metrics in the order in which they are shown."""


def evaluate_samples(
    samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
) -> Evaluation:
    """Evaluate whatever is stored; the order of the samples does not matter."""
    sides = Sides.of(samples)
    gate = _gate(PRIMARY)
    judged = _judge(sides, sides.exl2, gate, PRIMARY, settings.level)
    baseline = _judge(sides, sides.fp16, gate, PRIMARY, settings.level)
    agreement = _agreement(sides.pair, settings.level)
    floor = _agreement(sides.pair_floor, settings.level)
    rates = [_rate_metric(name, sides, settings.level) for name in RATES]
    metrics = (
        *rates,
        _truncated_metric(sides, settings.level),
        *_token_metrics(sides, agreement, floor, settings.level),
    )
    value = rates[0].exl2
    return Evaluation(
        state=judged.state,
        headline=_headline(sides, judged),
        page_rule=_page_rule(value, gate),
        metrics=metrics,
        diagnosis=diagnose_rate(_evidence(sides, judged, baseline, agreement, floor), checks),
        charts=chart_data(sides, metrics, agreement, settings.level),
    )


def _gate(metric: str) -> Gate:
    found = next(g for g in load_catalog().gates.values() if g.metric == metric)
    return found.gate()


def _judge(sides: Sides, side: Mapping[str, Payload], gate: Gate, metric: str, level: float) -> Judgement:
    """Hold one side's rate against the gate; only questions answered on both sides count."""
    if not sides.both:
        return not_measured("No question was answered on both sides.")
    outcomes = [RATES[metric](side[q]) for q in sides.both]
    settled = [o for o in outcomes if o is not None]
    return judge_rate(sum(settled), len(settled), gate, level, unmeasured=len(outcomes) - len(settled))


def _counts(name: str, sides: Sides, other: Mapping[str, Payload]) -> PairedCounts:
    pairs = sides.decided(name, other)
    return PairedCounts.from_outcomes([a for a, _ in pairs], [b for _, b in pairs])


def _rate_metric(name: str, sides: Sides, level: float) -> Metric:
    text = load_catalog().metrics[name]
    counts = _counts(name, sides, sides.exl2)
    floor = _counts(name, sides, sides.floor)
    gated = any(g.metric == name for g in load_catalog().gates.values())
    judged = _judge(sides, sides.exl2, _gate(name), name, level) if gated else None
    interval = judged.interval.bounds if judged and judged.interval else None
    return Metric(
        id=name,
        label=text.label,
        unit=text.unit,
        fp16=share(counts.both + counts.only_reference, counts.n),
        exl2=share(counts.both + counts.only_candidate, counts.n),
        difference=counts.difference if counts.n else None,
        interval=tango(counts, level).bounds if counts.n else None,
        gated_interval=interval,
        level=level,
        n=counts.n,
        floor=abs(floor.difference) if floor.n else None,
        gate=_gate(name) if gated else None,
        state=judged.state if judged else None,
        note=judged.note if judged else "",
        primary=name == PRIMARY,
    )


def _truncated_metric(sides: Sides, level: float) -> Metric:
    text = load_catalog().metrics["truncated_rate"]
    counts = PairedCounts.from_outcomes(
        [sides.fp16[q]["truncated"] for q in sides.both], [sides.exl2[q]["truncated"] for q in sides.both]
    )
    twin = [q for q in sides.fp16 if q in sides.floor]
    flips = [sides.floor[q]["truncated"] - sides.fp16[q]["truncated"] for q in twin]
    return Metric(
        id="truncated_rate",
        label=text.label,
        unit=text.unit,
        fp16=share(counts.both + counts.only_reference, counts.n),
        exl2=share(counts.both + counts.only_candidate, counts.n),
        difference=counts.difference if counts.n else None,
        interval=tango(counts, level).bounds if counts.n else None,
        level=level,
        n=counts.n,
        floor=abs(sum(flips)) / len(flips) if flips else None,
    )


def _tokens(payload: Payload) -> QuestionTokens:
    return QuestionTokens(
        *(np.asarray(payload[name], np.float64) for name in QuestionTokens.__dataclass_fields__)
    )


def _agreement(pair: Mapping[str, Payload], level: float) -> AgreementReport:
    return summarise_agreement([_tokens(p) for p in pair.values()], level)


def _part(pair: Mapping[str, Payload], structural: bool, level: float) -> Estimate | None:
    """Mean KL over the tokens that spell structure, or over those that spell content."""
    parts = [_tokens(p).select([bool(s) is structural for s in p["structural"]]) for p in pair.values()]
    return mean_kl(parts, level)


def _token_metrics(
    sides: Sides, agreement: AgreementReport, floor: AgreementReport, level: float
) -> tuple[Metric, ...]:
    """Divergence metrics; where there are too few tokens they are NOT MEASURED and say why."""
    found, twin = agreement.summary, floor.summary
    n = found.questions if found else 0
    structure, content = (_part(sides.pair, flag, level) for flag in (True, False))
    twin_structure, twin_content = (_part(sides.pair_floor, flag, level) for flag in (True, False))
    values = {**_estimates(found), "kld_structure": structure, "kld_content": content}
    noise = {**_estimates(twin), "kld_structure": twin_structure, "kld_content": twin_content}
    return tuple(
        _token_metric(name, values.get(name), noise.get(name), n, agreement.reason, level)
        for name in TOKEN_METRICS
    )


def _estimates(summary: AgreementSummary | None) -> dict[str, Estimate]:
    """Metric id to estimate; empty without a summary."""
    if summary is None:
        return {}
    return {
        "kld": summary.kl_mean,
        "kld_median": summary.kl_median,
        "kld_p90": summary.kl_p90,
        "kld_p99": summary.kl_p99,
        "top1": summary.top1,
        "ppl_ratio": summary.ppl_ratio,
    }


def _token_metric(
    name: str, value: Estimate | None, noise: Estimate | None, n: int, reason: str, level: float
) -> Metric:
    text = load_catalog().metrics[name]
    return Metric(
        id=name,
        label=text.label,
        unit=text.unit,
        fp16=None,
        exl2=value.value if value else None,
        interval=value.interval.bounds if value and value.interval else None,
        level=level,
        n=n,
        floor=noise.value if noise else None,
        state=None if value else State.NOT_MEASURED,
        note="" if value else reason or "Too few tokens of this kind.",
    )


def _usable(sides: Sides, other: Mapping[str, Payload]) -> PairedCounts:
    """Complete answers that fit the schema, FP16 against another side.

    Unlike the rates, an answer that was cut off counts here: it is not called invalid, but where FP16 gave a whole
    record it is a change, and rung 6 asks about changes.
    """
    questions = [q for q in sides.fp16 if q in other]
    return PairedCounts.from_outcomes(
        [sides.fp16[q]["schema_valid"] for q in questions], [other[q]["schema_valid"] for q in questions]
    )


def _evidence(
    sides: Sides,
    judged: Judgement,
    baseline: Judgement,
    agreement: AgreementReport,
    floor: AgreementReport,
) -> RateEvidence:
    counts = _usable(sides, sides.exl2)
    twin = _usable(sides, sides.floor)
    return RateEvidence(
        state=judged.state,
        baseline_state=baseline.state,
        pairs=counts.n,
        lost=counts.only_reference,
        won=counts.only_candidate,
        p_value=mcnemar_exact(counts) if counts.n else None,
        interval=tango(counts).bounds if counts.n else None,
        floor_flips=twin.only_reference + twin.only_candidate if twin.n else None,
        kld=agreement.summary.kl_mean.value if agreement.summary else None,
        kld_floor=floor.summary.kl_mean.value if floor.summary else None,
    )


def _headline(sides: Sides, judged: Judgement) -> str:
    """One sentence with the counts; the reason or the next step where there is no clear verdict."""
    if judged.state is State.NOT_MEASURED:
        return f"Not measured: {judged.note}"
    total = len(sides.both)
    broken = {
        name: sum(RATES[PRIMARY](side[q]) is False for q in sides.both)
        for name, side in (("FP16", sides.fp16), ("EXL2", sides.exl2))
    }
    text = f"EXL2 breaks the schema in {broken['EXL2']} of {total} answers; FP16 in {broken['FP16']}."
    if judged.state is State.INCONCLUSIVE:
        return f"{text} Too few questions for a verdict. {judged.note}"
    return text


def _page_rule(value: float | None, gate: Gate) -> str:
    met = page_rule(value, gate)
    if met is None or value is None:
        return "The page's literal rule cannot be applied: there is no value."
    word = "meets" if met else "does not meet"
    rule = f"{gate.op} {100 * gate.value:g} %"
    return f"On this sample EXL2 ({100 * value:.0f} %) {word} the page's literal rule ({rule})."
