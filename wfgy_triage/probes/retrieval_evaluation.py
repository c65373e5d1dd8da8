"""From stored samples of the retrieval probe to metrics, verdict and cause. A pure function of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis_retrieval import (
    ArmEvidence,
    RankEvidence,
    RetrievalEvidence,
    diagnose_retrieval,
    own_vectors,
)
from wfgy_triage.localized import Damage
from wfgy_triage.measure.places import Moved, moved
from wfgy_triage.measure.retrieval import found_at, reciprocal_rank, top_overlap
from wfgy_triage.measure.statistics import PairedCounts, mcnemar_exact
from wfgy_triage.measure.tension import course, flat_and_high, leads_away, observe
from wfgy_triage.options import option_values
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.chart_data import damage_chart, rate_charts
from wfgy_triage.probes.paired import (
    Numbers,
    Outcomes,
    counts,
    distance_metric,
    gate_of,
    literal_rule,
    mean_metric,
    missing_metric,
    rate_metric,
)
from wfgy_triage.probes.retrieval_charts import chart_data
from wfgy_triage.probes.retrieval_parts import part_damage
from wfgy_triage.probes.retrieval_plan import SYMPTOM
from wfgy_triage.probes.retrieval_samples import Payload, Stored
from wfgy_triage.result import Check, Metric, State
from wfgy_triage.store.records import Sample
from wfgy_triage.verdict import page_rule

PRIMARY = "recall_at_k"
COVERAGE_K = "10"
"""A section of the built-in corpus has about seven passages, so five results cannot hold one."""
SAME_BY_CONSTRUCTION = (
    "Equal by construction: index and queries come from an embedder that quantization does not touch."
)


def evaluate_samples(
    samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
) -> Evaluation:
    """Evaluate whatever is stored; the order of the samples does not matter."""
    stored, level, k = Stored.of(samples), settings.level, _k(settings)
    primary = _primary(stored, k, level)
    state = primary.state or State.NOT_MEASURED
    rates = [primary, *(_recall(stored, other, level) for other in (1, 10, 20))]
    metrics = (*rates, *_means(stored, level), *_agreement(stored, k, level), _duplicates(stored, level))
    evidence = _evidence(stored, k, state, metrics)
    found = part_damage(samples, _lost(stored, evidence, k), k)
    charts = {**chart_data(stored, level), "rates": rate_charts(rates, level)} if stored.sides.both else {}
    return Evaluation(
        state=state,
        headline=_headline(stored, primary, k),
        page_rule=literal_rule(primary),
        metrics=metrics,
        diagnosis=diagnose_retrieval(evidence, checks, found),
        charts=charts | damage_chart(found),
    )


def lost(samples: Sequence[Sample], settings: ProbeSettings) -> tuple[str, ...]:
    """Questions whose passage EXL2's own vectors lose; empty where something else is the cause, or noise is."""
    stored, level, k = Stored.of(samples), settings.level, _k(settings)
    state = _primary(stored, k, level).state or State.NOT_MEASURED
    return _lost(stored, _evidence(stored, k, state, _agreement(stored, k, level)), k)


def damage_of(samples: Sequence[Sample], settings: ProbeSettings) -> Damage | None:
    """What putting weights back showed; None where they were not put back."""
    return part_damage(samples, lost(samples, settings), _k(settings))


def brings_back(samples: Sequence[Sample], settings: ProbeSettings, arm: str) -> bool:
    """Whether an arm brings back what the deployed one loses against the reference, by more than chance explains."""
    stored, k = Stored.of(samples), _k(settings)
    deployed, other = _arm_of(stored, k, stored.sides.exl2), _arm_of(stored, k, stored.arms.get(arm))
    if deployed is None or other is None:
        return False
    return other.restores(deployed) and other.differs


def _k(settings: ProbeSettings) -> int:
    return int(option_values(SYMPTOM, settings.options)["k"])


def _lost(stored: Stored, evidence: RetrievalEvidence, k: int) -> tuple[str, ...]:
    if not own_vectors(evidence):
        return ()
    found = stored.found(k)
    return tuple(q for q in found.both if found.fp16[q] and not found.exl2[q])


def _primary(stored: Stored, k: int, level: float) -> Metric:
    metric = rate_metric(PRIMARY, stored.found(k), level, primary=True)
    if stored.by_construction and metric.n:
        zero = (0.0, 0.0)
        return replace(
            metric, interval=zero, gated_interval=zero, state=State.PASS, note=SAME_BY_CONSTRUCTION
        )
    if not metric.n and (reason := stored.facts.get("unmeasured")):
        return missing_metric(PRIMARY, reason, level, primary=True)
    return replace(metric, note=f"{_within(k)} {metric.note}".strip())


def _within(k: int) -> str:
    return f"Among the first {k}."


def _recall(stored: Stored, k: int, level: float) -> Metric:
    return rate_metric(f"recall_at_{k}", stored.found(k), level)


def _means(stored: Stored, level: float) -> list[Metric]:
    sides = stored.sides
    if not sides.both:
        return [missing_metric("mrr", "No question was asked on both sides.", level)]
    found = [
        mean_metric("mrr", sides.each(lambda p: reciprocal_rank(p["rank"])), level),
        mean_metric("ds_retrieved", sides.each(lambda p: course(p["ds"])[0]), level),
        rate_metric("lambda_divergent_rate", sides.each(lambda p: leads_away(course(p["ds"]))), level),
        rate_metric("flat_high_rate", sides.each(lambda p: flat_and_high(course(p["ds"]))), level),
    ]
    covered = _numbers(sides.each(lambda p: p["coverage"].get(COVERAGE_K)))
    if covered.both:
        note = f"At k = {COVERAGE_K}."
        metric = mean_metric("retrieval_coverage", covered, level)
        found.append(replace(metric, note=f"{note} {metric.note}".strip()))
    return found


def _numbers(values: Any) -> Numbers:
    """Leave out questions without a value."""
    return Numbers(
        *({q: v for q, v in s.items() if v is not None} for s in (values.fp16, values.exl2, values.floor))
    )


def _agreement(stored: Stored, k: int, level: float) -> list[Metric]:
    """How alike the deployed arm orders the passages."""
    sides = stored.sides
    if not sides.both:
        reason = "No question was asked on both sides."
        return [missing_metric(name, reason, level) for name in ("score_rank_correlation", "topk_overlap")]

    def correlation(side: Mapping[str, Payload]) -> dict[str, float]:
        return {q: p["rho"] for q, p in side.items() if p["rho"] is not None}

    def overlap(side: Mapping[str, Payload]) -> dict[str, float]:
        return {q: top_overlap(sides.fp16[q]["ids"], p["ids"], k) for q, p in side.items() if q in sides.fp16}

    def flipped(side: Mapping[str, Payload]) -> dict[str, float]:
        labels = {q: observe(course(p["ds"])) for q, p in sides.fp16.items()}
        return {q: float(labels[q] != observe(course(p["ds"]))) for q, p in side.items() if q in labels}

    readings = {"score_rank_correlation": correlation, "topk_overlap": overlap, "lambda_flip_rate": flipped}
    found = [
        distance_metric(name, read(sides.exl2), read(sides.floor), level) for name, read in readings.items()
    ]
    if stored.by_construction:
        return [replace(m, state=State.PASS if m.gate else None, note=SAME_BY_CONSTRUCTION) for m in found]
    return found


def _duplicates(stored: Stored, level: float) -> Metric:
    """A count over all passages, not a sample: it is held against the gate as it is."""
    name = "near_duplicate_rate"
    value, gate = _duplicate_share(stored), gate_of(name)
    if value is None or gate is None:
        return missing_metric(name, "The index was not built.", level)
    text, state = load_catalog().metrics[name], State.PASS if page_rule(value, gate.gate()) else State.FAIL
    return Metric(
        name, text.label, text.unit, None, value, level=level, gate=gate.gate(), state=state,
        note="Counted over all passages.",
    )  # fmt: skip


def _duplicate_share(stored: Stored) -> float | None:
    shares = [stored.facts.get("duplicates"), (stored.facts.get("given") or {}).get("duplicates")]
    return max((s for s in shares if s is not None), default=None)


def _evidence(stored: Stored, k: int, state: State, metrics: Sequence[Metric]) -> RetrievalEvidence:
    found, given = stored.found(k), stored.facts.get("given") or {}
    twin = counts(found, found.floor)
    by_id = {m.id: m for m in metrics}

    def arm(name: str) -> ArmEvidence | None:
        return _arm_of(stored, k, stored.arms.get(name))

    return RetrievalEvidence(
        state=state,
        pairs=len(found.both),
        deployed=_arm(found, found.exl2),
        rebuilt=arm("rebuilt"),
        normalised=arm("given_normalised"),
        independent=arm("independent"),
        floor_flips=twin.only_reference + twin.only_candidate if twin.n else None,
        correlation=by_id["score_rank_correlation"].exl2,
        duplicates=_duplicate_share(stored),
        given_unit=given.get("unit"),
        maker=given.get("maker", ""),
        by_construction=stored.by_construction,
        misplaced=given.get("misplaced"),
        ranks=_ranks(stored) if given else None,
    )


def _ranks(stored: Stored) -> RankEvidence:
    """The same arms by the place of the right passage."""
    places = stored.sides.each(lambda p: _place(p["rank"]))
    twin = _moved(places.fp16, places.floor)

    def arm(name: str) -> ArmEvidence | None:
        payloads = stored.arms.get(name)
        if not payloads:
            return None
        there = {q: _place(p["rank"]) for q, p in payloads.items()}
        return rank_arm(_moved(places.fp16, there), _moved(places.exl2, there).p_value)

    return RankEvidence(
        deployed=rank_arm(_moved(places.fp16, places.exl2)),
        rebuilt=arm("rebuilt"),
        normalised=arm("given_normalised"),
        floor_flips=twin.later + twin.earlier if places.floor else None,
    )


def _place(rank: int | None) -> float:
    return math.inf if rank is None else rank


def rank_arm(moves: Moved, p_deployed: float = 1.0) -> ArmEvidence:
    """Moved places as the evidence of an arm."""
    return ArmEvidence(moves.later, moves.earlier, moves.p_value, p_deployed)


def _moved(reference: Mapping[str, float], candidate: Mapping[str, float]) -> Moved:
    both = [q for q in reference if q in candidate]
    return moved([reference[q] for q in both], [candidate[q] for q in both])


def _arm_of(stored: Stored, k: int, payloads: Mapping[str, Payload] | None) -> ArmEvidence | None:
    """An arm by what it found; None where it was not searched."""
    hits = {q: found_at(p["rank"], k) for q, p in (payloads or {}).items()}
    return _arm(stored.found(k), hits) if hits else None


def _arm(found: Outcomes, hits: Mapping[str, bool | None]) -> ArmEvidence:
    against = counts(found, hits)
    both = [q for q in hits if q in found.exl2]
    deployed = PairedCounts.from_outcomes([bool(found.exl2[q]) for q in both], [bool(hits[q]) for q in both])
    return ArmEvidence(
        against.only_reference, against.only_candidate, mcnemar_exact(against), mcnemar_exact(deployed)
    )


def _headline(stored: Stored, primary: Metric, k: int) -> str:
    """One sentence with the counts; the reason or the next step where there is no clear verdict."""
    if primary.state is State.NOT_MEASURED:
        return f"Not measured: {primary.note}"
    found = stored.found(k)
    hits = [sum(bool(side[q]) for q in found.both) for side in (found.fp16, found.exl2)]
    n = len(found.both)
    if stored.by_construction:
        return f"The independent embedder finds {hits[1]} of {n} passages, with FP16 and with EXL2 alike."
    text = (
        f"EXL2 has the right passage among the first {k} for {hits[1]} of {n} questions; FP16 for {hits[0]}."
    )
    if primary.state is State.INCONCLUSIVE:
        return f"{text} Too few questions for a verdict.{primary.note.removeprefix(_within(k))}".strip()
    return text
