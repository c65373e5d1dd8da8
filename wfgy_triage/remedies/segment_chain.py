"""A long chain written in shorter segments, each begun afresh over a stated bridge (WFGY: BBCR).

The source page on entropy overload asks for at most 20 steps a segment. Every segment starts from the chain's own
beginning and the last steps as the model itself stated them, so that a long text of its own cannot carry it away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from wfgy_triage.engines.base import Completion, Engine, GenerationRequest
from wfgy_triage.remedies.base import Candidate, Case, Change
from wfgy_triage.remedies.chain_loops import ChainDraft, bridged, chain_of, chains_of
from wfgy_triage.remedies.loops import ShouldStop, WrappedEngine, ask
from wfgy_triage.workload.chains import Chain

SEGMENTS = (20, 10)
"""Steps a segment; 20 is the source's bound."""
ROOM, MARGIN = 1.25, 8
"""Tokens of a segment: its share of the answer's budget, a quarter more, and a margin. What is too much is cut."""
PATIENCE = 2
"""Rounds at most: this many times those that are needed when every segment is written out."""

Leads = Callable[[Sequence[ChainDraft], Sequence[str]], Sequence[str]]
"""The prompts of the next segments, from the drafts and the texts that the model has had before it so far."""


def afresh(drafts: Sequence[ChainDraft], contexts: Sequence[str]) -> Sequence[str]:
    """Every segment begins over a bridge."""
    return [bridged(d.chain, d.lines) for d in drafts]


class SegmentedEngine(WrappedEngine):
    """Writes chains in segments; one call of the engine behind it a round, for all chains.

    Args:
        engine: who writes.
        chains: by question.
        steps: of a segment.
        leads: how the next segments are begun.
    """

    def __init__(
        self, engine: Engine, chains: Mapping[str, Chain], steps: int, leads: Leads = afresh
    ) -> None:
        super().__init__(engine)
        self._chains, self._steps, self._leads = chains, steps, leads

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: ShouldStop = None
    ) -> Iterator[Completion]:
        """Yield each chain once its last segment is there."""
        drafts = [ChainDraft(chain_of(self._chains, r), r) for r in requests]
        # Until a chain has a segment its prompt is the request's own, token by token.
        contexts = {d.request.id: d.chain.prompt for d in drafts}
        prompts = {d.request.id: d.request.prompt_ids for d in drafts}
        horizon = max((d.chain.horizon for d in drafts), default=0)
        for _ in range(PATIENCE * math.ceil(horizon / self._steps)):
            asked = [self._segment(d, prompts[d.request.id]) for d in drafts]
            parts = ask(self._engine, asked, should_stop)
            before, drafts = [d for d in drafts if d.request.id in parts], []
            for draft in before:
                whole = draft.plus(parts[draft.request.id])
                longer = self._cut(draft, whole)
                if longer.complete:
                    yield longer.completion("stop")
                elif _goes_on(draft, longer):
                    drafts.append(longer)
                    contexts[longer.request.id] += longer.written[len(draft.written) :]
                else:
                    yield whole.completion("stop")
            if not drafts or (should_stop is not None and should_stop()):
                return
            leads = self._leads(drafts, [contexts[d.request.id] for d in drafts])
            for draft, lead in zip(drafts, leads, strict=True):
                contexts[draft.request.id] = lead
                prompts[draft.request.id] = self.encode(lead)
        for draft in drafts:
            yield draft.completion("length")

    def _segment(self, draft: ChainDraft, prompt: tuple[int, ...]) -> GenerationRequest:
        share = draft.request.max_new_tokens * self._steps / draft.chain.horizon
        return replace(draft.request, prompt_ids=prompt, max_new_tokens=math.ceil(ROOM * share) + MARGIN)

    def _cut(self, before: ChainDraft, whole: ChainDraft) -> ChainDraft:
        """Cut behind the last step of the new segment."""
        last = before.steps[-1].step if before.steps else 0
        return whole.upto(self._engine, sum(s.step <= last + self._steps for s in whole.steps))


def _goes_on(before: ChainDraft, after: ChainDraft) -> bool:
    """Whether a segment has added a step whose state can be restated."""
    return len(after.steps) > len(before.steps) and after.steps[-1].state is not None


class SegmentChain:
    """Tries segments of 20 steps, then of 10."""

    id = "segment_chain"

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """One for each length of a segment."""
        chains_of(case)
        return [
            Candidate(f"{self.id} {n}", self.id, f"Segments of {n} steps", {"chain.segment_steps": n})
            for n in SEGMENTS
        ]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The run's own EXL2 engine, writing in segments."""
        steps = int(candidate.patch["chain.segment_steps"])
        yield Change(SegmentedEngine(case.context.exl2, chains_of(case), steps))


REMEDIES = {"segment_chain": SegmentChain()}
