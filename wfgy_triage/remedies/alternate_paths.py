"""Several continuations of one question, of which the most frequent answer counts (WFGY: BBPF)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from wfgy_triage.engines.base import Completion, Engine, GenerationRequest
from wfgy_triage.measure.fluency import mean_logprob
from wfgy_triage.remedies.base import Candidate, Case, Change

PATHS = (3, 5)
TEMPERATURE = 0.3
"""Low enough that answers stay close to the most likely one; the first path is greedy."""
_SEPARATOR = "\x1f"


class VotingEngine:
    """An engine that answers a request several times and gives the answer that most paths agree on.

    Answers agree when their text is the same up to white space; among equally frequent ones the likeliest wins (mean
    log-probability of its tokens), and the first path in a tie.
    """

    def __init__(self, engine: Engine, paths: int, temperature: float = TEMPERATURE) -> None:
        self._engine, self._paths, self._temperature = engine, paths, temperature
        self.info, self.capabilities = engine.info, engine.capabilities
        self.encode, self.decode, self.render_chat = engine.encode, engine.decode, engine.render_chat
        self.logits, self.embed = engine.logits, engine.embed

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """Yield the elected answer of each request once all of its paths are there."""
        paths = [self._path(r, n) for r in requests for n in range(self._paths)]
        waiting: dict[str, list[tuple[int, Completion]]] = defaultdict(list)
        for completion in self._engine.generate(paths, should_stop):
            name, _, number = completion.id.rpartition(_SEPARATOR)
            waiting[name].append((int(number), completion))
            if len(waiting[name]) == self._paths:
                yield replace(elect([c for _, c in sorted(waiting.pop(name), key=lambda p: p[0])]), id=name)

    def close(self) -> None:
        """Nothing: the engine belongs to the run."""

    def _path(self, request: GenerationRequest, number: int) -> GenerationRequest:
        name = f"{request.id}{_SEPARATOR}{number}"
        if number == 0:
            return replace(request, id=name)
        heat = max(request.temperature, self._temperature)
        return replace(request, id=name, temperature=heat, seed=request.seed + number)


def elect(paths: Sequence[Completion]) -> Completion:
    """The answer that most paths agree on."""
    groups: dict[str, list[Completion]] = defaultdict(list)
    for path in paths:
        groups[" ".join(path.text.split())].append(path)
    return max(groups.values(), key=lambda g: (len(g), max(map(_likelihood, g))))[0]


def _likelihood(path: Completion) -> float:
    found = mean_logprob(path.logprobs)
    return -math.inf if found is None else found


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
