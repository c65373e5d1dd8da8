"""Every arm of a retrieval run with the facts about its index; the only part that asks the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wfgy_triage.engines.base import Engine
from wfgy_triage.errors import InputError
from wfgy_triage.measure.duplicates import duplicate_texts, duplicate_vectors
from wfgy_triage.measure.retrieval import Floats, geometry, unit_rows
from wfgy_triage.probes.base import ProbeContext
from wfgy_triage.probes.embedding_cache import EmbeddingCache
from wfgy_triage.probes.retrieval_plan import DEPLOYED, Plan
from wfgy_triage.probes.retrieval_vectors import (
    Arm,
    Array,
    Encoder,
    HiddenStates,
    Space,
    layer_scores,
    sentence_rows,
)
from wfgy_triage.workload.index_file import GivenIndex

SAME_VECTORS = 0.98
"""Mean cosine from which stored vectors count as made by a model (rounding to fp16 leaves more than 0.999)."""
SAME_VECTOR = 0.999
"""Cosine from which a stored vector is that of another passage: passages that are alike stay below."""
BLOCK = 512
"""Stored vectors compared with all passages at once."""
SHOWN_DUPLICATES = 20
Deployed = Callable[[Callable[[Sequence[str]], Array]], Arm]
NO_STATES = "A side is asked on a server, which gives no hidden states, so no index can be made of them."


@dataclass(frozen=True)
class Arms:
    """What is searched.

    Attributes:
        by_name: the arms.
        facts: what is known of the index, plain JSON.
        ruler_passages: unit rows of the independent embedder, for ΔS.
        ruler_queries: likewise, of the judged questions.
        deployed: the deployed arm with another model's vectors in EXL2's place, from what gives raw rows of texts; None
            where it takes none of EXL2's.
    """

    by_name: dict[str, Arm]
    facts: dict[str, Any]
    ruler_passages: Floats
    ruler_queries: Floats
    deployed: Deployed | None = None


@dataclass(frozen=True)
class _Rows:
    """Raw rows of passages and judged questions."""

    passages: Array
    queries: Array


def build_arms(
    context: ProbeContext,
    plan: Plan,
    cache: EmbeddingCache,
    load_encoder: Callable[[], Encoder],
    encoder_identity: str,
) -> Arms:
    """Embed what is not kept, and put the arms together.

    Args:
        context: engines, settings, progress.
        plan: what is searched.
        cache: where vectors are kept between runs.
        load_encoder: loads the independent sentence model, when it is needed.
        encoder_identity: names that model and its version.

    Raises:
        Stopped: the user asked to stop.
        InputError: there is no such layer, or a given index fits no model.
    """

    def states(engine: Engine, side: str) -> HiddenStates:
        return HiddenStates(engine, context.models.get(side, ""), cache, context.should_stop)

    def report(done: int) -> None:
        context.progress("embed", "Embedding passages and questions", done, 4)

    report(0)
    passages, questions = plan.chunks.texts, [q.text for q in plan.judged]
    if not (context.fp16.capabilities.embed and context.exl2.capabilities.embed):
        rows = [
            sentence_rows(load_encoder, cache, texts, encoder_identity) for texts in (passages, questions)
        ]
        report(4)
        return _control(plan, _Rows(*rows), encoder_identity)
    fp16 = states(context.fp16, "fp16")
    layer, chosen = _layer(fp16, plan, passages)
    ours = _Rows(fp16.rows(passages, layer), fp16.rows(questions, layer))
    report(1)
    exl2 = states(context.exl2, "exl2")
    theirs = _Rows(exl2.rows(passages, layer), exl2.rows(questions, layer))
    report(2)
    ruler = _Rows(
        *(sentence_rows(load_encoder, cache, texts, encoder_identity) for texts in (passages, questions))
    )
    report(3)
    twin = context.open_floor()
    again = states(twin, "fp16").rows(questions, layer) if twin.capabilities.embed else None
    report(4)
    index = Space.of(ours.passages)
    arms = {
        "fp16": index.arm(ours.queries),
        "mixed": index.arm(theirs.queries),
        "rebuilt": Space.of(theirs.passages).arm(theirs.queries),
        "independent": Arm(unit_rows(ruler.passages), unit_rows(ruler.queries)),
    }
    if again is not None:
        arms["fp16_floor"] = index.arm(again)
    facts = {**_facts(plan, index), "layer": layer, **chosen, "encoder": encoder_identity}
    deployed: dict[str, Deployed] = {
        "mixed": lambda rows: index.arm(rows(questions)),
        "rebuilt": lambda rows: Space.of(rows(passages)).arm(rows(questions)),
    }
    if plan.given is not None:
        more, facts["given"], ask = _given(plan.given, ours, theirs, ruler)
        arms |= more
        if facts["given"]["maker"] != "encoder":
            deployed["given"] = lambda rows: ask(rows(questions))
    independent = arms["independent"]
    named = DEPLOYED[plan.mode][1]
    return Arms(arms, facts, independent.passages, independent.queries, deployed.get(named))


def _control(plan: Plan, ruler: _Rows, encoder_identity: str) -> Arms:
    """The arm that asks no model, where one of the two gives no hidden states."""
    arm = Arm(unit_rows(ruler.passages), unit_rows(ruler.queries))
    copies = duplicate_texts([chunk.text for chunk in plan.chunks.chunks])
    facts = {
        "unmeasured": NO_STATES,
        "duplicates": float(copies.mean()),
        "known_item": plan.chunks.known_item,
        "encoder": encoder_identity,
    }
    return Arms({"independent": arm}, facts, arm.passages, arm.queries)


def _layer(states: HiddenStates, plan: Plan, passages: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """The layer to embed with, and how it was chosen."""
    last = states.layers
    if plan.layer is not None:
        layer = last if plan.layer < 0 else plan.layer
        return layer, {"layers": last, "chosen": "asked for"}
    if not plan.tuning:
        return last, {"layers": last, "chosen": "the last layer: too few questions to choose on"}
    scores = layer_scores(states, passages, plan.tuning)
    reason = f"best MRR of FP16 on {len(plan.tuning)} questions that are not judged"
    rounded = [round(float(s), 6) for s in scores]
    return int(scores.argmax()), {"layers": last, "chosen": reason, "layer_scores": rounded}


def _facts(plan: Plan, index: Space) -> dict[str, Any]:
    """Of the FP16 index: size, lengths, near-duplicates among the texts."""
    shape = geometry(index.passages)
    copies = duplicate_texts([chunk.text for chunk in plan.chunks.chunks])
    return {
        "vectors": shape.vectors,
        "dimensions": shape.dimensions,
        "norms": [round(shape.norm_low, 6), round(shape.norm_high, 6)],
        "centered": True,
        "duplicates": float(copies.mean()),
        "duplicate_ids": [plan.chunks.chunks[int(i)].id for i in np.flatnonzero(copies)[:SHOWN_DUPLICATES]],
        "known_item": plan.chunks.known_item,
    }


def _given(
    given: GivenIndex, ours: _Rows, theirs: _Rows, ruler: _Rows
) -> tuple[dict[str, Arm], dict[str, Any], Callable[[Array], Arm]]:
    """Arms on an index that the user brought, asked as a server would ask it; and how raw query rows ask it.

    Whether its vectors were made by FP16 or by EXL2, and whether the mean was taken off, is seen by comparing them
    with what each model gives for the same passages now. Queries get the same treatment, and unit length exactly
    where the stored vectors have it; the arm `given_normalised` scales both.
    """
    stored = np.asarray(given.vectors, np.float64)
    makers = {
        (name, centered): rows.passages
        for name, rows in (("fp16", ours), ("exl2", theirs), ("encoder", ruler))
        for centered in ((False, True) if name != "encoder" else (False,))
        if rows.passages.shape[1] == stored.shape[1]
    }
    likeness = {by: _likeness(stored, passages, by[1]) for by, passages in makers.items()}
    if not likeness:
        raise InputError(
            f"The vectors of {given.source} have {stored.shape[1]} numbers; this model gives "
            f"{ours.passages.shape[1]} and the sentence model {ruler.passages.shape[1]}.",
            "Give an index that was built with one of them.",
        )
    (maker, centered), best = max(likeness.items(), key=lambda item: item[1])
    shape = geometry(stored)
    source = {"fp16": ours, "exl2": theirs, "encoder": ruler}[maker]
    center = _center(source.passages, centered)
    sides = (ruler, ruler) if maker == "encoder" else (theirs, ours)

    def centered_rows(rows: Array) -> Floats:
        return np.asarray(rows, np.float64) - (0.0 if center is None else center)

    def ask(rows: Array) -> Arm:
        raw = centered_rows(rows)
        return Arm(stored, unit_rows(raw) if shape.unit else raw, given.measure)

    arms = {
        "given": ask(sides[0].queries),
        "given_fp16": ask(sides[1].queries),
        "given_normalised": Arm(unit_rows(stored), unit_rows(centered_rows(sides[0].queries))),
    }
    facts = {
        "source": given.source,
        "measure": given.measure,
        "vectors": shape.vectors,
        "dimensions": shape.dimensions,
        "norms": [round(shape.norm_low, 6), round(shape.norm_high, 6)],
        "unit": shape.unit,
        "maker": maker if best >= SAME_VECTORS else "unknown",
        "centered": centered,
        "likeness": {f"{name}{'-centered' if c else ''}": round(v, 6) for (name, c), v in likeness.items()},
        "duplicates": float(duplicate_vectors(stored).mean()),
        "misplaced": max(misplaced_rows(stored, passages, by[1]) for by, passages in makers.items()),
    }
    return arms, facts, ask


def misplaced_rows(stored: Floats, rows: Array, centered: bool) -> float:
    """Share of stored vectors that are those of another passage: a stale index, or one in another order.

    Args:
        stored: (passages, dimensions) vectors of the index.
        rows: (passages, dimensions) what a model gives for the same passages now.
        centered: whether the mean of `rows` is to be taken off.
    """
    here, there = unit_rows(stored), unit_rows(rows, _center(rows, centered))
    strangers = here[(here * there).sum(1) < SAME_VECTORS]
    blocks = range(0, len(strangers), BLOCK)
    moved = sum(int(((strangers[i : i + BLOCK] @ there.T).max(1) >= SAME_VECTOR).sum()) for i in blocks)
    return moved / len(here)


def _center(rows: Array, centered: bool) -> Floats | None:
    return np.asarray(rows, np.float64).mean(0) if centered else None


def _likeness(stored: Floats, rows: Array, centered: bool) -> float:
    """Mean cosine of stored vectors and what a model gives for the same passages."""
    return float((unit_rows(stored) * unit_rows(rows, _center(rows, centered))).sum(1).mean())
