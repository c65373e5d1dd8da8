"""Every step a checkpoint: where a chain collapses it is rolled back, bridged and tried again (WFGY: BBCR).

A collapse is read from the text alone (`measure.collapse`), never from what would be right: a value repeated where the
beginning repeats none, a step that cannot be read, is skipped or does not begin where the last one ended, a chain
that ends early. Token entropy is no sign here: a server's answers do not carry it. After the source's three tries the
last one stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from wfgy_triage.engines.base import Completion, Engine, GenerationRequest
from wfgy_triage.measure.collapse import first_collapse, habits_of
from wfgy_triage.probes.long_chain import layout_of
from wfgy_triage.remedies.base import Candidate, Case, Change
from wfgy_triage.remedies.chain_loops import ChainDraft, bridged, chain_of, chains_of
from wfgy_triage.remedies.loops import ShouldStop, WrappedEngine, ask
from wfgy_triage.workload.chains import Chain

RETRIES = 3
"""Tries at a checkpoint, as in the source's code; one that gets further starts counting again."""
MOST_ROUNDS = 10
"""Calls of the engine at most, whatever the chains do."""
TEMPERATURE = 0.3
"""Of a try: low, but with another seed another text can come."""


@dataclass(frozen=True)
class _Life:
    """A chain between its tries: `failed` is the checkpoint that it last fell back to."""

    draft: ChainDraft
    failed: int = -1
    tries: int = 0
    total: int = 0


class RebornEngine(WrappedEngine):
    """Writes chains and rolls back those that collapse; one call of the engine behind it a round, for all of them."""

    def __init__(self, engine: Engine, chains: Mapping[str, Chain]) -> None:
        super().__init__(engine)
        self._chains = chains

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: ShouldStop = None
    ) -> Iterator[Completion]:
        """Yield each chain once it stands, or its tries are used up."""
        lives = [_Life(ChainDraft(chain_of(self._chains, r), r)) for r in requests]
        for number in range(MOST_ROUNDS):
            parts = ask(self._engine, [self._request(life) for life in lives], should_stop)
            lives, before = [], [life for life in lives if life.draft.request.id in parts]
            for life in before:
                draft = life.draft.plus(parts[life.draft.request.id])
                good = checkpoint(draft)
                again = None if good is None else self._rolled_back(life, draft, good)
                if again is None or number == MOST_ROUNDS - 1:
                    yield draft.completion(draft.reason)
                else:
                    lives.append(again)
            if not lives or (should_stop is not None and should_stop()):
                return

    def _request(self, life: _Life) -> GenerationRequest:
        request = life.draft.request
        if not life.total:
            return request
        return replace(
            request,
            prompt_ids=self.encode(bridged(life.draft.chain, life.draft.lines)),
            max_new_tokens=max(1, request.max_new_tokens - len(life.draft.draft.token_ids)),
            temperature=max(request.temperature, TEMPERATURE),
            seed=request.seed + life.total,
        )

    def _rolled_back(self, life: _Life, draft: ChainDraft, good: int) -> _Life | None:
        tries = 1 if good > life.failed else life.tries + 1
        if tries > RETRIES:
            return None
        return _Life(draft.upto(self._engine, good), max(good, life.failed), tries, life.total + 1)


def checkpoint(draft: ChainDraft) -> int | None:
    """How many steps are good where a chain has collapsed; None where it has not."""
    chain, steps = draft.chain, draft.steps
    layout = layout_of(chain)
    found = first_collapse(draft.draft.text, steps, layout, habits_of(chain.prompt, layout))
    if found is not None:
        return found[0]
    ended_early = draft.reason == "stop" and not draft.complete
    return len(steps) if ended_early else None


class Rebirth:
    """One candidate."""

    id = "rebirth"

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """Roll back and try again."""
        chains_of(case)
        return [
            Candidate(
                self.id, self.id, f"Roll back and retry, at most {RETRIES} times", {"chain.retries": RETRIES}
            )
        ]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The run's own EXL2 engine, rolling back."""
        yield Change(RebornEngine(case.context.exl2, chains_of(case)))


REMEDIES = {"rebirth": Rebirth()}
