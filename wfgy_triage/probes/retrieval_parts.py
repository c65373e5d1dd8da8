"""Rung 8 of the ladder where passages are searched: FP16 weights are put back part by part, and it is searched again.

Vectors are hidden states, so nothing is generated: with each part back the judged questions (and the passages, where
the deployed index is EXL2's own) are embedded anew. Head and blocks above the layer in use give them nothing.

What is stored: `part:<id>`, for every judged question the place of the right passage and Spearman's ρ of the scores
with FP16's, and of how many parts it is one. The drift that a part ends is 1 − ρ, a number of every question and every
arm. Distances of the vectors themselves would count a turn of the whole space, which index and questions share, as
damage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from wfgy_triage.engines.base import Engine
from wfgy_triage.engines.putback import HEAD, WeightPart, exchangeable_parts, kept_apart, put_back
from wfgy_triage.errors import ProbeError
from wfgy_triage.localized import ORDER, Damage, PartDamage
from wfgy_triage.measure.retrieval import found_at, gold_rank, rank_correlation, rank_order
from wfgy_triage.probes.base import ProbeContext
from wfgy_triage.probes.damage import part_label
from wfgy_triage.probes.embedding_cache import EmbeddingCache
from wfgy_triage.probes.localize import APART, STAGE, STAGE_LABEL
from wfgy_triage.probes.lost import LEFT_OUT, PART, PARTS
from wfgy_triage.probes.paired import Payload
from wfgy_triage.probes.retrieval_arms import Arms, Deployed
from wfgy_triage.probes.retrieval_plan import DEPLOYED, SYMPTOM, Plan
from wfgy_triage.probes.retrieval_samples import FACTS, Stored
from wfgy_triage.probes.retrieval_vectors import Arm, HiddenStates, Stopped
from wfgy_triage.store.records import Sample, SampleKey


def parts_to_measure(context: ProbeContext, plan: Plan, lost: Sequence[str]) -> tuple[WeightPart, ...]:
    """The parts of the weights in front of the layer in use that were not put back yet.

    Args:
        context: the run's engines and store.
        plan: what is searched.
        lost: questions whose passage EXL2's own vectors lose; none: there is nothing to localize.
    """
    if not lost or kept_apart(context.exl2, context.fp16):
        return ()
    stored = {s.key for s in context.stored()}
    return tuple(
        part
        for part in _parts_in_front(context)
        if any(_key(context, q.id, PART + part.id) not in stored for q in plan.judged)
    )


def _parts_in_front(context: ProbeContext) -> list[WeightPart]:
    layer = next((s.payload["layer"] for s in context.stored() if s.key.side == FACTS), 0)
    parts = exchangeable_parts(context.exl2, context.fp16)
    return [part for part in parts if part.id != HEAD and part.first < layer]


def put_parts_back(context: ProbeContext, plan: Plan, arms: Arms, lost: Sequence[str]) -> None:
    """Search the deployed arm with each part of FP16's weights back; skips what is stored, stops when asked."""
    if lost and kept_apart(context.exl2, context.fp16):
        _leave_out(context, plan)
        return
    parts = parts_to_measure(context, plan, lost)
    reference, layer = arms.by_name.get(DEPLOYED[plan.mode][0]), arms.facts.get("layer")
    if not parts or arms.deployed is None or reference is None or layer is None:
        return
    engines, every = put_back(context.exl2, context.fp16, parts), len(_parts_in_front(context))
    for done, part in enumerate(parts):
        context.progress(STAGE, STAGE_LABEL, done, len(parts))
        try:
            scores = _deployed(engines[part.id], context, arms.deployed, layer).scores
        except Stopped:
            return
        samples = []
        for number, query in enumerate(plan.judged):
            rho = rank_correlation(reference.scores[number], scores[number])
            rank = gold_rank(rank_order(scores[number]), query.gold)
            found = {"rank": rank, "rho": None if rho is None else round(rho, 6), "parts": every}
            samples.append(Sample(_key(context, query.id, PART + part.id), found))
        stored = {s.key for s in context.stored()}
        context.save([s for s in samples if s.key not in stored])
    context.progress(STAGE, STAGE_LABEL, len(parts), len(parts))


def search_with(engine: Engine, context: ProbeContext, plan: Plan, arms: Arms, name: str) -> Arms:
    """The arms with one more: the deployed one with another EXL2 model.

    Raises:
        Stopped: the user asked to stop.
        ProbeError: no vector of the deployed arm is EXL2's.
    """
    if arms.deployed is None:
        raise ProbeError(
            f"The arm {plan.mode} takes no vectors from EXL2.", "Another checkpoint changes nothing."
        )
    found = _deployed(engine, context, arms.deployed, arms.facts["layer"])
    return replace(arms, by_name={**arms.by_name, name: found})


def _deployed(engine: Engine, context: ProbeContext, deployed: Deployed, layer: int) -> Arm:
    # Nothing is kept between runs: these vectors are of a model that is there for this run alone.
    states = HiddenStates(engine, "", EmbeddingCache(None), context.should_stop)
    return deployed(partial(states.rows, layer=layer))


def part_damage(samples: Sequence[Sample], lost: Sequence[str], k: int) -> Damage | None:
    """What was found with parts put back; None where none were, or a stopped run has not come to all of them.

    Args:
        samples: everything stored for the run.
        lost: questions whose passage EXL2's own vectors lose.
        k: results that a user looks at.
    """
    as_it_is = Stored.of(samples).sides.exl2
    reason = next((str(s.payload["reason"]) for s in samples if s.key.side == LEFT_OUT + PARTS), "")
    by_part: dict[str, dict[str, Payload]] = {}
    for sample in samples:
        if sample.key.side.startswith(PART):
            by_part.setdefault(sample.key.side.removeprefix(PART), {})[sample.key.question] = sample.payload
    judged = [
        q
        for q in as_it_is
        if _complete(by_part)
        and all(q in found and found[q]["rho"] is not None for found in by_part.values())
        and as_it_is[q]["rho"] is not None
    ]
    if not judged:
        return Damage(0.0, 0, (), parts_left_out=reason, measure=ORDER) if reason else None
    asked = [q for q in lost if q in judged]
    parts = tuple(
        PartDamage(
            part,
            part_label(part),
            _disorder(found, judged),
            sum(bool(found_at(found[q]["rank"], k)) for q in asked),
            len(asked),
        )
        for part, found in sorted(by_part.items())
    )
    return Damage(_disorder(as_it_is, judged), len(judged), parts, measure=ORDER)


def _complete(by_part: Mapping[str, Mapping[str, Payload]]) -> bool:
    """Whether every part was put back; in the oldest sessions none says of how many it is one."""
    expected = {p.get("parts", len(by_part)) for found in by_part.values() for p in found.values()}
    return bool(by_part) and len(by_part) >= max(expected)


def _disorder(found: Mapping[str, Payload], judged: Sequence[str]) -> float:
    """Mean 1 − ρ over questions: 0 where the passages stand as FP16 puts them."""
    return float(np.mean([1.0 - found[q]["rho"] for q in judged]))


def _leave_out(context: ProbeContext, plan: Plan) -> None:
    key = _key(context, plan.judged[0].id, LEFT_OUT + PARTS)
    if key not in {s.key for s in context.stored()}:
        context.save([Sample(key, {"reason": APART})])


def _key(context: ProbeContext, question: str, side: str) -> SampleKey:
    return SampleKey(SYMPTOM, question, 0, context.settings.seed, side)
