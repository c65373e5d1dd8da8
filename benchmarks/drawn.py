"""Engines for runs of a model against itself: the same weights, other draws.

A greedy answer is the same every time, so two runs of one model would never differ and nothing could be counted.
These wrappers ask at a temperature, with a seed for each question, or ask questions in other words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wfgy_triage.engines.base import Completion, Engine, GenerationRequest, LogitChunk, ScoreRequest

TEMPERATURE = 0.7
"""Warm enough that outcomes differ. Of 40 records the demo's FP16 model gets, in two draws: at 0.3 39 and 40 right, 1
of them differing between the draws; at 0.7 38 and 36, 6 differing; at 1.0 29 and 26, 11 differing. At 0.3 hardly
anything could be accused; at 1.0 the model is not the one that is in use."""
Ask = tuple[str, float, tuple[int, ...]]


class Wrapped:
    """Everything as the engine inside does it. Closing leaves that one open: several wrappers share it."""

    def __init__(self, engine: Engine) -> None:
        self.inner = engine
        self.info, self.capabilities = engine.info, engine.capabilities

    def encode(self, text: str) -> tuple[int, ...]:
        """See the protocol."""
        return self.inner.encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """See the protocol."""
        return self.inner.decode(token_ids)

    def render_chat(self, messages: Sequence[dict[str, str]]) -> str:
        """See the protocol."""
        return self.inner.render_chat(messages)

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """See the protocol."""
        return self.inner.generate(requests, should_stop)

    def logits(
        self,
        requests: Sequence[ScoreRequest],
        chunk: int = 128,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[LogitChunk]:
        """See the protocol."""
        return self.inner.logits(requests, chunk, should_stop)

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """See the protocol."""
        return self.inner.embed(texts, layers)

    def close(self) -> None:
        """Nothing of its own to give back."""


class Drawn(Wrapped):
    """Answers at a temperature; the seed of an answer is made of the draw and the question.

    The engine's noise depends on the seed and the place in the answer alone. One seed for all questions would push all
    of them the same way at once, and questions would not be independent, as every interval takes them to be.

    Args:
        engine: the model.
        draw: names the draw; another name gives other answers.
        temperature: least temperature of an answer.
    """

    def __init__(self, engine: Engine, draw: str, temperature: float = TEMPERATURE) -> None:
        super().__init__(engine)
        self._draw, self._temperature = draw, temperature
        self._given: dict[Ask, Completion] = {}

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """See the protocol; what was asked before is answered from memory."""
        todo = {r.id: r for r in requests if _ask(r) not in self._given}
        yield from (self._given[_ask(r)] for r in requests if r.id not in todo)
        for answer in self.inner.generate([self._drawn(r) for r in todo.values()], should_stop):
            if answer.finish_reason != "cancelled":
                self._given[_ask(todo[answer.id])] = answer
            yield answer

    def _drawn(self, request: GenerationRequest) -> GenerationRequest:
        warm = max(request.temperature, self._temperature)
        return replace(request, temperature=warm, seed=seed_of(self._draw, request))


def seed_of(draw: str, request: GenerationRequest) -> int:
    """A seed for each question of a draw; greedy and sampled requests of one question get different ones."""
    name = f"{draw}/{request.id}/{request.temperature:g}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


def _ask(request: GenerationRequest) -> Ask:
    return request.id, request.temperature, request.prompt_ids


class Replayed(Wrapped):
    """Scores as the engine inside, answers as another one has answered.

    It stands for the twin where only its scores are wanted: its own answers would be one more draw to wait for.
    """

    def __init__(self, engine: Engine, answers: Drawn) -> None:
        super().__init__(engine)
        self._answers = answers

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        """See the protocol."""
        return self._answers.generate(requests, should_stop)


class Vectors(Wrapped):
    """Embeds every text once for each set of layers."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._rows: dict[tuple[tuple[int, ...], str], np.ndarray] = {}

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """See the protocol."""
        asked = tuple(layers)
        todo = sorted({t for t in texts if (asked, t) not in self._rows})
        if todo:
            found = self.inner.embed(todo, layers)
            self._rows |= {(asked, text): found[:, n] for n, text in enumerate(todo)}
        return np.stack([self._rows[asked, t] for t in texts], axis=1)


class Reworded(Wrapped):
    """Embeds other texts in place of some.

    Args:
        engine: the model.
        wording: text to the one that is embedded in its place.
    """

    def __init__(self, engine: Engine, wording: Mapping[str, str]) -> None:
        super().__init__(engine)
        self._wording = wording

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        """See the protocol."""
        return self.inner.embed([self._wording.get(t, t) for t in texts], layers)


class Sentences:
    """A sentence model that encodes every text once."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load
        self._model: Any = None
        self._rows: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit rows (texts, dimensions)."""
        todo = sorted({t for t in texts if t not in self._rows})
        if todo:
            self._model = self._model or self._load()
            self._rows |= dict(zip(todo, self._model.encode(todo), strict=True))
        return np.stack([self._rows[t] for t in texts])
