"""Rungs 7 to 9 of the ladder: what does the damage? One thing at a time is exchanged, and the run looks again.

A quantized KV cache comes first: where most lost answers come back with one that rounds nothing, nothing else is asked
for. Then, where the two sides run in different engines, the same EXL2 weights are asked in the reference engine: where
most lost answers come back, the engine is to blame. Then FP16 weights are put back part by part.

What is stored. `part:<id>`: the comparison of a few FP16 answers with the EXL2 model that has this part of its weights
back (as `engine`: none, in the reference engine); what drift is left shows what the part causes. `back:<id>`: new
answers to questions that EXL2 lost, with the part back (as `cache`: a cache that rounds nothing; as `engine`: the
reference engine); they show whether the symptom goes away. `left_out:engine`: why the reference engine was not asked.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from wfgy_triage.diagnosis import MOSTLY
from wfgy_triage.engines.base import Engine
from wfgy_triage.engines.caches import exact_cache
from wfgy_triage.engines.putback import ALL, HEAD, WeightPart, exchangeable_parts, put_back
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.evidence import AnswersBack, Damage, PartDamage
from wfgy_triage.probes.base import ProbeContext
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.measuring import Judge, Measuring
from wfgy_triage.probes.paired import Payload
from wfgy_triage.probes.reference_engine import reference_opener, why_not
from wfgy_triage.store.records import Sample

STAGE, STAGE_LABEL = "parts", "FP16 weights put back, part by part"
SCORED_QUESTIONS, SCORED_TOKENS = 4, 600
"""The drift of every part is measured on so many FP16 answers, or on fewer that have so many tokens together: a few
hundred tell parts apart well, and every part reads them all."""
ANSWERED_QUESTIONS = 12
"""Lost questions that are answered again with a part back."""
ANSWERED_PARTS = 2
"""Parts, the most damaging first, with which the lost questions are answered again; all weights come on top."""
CACHE, ENGINE = "cache", "engine"
_PART, _BACK, _LEFT_OUT = "part:", "back:", "left_out:"
_log = logging.getLogger(__name__)
WHOLE_KINDS = {
    ALL: "All weights",
    HEAD: "Output head",
    "attn": "Attention, all blocks",
    "mlp": "MLP, all blocks",
}


def localize(
    context: ProbeContext,
    measuring: Measuring,
    judge: Judge,
    useful: Callable[[Payload], bool],
    lost: Sequence[str],
) -> None:
    """Measure what is left of the damage with each thing exchanged; skips what is stored.

    Args:
        context: the run's engines and store.
        measuring: the run's pass.
        judge: what an answer is worth.
        useful: whether a judged answer is of use.
        lost: questions that FP16 answers well and EXL2 does not; none: there is nothing to localize.
    """
    if not lost or context.should_stop():
        return
    items = measuring.items(_some(lost, ANSWERED_QUESTIONS))
    if _cache_explains(context, measuring, judge, useful, items) or context.should_stop():
        return
    open_decoded = reference_opener(context)
    if open_decoded is not None:
        _through_the_reference(open_decoded, context, measuring, judge, useful, items)
    else:
        _weights_back(context, measuring, judge, items, context.exl2, {})


def _weights_back(
    context: ProbeContext,
    measuring: Measuring,
    judge: Judge,
    items: Sequence[Item],
    exl2: Engine,
    as_it_is: Mapping[str, Engine],
) -> None:
    """Put FP16 weights back into an engine of the EXL2 weights, part by part; nothing where that is not possible.

    Args:
        context: the run's engines and store.
        measuring: the run's pass.
        judge: what an answer is worth.
        items: lost questions.
        exl2: holds the EXL2 weights.
        as_it_is: the same without any part back, by side, where the run has not compared it yet.
    """
    parts = exchangeable_parts(exl2, context.fp16) if context.fp16.capabilities.score else ()
    if not parts:
        return
    scored = _enough(context.stored(), measuring, items)
    steps = 2 + ANSWERED_PARTS
    context.progress(STAGE, STAGE_LABEL, 0, steps)
    engines = put_back(exl2, context.fp16, parts)
    changed = {_PART + part: engine for part, engine in engines.items()}
    measuring.compare_many({**as_it_is, **changed}, scored)
    left = _kl_by_part(context.stored(), measuring, scored, parts)
    ranked = sorted((p for p in left if p != ALL), key=lambda p: left[p])
    for done, part in enumerate([ALL, *ranked[:ANSWERED_PARTS]], 1):
        context.progress(STAGE, STAGE_LABEL, done, steps)
        measuring.answer(_BACK + part, engines[part], judge, items)
    if not context.should_stop():
        context.progress(STAGE, STAGE_LABEL, steps, steps)


def _cache_explains(
    context: ProbeContext,
    measuring: Measuring,
    judge: Judge,
    useful: Callable[[Payload], bool],
    items: Sequence[Item],
) -> bool:
    """Answer lost questions with a cache that rounds nothing; whether most of them come back."""
    try:
        exact = exact_cache(context.exl2)
    except PrerequisiteError as error:
        # No room for a second cache: what was measured stands, and the cause stays open.
        _log.warning("the cache is not put back: %s", error)
        return False
    if exact is None:
        return False
    context.progress(STAGE, "A cache that rounds nothing", 0, 1)
    with closing(exact):
        measuring.answer(_BACK + CACHE, exact, judge, items)
    return _explains(CACHE, context, useful)


def _through_the_reference(
    open_decoded: Callable[[], Engine],
    context: ProbeContext,
    measuring: Measuring,
    judge: Judge,
    useful: Callable[[Payload], bool],
    items: Sequence[Item],
) -> None:
    """Ask lost questions of the same weights in the reference engine; where it loses them too, look at its parts."""
    asked = all(measuring.has(i, _BACK + ENGINE) for i in items)
    if measuring.has(items[0], _LEFT_OUT + ENGINE) or (asked and _explains(ENGINE, context, useful)):
        return
    if asked and _parts_answered(context.stored(), measuring, items) > ANSWERED_PARTS:
        return  # nothing is left to do, so nothing is loaded for it
    label = "The same weights in the reference engine"
    context.progress(STAGE, label, 0, 1)
    try:
        with closing(open_decoded()) as decoded:
            measuring.answer(_BACK + ENGINE, decoded, judge, items)
            if context.should_stop():
                return
            context.progress(STAGE, label, 1, 1)
            if not _explains(ENGINE, context, useful):
                _weights_back(context, measuring, judge, items, decoded, {_PART + ENGINE: decoded})
    except (PrerequisiteError, RuntimeError, MemoryError) as error:
        reason = why_not(error)
        if reason is None:
            raise
        _leave_out(context, measuring, items, reason)


def _parts_answered(samples: Sequence[Sample], measuring: Measuring, items: Sequence[Item]) -> int:
    """With how many parts back the lost questions are all answered."""
    sides = {s.key.side for s in samples if s.key.side.startswith(_BACK)} - {_BACK + CACHE, _BACK + ENGINE}
    return sum(all(measuring.has(i, side) for i in items) for side in sides)


def _leave_out(context: ProbeContext, measuring: Measuring, items: Sequence[Item], reason: str) -> None:
    """Store why lost questions are not asked in the reference engine; where they were asked, that stands."""
    _log.warning("the reference engine is not asked any further: %s", reason)
    if not all(measuring.has(i, _BACK + ENGINE) for i in items):
        context.save([Sample(measuring.key(items[0], _LEFT_OUT + ENGINE), {"reason": reason})])


def _explains(exchanged: str, context: ProbeContext, useful: Callable[[Payload], bool]) -> bool:
    """Whether most lost answers come back with the cache, or the engine, exchanged."""
    back = _answers_back(exchanged, context.stored(), useful)
    return back is not None and back.share >= MOSTLY


def _answers_back(
    exchanged: str, samples: Sequence[Sample], useful: Callable[[Payload], bool]
) -> AnswersBack | None:
    answers = [s.payload for s in samples if s.key.side == _BACK + exchanged]
    return AnswersBack(sum(useful(a) for a in answers), len(answers)) if answers else None


def _enough(samples: Sequence[Sample], measuring: Measuring, items: Sequence[Item]) -> list[Item]:
    """The first items whose FP16 answers are enough to tell parts apart."""
    tokens = {s.key: int(s.payload["tokens"]) for s in samples if s.key.side == "fp16"}
    found: list[Item] = []
    for item in items[:SCORED_QUESTIONS]:
        if sum(tokens[measuring.key(i, "fp16")] for i in found) >= SCORED_TOKENS:
            break
        found.append(item)
    return found


def _kl_by_part(
    samples: Sequence[Sample], measuring: Measuring, scored: Sequence[Item], parts: Sequence[WeightPart]
) -> dict[str, float]:
    """Mean KL left with each part put back, over the scored items where every part was measured."""
    stored = {s.key: s.payload for s in samples}
    found = {}
    for part in parts:
        keys = [measuring.key(i, _PART + part.id) for i in scored]
        values = [np.mean(stored[k]["kl"]) for k in keys if k in stored]
        if values:
            found[part.id] = float(np.mean(values))
    return found


def _some(questions: Sequence[str], count: int) -> list[str]:
    """At most `count` questions, chosen the same way in every pass and not by their order in the set."""
    return sorted(questions, key=lambda q: hashlib.sha256(q.encode()).hexdigest())[:count]


@dataclass(frozen=True)
class _Group:
    part: dict[str, Payload]
    back: dict[str, Payload]


def damage(
    samples: Sequence[Sample], pair: Mapping[str, Payload], useful: Callable[[Payload], bool]
) -> Damage | None:
    """What the localization of a run found; None where it was not made.

    Args:
        samples: everything stored for the run.
        pair: comparison of the EXL2 side, by question.
        useful: whether an answer is of use.
    """
    groups: dict[str, _Group] = {}
    for sample in samples:
        kind, _, part_id = sample.key.side.partition(":")
        if kind not in ("part", "back") or part_id in ("", CACHE, ENGINE):
            continue
        group = groups.setdefault(part_id, _Group({}, {}))
        (group.part if kind == "part" else group.back)[sample.key.question] = sample.payload
    reason = next((str(s.payload["reason"]) for s in samples if s.key.side == _LEFT_OUT + ENGINE), "")
    engine = None if reason else _answers_back(ENGINE, samples, useful)
    cache = _answers_back(CACHE, samples, useful)
    # Parts were put back in the reference engine where that holds the EXL2 weights: its drift is what they end.
    decoded = {s.key.question: s.payload for s in samples if s.key.side == _PART + ENGINE}
    as_it_is = decoded or pair
    scored = [q for q in as_it_is if groups and all(q in g.part for g in groups.values())]
    if not scored:
        found = cache is not None or engine is not None or bool(reason)
        return Damage(0.0, 0, (), cache, engine, reason) if found else None
    whole = _mean_kl([as_it_is[q] for q in scored])
    parts = [
        PartDamage(
            part_id,
            part_label(part_id),
            _mean_kl([group.part[q] for q in scored]),
            sum(useful(a) for a in group.back.values()) if group.back else None,
            len(group.back),
        )
        for part_id, group in sorted(groups.items())
    ]
    return Damage(whole, len(scored), tuple(parts), cache, engine, reason)


def part_label(part_id: str) -> str:
    """The words for a part, blocks counted from 1: `attn 0-5` is "Attention, blocks 1 to 6"."""
    kind, _, span = part_id.partition(" ")
    if not span:
        return WHOLE_KINDS.get(kind, kind)
    first, last = (int(block) + 1 for block in span.split("-"))
    blocks = f"block {first}" if first == last else f"blocks {first} to {last}"
    return f"{'Attention' if kind == 'attn' else 'MLP'}, {blocks}"


def _mean_kl(payloads: Sequence[Payload]) -> float:
    """Mean over all tokens, nats."""
    return float(np.mean(np.concatenate([np.asarray(p["kl"], np.float64) for p in payloads])))
