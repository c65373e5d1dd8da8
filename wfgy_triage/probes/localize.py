"""Rungs 7 to 10 of the ladder: what does the damage? One thing at a time is exchanged, and the run looks again.

Sampling settings of EXL2's own come first, a quantized KV cache second: where most lost answers come back with neutral
settings, or with a cache that rounds nothing, nothing else is asked for. Then, where the two sides run in different
engines, the same EXL2 weights are asked in the reference engine: where most lost answers come back, the engine is to
blame. Then FP16 weights are put back part by part.

What is stored, for `damage.py` to read. `part:<id>`: the comparison of a few FP16 answers with the EXL2 model that has
this part of its weights back (as `engine`: none, where the run has not compared that itself); what drift is left shows
what the part causes. `back:<id>`: new answers to questions that EXL2 lost, with the part back (as `sampler`: neutral
sampling settings; as `cache`: a cache that rounds nothing; as `engine`: the reference engine); they show whether the
symptom goes away. `left_out:engine`, `left_out:parts`: why the reference engine was not asked, or no weights put back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from wfgy_triage.diagnosis import MOSTLY
from wfgy_triage.engines.base import Engine
from wfgy_triage.engines.caches import exact_cache
from wfgy_triage.engines.putback import ALL, WeightPart, exchangeable_parts, kept_apart, put_back
from wfgy_triage.engines.suggested import GREEDY
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.probes.base import ProbeContext
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.lost import CACHE, ENGINE, LEFT_OUT, PART, PARTS, SAMPLER, Lost
from wfgy_triage.probes.measuring import Judge, Measuring
from wfgy_triage.probes.reference_engine import reference_opener, why_not
from wfgy_triage.store.records import Sample

STAGE, STAGE_LABEL = "parts", "FP16 weights put back, part by part"
SCORED_QUESTIONS, SCORED_TOKENS = 4, 600
"""The drift of every part is measured on so many FP16 answers, or on fewer that have so many tokens together: a few
hundred tell parts apart well, and every part reads them all."""
ANSWERED_PARTS = 2
"""Parts, the most damaging first, with which the lost questions are answered again; all weights come on top."""
APART = "That takes both models in memory at the same time; here they take turns."
_log = logging.getLogger(__name__)


def localize(
    context: ProbeContext,
    measuring: Measuring,
    judge: Judge,
    lost: Lost,
    asked: Callable[[Sequence[str]], list[Item]] | None = None,
) -> None:
    """Measure what is left of the damage with each thing exchanged; skips what is stored.

    Args:
        context: the run's engines and store.
        measuring: the run's pass; the answers that are compared are of its items.
        judge: what an answer is worth.
        lost: what EXL2 loses.
        asked: what is asked again of lost questions; the pass's own items of them unless given.
    """
    if not lost.questions or context.should_stop():
        return
    run = _Run(context, measuring, judge, lost, tuple((asked or measuring.items)(lost.some)))
    if _sampler_explains(run) or context.should_stop() or _cache_explains(run) or context.should_stop():
        return
    open_decoded = reference_opener(context)
    if open_decoded is not None:
        _through_the_reference(open_decoded, run)
    else:
        _weights_back(run, context.exl2)


@dataclass(frozen=True)
class _Run:
    """What every step needs; `items` are those of the lost questions that are asked again."""

    context: ProbeContext
    measuring: Measuring
    judge: Judge
    lost: Lost
    items: tuple[Item, ...]

    def answer(self, exchanged: str, engine: Engine, items: Sequence[Item] | None = None) -> None:
        """Ask the lost questions with one thing exchanged."""
        self.measuring.answer(
            self.lost.side(exchanged), engine, self.judge, self.items if items is None else items
        )

    def answered(self, exchanged: str) -> bool:
        """Whether all of them are answered so."""
        return all(self.measuring.has(i, self.lost.side(exchanged)) for i in self.items)

    def explains(self, exchanged: str) -> bool:
        """Whether most lost answers come back with it."""
        back = self.lost.back(self.context.stored(), exchanged)
        return back is not None and back.share >= MOSTLY

    def leave_out(self, what: str, reason: str) -> None:
        """Store why something is not done, so that it is not tried again."""
        _log.warning("left out of the localization, %s: %s", what, reason)
        if not self.left_out(what):
            self.context.save(
                [Sample(self.measuring.key(self.items[0], LEFT_OUT + what), {"reason": reason})]
            )

    def left_out(self, what: str) -> bool:
        """Whether an earlier pass has found that it cannot be done."""
        return self.measuring.has(self.items[0], LEFT_OUT + what)


def _weights_back(run: _Run, exl2: Engine) -> None:
    """Put FP16 weights back into an engine of the EXL2 weights, part by part; nothing where that is not possible."""
    context, measuring = run.context, run.measuring
    if kept_apart(exl2, context.fp16):
        run.leave_out(PARTS, APART)
        return
    parts = exchangeable_parts(exl2, context.fp16) if context.fp16.capabilities.score else ()
    if not parts:
        return
    scored = _enough(run)
    # What the EXL2 weights do as they are is known where the run has compared just these answers in this engine.
    known = exl2 is context.exl2 and all(measuring.has(i, "pair") for i in scored)
    as_it_is = () if known else (WeightPart(ENGINE, (), exl2.info.layers),)
    steps = 2 + ANSWERED_PARTS
    context.progress(STAGE, STAGE_LABEL, 0, steps)
    engines = put_back(exl2, context.fp16, (*as_it_is, *parts))
    measuring.compare_many({PART + part: engine for part, engine in engines.items()}, scored)
    left = _kl_by_part(run, scored, parts)
    ranked = sorted((p for p in left if p != ALL), key=lambda p: left[p])
    for done, part in enumerate([ALL, *ranked[:ANSWERED_PARTS]], 1):
        context.progress(STAGE, STAGE_LABEL, done, steps)
        run.answer(part, engines[part])
    if not context.should_stop():
        context.progress(STAGE, STAGE_LABEL, steps, steps)


def _sampler_explains(run: _Run) -> bool:
    """Ask lost questions with neutral sampling settings where EXL2 has others; whether most of them come back."""
    if all(i.sampling is None or i.sampling.exl2 == GREEDY for i in run.items):
        return False
    run.context.progress(STAGE, "Neutral sampling settings", 0, 1)
    run.answer(SAMPLER, run.context.exl2, [i.with_exl2(GREEDY) for i in run.items])
    return run.explains(SAMPLER)


def _cache_explains(run: _Run) -> bool:
    """Answer lost questions with a cache that rounds nothing; whether most of them come back."""
    try:
        exact = exact_cache(run.context.exl2)
    except PrerequisiteError as error:
        # No room for a second cache: what was measured stands, and the cause stays open.
        _log.warning("the cache is not put back: %s", error)
        return False
    if exact is None:
        return False
    run.context.progress(STAGE, "A cache that rounds nothing", 0, 1)
    with closing(exact):
        run.answer(CACHE, exact)
    return run.explains(CACHE)


def _through_the_reference(open_decoded: Callable[[], Engine], run: _Run) -> None:
    """Ask lost questions of the same weights in the reference engine; where it loses them too, look at its parts."""
    asked = run.answered(ENGINE)
    if run.left_out(ENGINE) or run.left_out(PARTS) or (asked and run.explains(ENGINE)):
        return
    if asked and _parts_answered(run) > ANSWERED_PARTS:
        return  # nothing is left to do, so nothing is loaded for it
    label = "The same weights in the reference engine"
    run.context.progress(STAGE, label, 0, 1)
    try:
        with closing(open_decoded()) as decoded:
            run.answer(ENGINE, decoded)
            if run.context.should_stop():
                return
            run.context.progress(STAGE, label, 1, 1)
            if not run.explains(ENGINE):
                _weights_back(run, decoded)
    except (PrerequisiteError, RuntimeError, MemoryError) as error:
        reason = why_not(error)
        if reason is None:
            raise
        # Where all were asked, what they showed stands, and only the parts are given up.
        run.leave_out(PARTS if run.answered(ENGINE) else ENGINE, reason)


def _parts_answered(run: _Run) -> int:
    """With how many parts back the lost questions are all answered."""
    names = {s.key.side.removeprefix(PART) for s in run.context.stored() if s.key.side.startswith(PART)}
    return sum(run.answered(part) for part in names - {ENGINE})


def _enough(run: _Run) -> list[Item]:
    """The first lost questions whose FP16 answers are enough to tell parts apart.

    Where none of the lost ones is compared token by token, other questions show as well what a part does.
    """
    tokens = {s.key: int(s.payload["tokens"]) for s in run.context.stored() if s.key.side == "fp16"}
    key = run.measuring.key
    lost = [i for i in run.measuring.items(run.lost.some) if i.compared and tokens.get(key(i, "fp16"))]
    among = lost or [i for i in run.measuring.compared if tokens.get(key(i, "fp16"))]
    found: list[Item] = []
    for item in among[:SCORED_QUESTIONS]:
        if sum(tokens[key(i, "fp16")] for i in found) >= SCORED_TOKENS:
            break
        found.append(item)
    return found


def _kl_by_part(run: _Run, scored: Sequence[Item], parts: Sequence[WeightPart]) -> dict[str, float]:
    """Mean KL left with each part put back, over the scored items where every part was measured."""
    stored = {s.key: s.payload for s in run.context.stored()}
    found = {}
    for part in parts:
        keys = [run.measuring.key(i, PART + part.id) for i in scored]
        values = [np.mean(stored[k]["kl"]) for k in keys if k in stored]
        if values:
            found[part.id] = float(np.mean(values))
    return found
