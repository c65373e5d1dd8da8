"""From stored samples of the citation probe to metrics, verdict and cause. A pure function of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wfgy_triage.diagnosis import FAULT, OK, UNKNOWN, diagnose_rate
from wfgy_triage.evidence import RateEvidence
from wfgy_triage.measure.citations import CitationKind
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.chart_data import class_chart, damage_chart, rate_charts
from wfgy_triage.probes.citation_samples import (
    CLASSES,
    FLUENCY,
    NUMBERS,
    PRIMARY,
    RATES,
    RECORD_NUMBERS,
    RECORD_RATES,
    answers_of,
    cited_place,
    fluency_of,
    numbers,
    records_of,
)
from wfgy_triage.probes.damage import damage
from wfgy_triage.probes.evidence import failed_questions, lost_questions, rate_evidence
from wfgy_triage.probes.held import held_of
from wfgy_triage.probes.lost import lost_answers
from wfgy_triage.probes.paired import (
    Outcomes,
    Payload,
    PerSide,
    Sides,
    literal_rule,
    mean_metric,
    rate_metric,
)
from wfgy_triage.probes.sampling import with_sampling
from wfgy_triage.probes.served import with_again, with_server_facts
from wfgy_triage.probes.token_metrics import Divergence, Part, bucket_chart, divergence
from wfgy_triage.result import Check, Metric, State
from wfgy_triage.store.records import Sample

PARTS = (Part("kld_citation", "citation", True), Part("kld_prose", "citation", False))
PART_LABELS = {"kld_citation": "Drift at the citation marks", "kld_prose": "Drift in the words around them"}
FLUENCY_CHECK = "fluency_holds"
LOGPROB_FALL = math.log(2)
"""Text counts as fluent while FP16 finds its words at most half as likely as those of its own answers (geometric
mean), and while it repeats itself by at most `REPETITION_RISE` more. Limits of this project: upstream gives none."""
REPETITION_RISE = 0.05


def evaluate_samples(
    samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
) -> Evaluation:
    """Evaluate whatever is stored; the order of the samples does not matter."""
    level = settings.level
    sides, records = answers_of(samples), records_of(samples)
    rates = {name: rate_metric(name, sides.each(hit), level, name == PRIMARY) for name, hit in RATES.items()}
    means = [mean_metric(name, numbers(sides, key), level) for name, key in NUMBERS.items()]
    means += [mean_metric(name, numbers(records, key), level) for name, key in RECORD_NUMBERS.items()]
    means += [rate_metric(name, records.each(hit), level) for name, hit in RECORD_RATES.items()]
    fluency = fluency_of(samples, sides)
    logprob = mean_metric(FLUENCY, fluency, level)
    tokens = divergence(sides.pair, sides.pair_floor, level, PARTS)
    valid, primary = sides.each(RATES[PRIMARY]), rates[PRIMARY]
    good = sides.each(usable)
    evidence = with_again(rate_evidence(primary, valid, good, tokens, level), samples, usable)
    gone = lost_answers(lost_questions(evidence, good), usable)
    held = held_of(samples, failed_questions(evidence, good), usable, right)
    found = damage(samples, sides.pair, gone)
    asked = with_sampling(checks, samples)
    diagnosis = diagnose_rate(evidence, asked, found, held)
    check = fluency_check(fluency, numbers(sides, "repetition"), primary)
    return Evaluation(
        state=primary.state or State.NOT_MEASURED,
        headline=_headline(valid, primary),
        page_rule=literal_rule(primary),
        metrics=with_server_facts((*rates.values(), *means, logprob, *tokens.metrics), samples, level),
        diagnosis=replace(diagnosis, evidence=(*diagnosis.evidence, check)),
        charts=_charts(sides, rates, tokens, level) | damage_chart(found),
    )


def usable(answer: Payload) -> bool:
    """Whether an answer cites a passage that was supplied, and none that was not."""
    return answer["valid"] is True


def right(answer: Payload) -> bool:
    """Whether an answer says the right thing, whatever it cites."""
    return answer["right"] is True


def lost(samples: Sequence[Sample], settings: ProbeSettings) -> tuple[str, ...]:
    """The questions that EXL2 loses; see `evidence.lost_questions`."""
    return lost_questions(*_changes(samples, settings))


def failed(samples: Sequence[Sample], settings: ProbeSettings) -> tuple[str, ...]:
    """The questions that FP16 itself fails; see `evidence.failed_questions`."""
    return failed_questions(*_changes(samples, settings))


def _changes(samples: Sequence[Sample], settings: ProbeSettings) -> tuple[RateEvidence, PerSide[bool]]:
    sides, level = answers_of(samples), settings.level
    valid, good = sides.each(RATES[PRIMARY]), sides.each(usable)
    tokens = divergence(sides.pair, sides.pair_floor, level)
    primary = rate_metric(PRIMARY, valid, level, True)
    evidence = rate_evidence(primary, valid, good, tokens, level)
    return with_again(evidence, samples, usable), good


def fluency_check(logprob: PerSide[float], repeated: PerSide[float], primary: Metric) -> Check:
    """Whether the text stays fluent, and whether that makes it the symptom as it is described."""
    if not logprob.both or not repeated.both:
        return Check(FLUENCY_CHECK, UNKNOWN, "Whether EXL2's text is still fluent was not measured.")
    fall = _mean_of(logprob, logprob.fp16) - _mean_of(logprob, logprob.exl2)
    rise = _mean_of(repeated, repeated.exl2) - _mean_of(repeated, repeated.fp16)
    holds = fall <= LOGPROB_FALL and rise <= REPETITION_RISE
    numbers_said = (
        f"FP16 finds the words of EXL2's answers {math.exp(-fall):.2f} times as likely as those of its own "
        f"(limit {math.exp(-LOGPROB_FALL):.2f}); repeated phrases change by {100 * rise:+.0f} points "
        f"(limit {100 * REPETITION_RISE:+.0f})."
    )
    if primary.interval is None or primary.interval[1] >= 0:
        meaning = "Valid citations did not clearly get fewer, so there is nothing to set it against."
    elif holds:
        meaning = "The text stays fluent while valid citations get fewer: this symptom as it is described."
    else:
        meaning = "The text suffers as well: the damage is wider than missing citations."
    return Check(FLUENCY_CHECK, OK if holds else FAULT, f"{meaning} {numbers_said}")


def _mean_of(values: PerSide[float], side: Mapping[str, float]) -> float:
    return float(np.mean([side[q] for q in values.both]))


def _headline(valid: Outcomes, primary: Metric) -> str:
    """One sentence with the counts; the reason or the next step where there is no clear verdict."""
    if primary.state is State.NOT_MEASURED:
        return f"Not measured: {primary.note}"
    broken = [sum(side[q] is False for q in valid.both) for side in (valid.fp16, valid.exl2)]
    text = (
        f"EXL2 cites nothing, or a passage that was not supplied, in {broken[1]} of {len(valid.both)} answers; "
        f"FP16 in {broken[0]}."
    )
    if primary.state is State.INCONCLUSIVE:
        return f"{text} Too few questions for a verdict. {primary.note}"
    # A note beside PASS or FAIL tells of answers that could not be judged.
    return f"{text} {primary.note}".rstrip()


def _charts(sides: Sides, rates: Mapping[str, Metric], tokens: Divergence, level: float) -> dict[str, Any]:
    parts = [
        {"label": PART_LABELS[m.id], "kl": m.exl2}
        for m in tokens.metrics
        if m.id in PART_LABELS and m.exl2 is not None
    ]
    return {
        "rates": rate_charts([rates[name] for name in CLASSES], level),
        "failure_classes": class_chart(sides.each(lambda a: str(a["kind"])), [*map(str, CitationKind)]),
        "cited_places": _places(sides),
        "kld_buckets": bucket_chart(tokens.exl2),
        "token_parts": parts if len(parts) == len(PART_LABELS) else [],
    }


def _places(sides: Sides) -> dict[str, Any]:
    """Where the right passages stood, and which were cited first: shows a model that always points at one place."""
    both = sides.both
    if not both:
        return {}
    places = max((sides.fp16[q]["places"] for q in both), key=len)
    labels = [*places, "not supplied", "none"]
    found: dict[str, list[str]] = {
        "gold": [sides.fp16[q]["gold"] for q in both],
        "fp16": [cited_place(sides.fp16[q]) for q in both],
        "exl2": [cited_place(sides.exl2[q]) for q in both],
    }
    return {"labels": labels, **{name: [where.count(x) for x in labels] for name, where in found.items()}}
