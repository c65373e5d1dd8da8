"""Several continuations of one question, of which the most frequent answer counts (WFGY: BBPF)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from wfgy_triage.engines.base import Completion, Engine, GenerationRequest
from wfgy_triage.measure.fluency import mean_logprob
from wfgy_triage.measure.voting import elect
from wfgy_triage.remedies.base import Candidate, Case, Change
from wfgy_triage.remedies.loops import ShouldStop, WrappedEngine

PATHS = (3, 5)
TEMPERATURE = 0.3
"""Low enough that answers stay close to the most likely one; the first path is as it would be asked alone."""
APART = 1_000
"""Between the seeds of two paths: runs whose own seeds follow each other (λ_observe) must not share draws, or their
votes would agree for that alone."""
_SEPARATOR = "\x1f"


class VotingEngine(WrappedEngine):
    """An engine that answers a request several times and gives the answer that most paths agree on.

    Which answers agree, and what decides a tie: `measure.voting.elect`.
    """

    def __init__(self, engine: Engine, paths: int, temperature: float = TEMPERATURE) -> None:
        super().__init__(engine)
        self._paths, self._temperature = paths, temperature

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: ShouldStop = None
    ) -> Iterator[Completion]:
        """Yield the elected answer of each request once all of its paths are there."""
        paths = [self._path(r, n) for r in requests for n in range(self._paths)]
        waiting: dict[str, dict[int, Completion]] = defaultdict(dict)
        for completion in self._engine.generate(paths, should_stop):
            if completion.finish_reason == "cancelled":
                continue
            name, _, number = completion.id.rpartition(_SEPARATOR)
            waiting[name][int(number)] = completion
            if len(waiting[name]) == self._paths:
                yield replace(_elected([c for _, c in sorted(waiting.pop(name).items())]), id=name)

    def _path(self, request: GenerationRequest, number: int) -> GenerationRequest:
        name = f"{request.id}{_SEPARATOR}{number}"
        if number == 0:
            return replace(request, id=name)
        heat = max(request.temperature, self._temperature)
        return replace(request, id=name, temperature=heat, seed=request.seed + APART * number)


def _elected(paths: Sequence[Completion]) -> Completion:
    """The answer of the majority."""
    likelihoods = [-math.inf if (m := mean_logprob(p.logprobs)) is None else m for p in paths]
    return paths[elect([p.text for p in paths], [1.0] * len(paths), likelihoods)]


class AlternatePaths:
    """Tries three paths, then five."""

    id = "alternate_paths"

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """One for each number of paths."""
        return [
            Candidate(
                f"{self.id} {n}",
                self.id,
                f"Vote over {n} continuations",
                {"paths.count": n, "sampler.temperature": TEMPERATURE},
            )
            for n in PATHS
        ]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The run's own EXL2 engine, voting."""
        yield Change(VotingEngine(case.context.exl2, int(candidate.patch["paths.count"])))


REMEDIES = {"alternate_paths": AlternatePaths()}
