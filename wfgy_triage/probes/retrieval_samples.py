"""What a retrieval run stores of each question and arm, and how it is read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.measure.retrieval import (
    Floats,
    found_at,
    gold_rank,
    rank_correlation,
    rank_order,
    section_coverage,
)
from wfgy_triage.measure.tension import K_SWEEP, context_distance
from wfgy_triage.probes.paired import PerSide, Sides
from wfgy_triage.probes.retrieval_arms import Arms
from wfgy_triage.probes.retrieval_plan import DEPTH, Plan
from wfgy_triage.store.records import Sample

FACTS = "index"
"""Question and side of the sample that holds what is known of the index."""
SHOWN_CHARACTERS = 160
Payload = Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """Everything that was stored, sorted.

    Attributes:
        sides: reference, deployed arm and floor.
        arms: payloads by arm and question; the floor is none of them, nor are searches with a part put back.
        facts: of the index; empty when the run ended before it was built.
    """

    sides: Sides
    arms: Mapping[str, Mapping[str, Payload]]
    facts: Payload

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Stored:
        """Sort stored samples; their order does not matter."""
        arms: dict[str, dict[str, Payload]] = {}
        facts: Payload = {}
        for sample in sorted(samples, key=lambda s: (s.key.question, s.key.side)):
            if sample.key.side == FACTS:
                facts = sample.payload
            elif "arm" in sample.payload and sample.key.side != "fp16_floor":
                arms.setdefault(sample.payload["arm"], {})[sample.key.question] = sample.payload
        return cls(Sides.of(samples), arms, facts)

    @property
    def by_construction(self) -> bool:
        """Whether both sides ask the same index with the same vectors, so that nothing can differ."""
        arms = {p["arm"] for side in (self.sides.fp16, self.sides.exl2) for p in side.values()}
        return bool(self.sides.exl2) and arms == {"independent"}

    def found(self, k: int) -> PerSide[bool | None]:
        """Whether each question's passage is among the first k."""
        return self.sides.each(lambda p: found_at(p["rank"], k))


def query_payload(plan: Plan, arms: Arms, arm: str, number: int, reference: Floats | None) -> dict[str, Any]:
    """What one arm found for one question.

    Args:
        plan: passages and questions.
        arms: the arms.
        arm: which of them.
        number: place of the question among the judged.
        reference: the reference arm's scores (passages,) for the same question; None for the reference itself.
    """
    query, scores = plan.judged[number], arms.by_name[arm].scores[number]
    order = rank_order(scores)
    rank = gold_rank(order, query.gold)
    depth = [k for k in K_SWEEP if k <= len(order)] or [len(order)]
    target = plan.chunks.sections[query.section]
    lengths = {i: len(plan.chunks.chunks[i].text.split()) for i in target}
    asked = arms.ruler_queries[number]
    hit = found_at(rank, plan.k)
    return {
        "arm": arm,
        "question": query.text,
        "rank": rank,
        "ids": [plan.chunks.chunks[i].id for i in order[:DEPTH]],
        "scores": [round(float(scores[i]), 6) for i in order[:DEPTH]],
        "gold": sorted(plan.chunks.chunks[i].id for i in query.gold),
        "ds": {str(k): round(context_distance(asked, arms.ruler_passages[order[:k]]), 6) for k in depth},
        "coverage": {str(k): section_coverage([int(i) for i in order[:k]], target, lengths) for k in depth},
        "rho": None if reference is None else _rounded(rank_correlation(reference, scores)),
        "text": _hits(plan, order[: plan.k], scores, query.gold),
        "kind": "passage_found" if hit else "passage_missed",
        "valid": hit,
        "mark": "Found" if hit else "Missed",
        "truncated": False,
        "detail": f"The right passage is at place {rank} of {len(order)}.",
    }


def _hits(plan: Plan, order: Sequence[int] | Any, scores: Floats, gold: frozenset[int]) -> str:
    """The first results as the page shows them, the right one marked."""
    lines = []
    for place, index in enumerate(order, 1):
        chunk = plan.chunks.chunks[int(index)]
        text = chunk.indexed
        short = text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
        mark = "  ← the right passage" if int(index) in gold else ""
        lines.append(f"{place}. [{scores[index]:.2f}] {short}{mark}")
    return "\n".join(lines)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
