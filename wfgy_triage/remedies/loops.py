"""What changes that answer in several passes share: an engine in front of the run's engine, rounds, and stitching."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wfgy_triage.engines.base import Completion, Engine, FinishReason, GenerationRequest

ShouldStop = Callable[[], bool] | None


class WrappedEngine(ABC):
    """An engine that answers in its own way and leaves everything else to the engine behind it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.info, self.capabilities = engine.info, engine.capabilities
        self.encode, self.decode, self.render_chat = engine.encode, engine.decode, engine.render_chat
        self.logits, self.embed = engine.logits, engine.embed

    @abstractmethod
    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: ShouldStop = None
    ) -> Iterator[Completion]:
        """Yield one completion a request, under the request's id; those unfinished at a stop are dropped."""

    def close(self) -> None:  # noqa: B027
        """Nothing: the engine belongs to the run."""


def ask(
    engine: Engine, requests: Sequence[GenerationRequest], should_stop: ShouldStop
) -> dict[str, Completion]:
    """One round: all requests in one call, by id. What a stop has cut off is left out."""
    found = engine.generate(requests, should_stop) if requests else ()
    return {c.id: c for c in found if c.finish_reason != "cancelled"}


@dataclass(frozen=True)
class Draft:
    """An answer put together from parts; `logprobs` belong to `token_ids`, which may lack what joins two parts."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()

    def plus(self, part: Completion, joint: str = "") -> Draft:
        """With a further part behind a joint."""
        return Draft(
            self.text + joint + part.text, self.token_ids + part.token_ids, self.logprobs + part.logprobs
        )

    def cut(self, engine: Engine, size: int) -> Draft:
        """The first `size` characters, and the tokens that spell them."""
        if size >= len(self.text):
            return self
        kept = bisect_left(
            range(len(self.token_ids)), size, key=lambda n: len(engine.decode(self.token_ids[:n]))
        )
        return Draft(self.text[:size], self.token_ids[:kept], self.logprobs[:kept])

    def completion(self, request_id: str, reason: FinishReason) -> Completion:
        """The whole as one answer."""
        return Completion(request_id, self.text, self.token_ids, self.logprobs, reason)
