"""From stored samples of the JSON probe to metrics, verdict and cause. A pure function of them.

Rates are over questions whose outcome is settled on both sides, so that the comparison is paired. An answer cut off by
the length limit is settled only where no continuation could have helped; otherwise it leaves the rate and, in the
verdict, may count as either outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wfgy_triage.diagnosis import diagnose
from wfgy_triage.evidence import Evidence, RateEvidence
from wfgy_triage.measure.json_validity import JsonKind
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.chart_data import class_chart, damage_chart, rate_charts
from wfgy_triage.probes.damage import damage
from wfgy_triage.probes.evidence import (
    failed_questions,
    lost_questions,
    lost_rules,
    rate_evidence,
    strongest,
)
from wfgy_triage.probes.held import held_of
from wfgy_triage.probes.json_samples import LOSSES, PRIMARY, RATES, right, usable
from wfgy_triage.probes.lost import Lost, lost_answers
from wfgy_triage.probes.paired import Outcomes, Sides, literal_rule, rate_metric
from wfgy_triage.probes.sampling import with_sampling
from wfgy_triage.probes.served import with_again, with_server_facts
from wfgy_triage.probes.token_metrics import Divergence, Part, bucket_chart, divergence
from wfgy_triage.result import Check, Metric, State
from wfgy_triage.store.records import Sample

PARTS = (Part("kld_structure", "structural", True), Part("kld_content", "structural", False))
PART_LABELS = {
    "kld_structure": "Drift at JSON punctuation and field names",
    "kld_content": "Drift inside the values",
}


def evaluate_samples(
    samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
) -> Evaluation:
    """Evaluate whatever is stored; the order of the samples does not matter."""
    sides, level = Sides.of(samples), settings.level
    rates = {name: rate_metric(name, sides.each(hit), level, name == PRIMARY) for name, hit in RATES.items()}
    tokens = divergence(sides.pair, sides.pair_floor, level, PARTS)
    fits, primary = sides.each(RATES[PRIMARY]), rates[PRIMARY]
    losses = _losses(samples, sides, rates, tokens, level)
    gone = _lost(sides, losses)
    held = held_of(samples, failed_questions(losses[PRIMARY], sides.each(usable)), usable, right)
    found, asked = damage(samples, sides.pair, gone), with_sampling(checks, samples)
    shown = strongest(_as_read(losses), losses[PRIMARY].state, _failed_rules(losses))
    return Evaluation(
        state=primary.state or State.NOT_MEASURED,
        headline=_headline(fits, primary, sides.each(RATES["truncated_rate"])),
        page_rule=literal_rule(primary),
        metrics=with_server_facts((*rates.values(), *tokens.metrics), samples, level),
        diagnosis=diagnose(shown, asked, found, held),
        charts=_charts(sides, rates, tokens, level) | damage_chart(found),
    )


def lost(samples: Sequence[Sample], settings: ProbeSettings) -> Lost:
    """What EXL2 loses more of than noise does; nothing where it loses no more."""
    return _lost(*_stored_losses(samples, settings))


def failed(samples: Sequence[Sample], settings: ProbeSettings) -> tuple[str, ...]:
    """The questions that FP16 itself fails; see `evidence.failed_questions`."""
    sides, losses = _stored_losses(samples, settings)
    return failed_questions(losses[PRIMARY], sides.each(usable))


def _stored_losses(
    samples: Sequence[Sample], settings: ProbeSettings
) -> tuple[Sides, dict[str, RateEvidence]]:
    sides, level = Sides.of(samples), settings.level
    rates = {name: rate_metric(name, sides.each(RATES[name]), level, name == PRIMARY) for name in LOSSES}
    tokens = divergence(sides.pair, sides.pair_floor, level)
    return sides, _losses(samples, sides, rates, tokens, level)


def _losses(
    samples: Sequence[Sample], sides: Sides, rates: Mapping[str, Metric], tokens: Divergence, level: float
) -> dict[str, RateEvidence]:
    """Evidence by metric: of what decides, and where that fails, of whether the values are right as well."""
    state = rates[PRIMARY].state
    return {
        name: with_again(
            rate_evidence(rates[name], sides.each(RATES[name]), sides.each(good), tokens, level, tries),
            samples,
            good,
        )
        for tries, (name, good) in enumerate(LOSSES.items(), 1)
        if name == PRIMARY or state is State.FAIL
    }


def _as_read(losses: Mapping[str, RateEvidence]) -> dict[str, Evidence]:
    return {name: found.evidence() for name, found in losses.items()}


def _failed_rules(losses: Mapping[str, RateEvidence]) -> tuple[str, ...]:
    return (PRIMARY,) if losses[PRIMARY].state is State.FAIL else ()


def _lost(sides: Sides, losses: Mapping[str, RateEvidence]) -> Lost:
    """Questions with a good FP16 answer and no good EXL2 answer, by the metric whose loss is beyond the noise."""
    rule = next(iter(lost_rules(_as_read(losses), _failed_rules(losses))), PRIMARY)
    return lost_answers(lost_questions(losses[rule], sides.each(LOSSES[rule])), LOSSES[rule])


def _headline(fits: Outcomes, primary: Metric, cut: Outcomes) -> str:
    """One sentence with the counts; the reason or the next step where there is no clear verdict."""
    if primary.state is State.NOT_MEASURED:
        ended = [sum(side[q] is False for q in cut.both) for side in (cut.fp16, cut.exl2)]
        if ended[1] < ended[0]:
            many = len(cut.both)
            said = f"EXL2 ends {ended[1]} of {many} answers before the length limit, FP16 {ended[0]}."
            return " ".join((said, f"Not measured: {primary.note}"))
        return f"Not measured: {primary.note}"
    broken = [sum(side[q] is False for q in fits.both) for side in (fits.fp16, fits.exl2)]
    text = f"EXL2 breaks the schema in {broken[1]} of {len(fits.both)} answers; FP16 in {broken[0]}."
    if primary.state is State.INCONCLUSIVE:
        return f"{text} Too few questions for a verdict. {primary.note}"
    # A note beside PASS or FAIL tells of answers that could not be judged.
    return f"{text} {primary.note}".rstrip()


def _charts(sides: Sides, rates: dict[str, Metric], tokens: Divergence, level: float) -> dict[str, Any]:
    parts = [
        {"label": PART_LABELS[m.id], "kl": m.exl2}
        for m in tokens.metrics
        if m.id in PART_LABELS and m.exl2 is not None
    ]
    return {
        "rates": rate_charts([m for m in rates.values() if m.gate], level),
        "failure_classes": class_chart(sides.each(lambda answer: str(answer["kind"])), [*map(str, JsonKind)]),
        "kld_buckets": bucket_chart(tokens.exl2),
        "token_parts": parts if len(parts) == len(PART_LABELS) else [],
    }
