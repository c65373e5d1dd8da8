"""One answer in the making: what is there of it, when it ends, and what may come next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch

from wfgy_triage.engines.base import Completion, FinishReason, GenerationRequest
from wfgy_triage.engines.drafts import Follower
from wfgy_triage.engines.grammar import GrammarState
from wfgy_triage.engines.text import TextStream, first_stop


@dataclass
class AnswerRow:
    """A request, and its answer as far as it has come."""

    request: GenerationRequest
    stream: TextStream | None
    follower: Follower
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: FinishReason | None = None
    grammar: GrammarState | None = None
    barred: torch.Tensor | None = None
    """Tokens (vocab,) that the grammar does not allow next."""

    def masked(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` (..., vocab) without what the grammar bars."""
        return logits if self.barred is None else logits.masked_fill(self.barred, -torch.inf)

    def append(self, token: int, logprob: float, ends: Collection[int]) -> None:
        """Take the next token; `ends` are those that end an answer."""
        if token in ends:
            self.finish = "stop"
            return
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if self.stream is not None:
            self.stream.push(token)
            if first_stop(self.stream.text, self.request.stop_strings) >= 0:
                self.finish = "stop_string"
                return
        if self.grammar is not None and self.grammar.push(token):
            self.finish = "stop"
        elif len(self.tokens) >= self.request.max_new_tokens:
            self.finish = "length"

    def guess(self, most: int) -> tuple[int, ...]:
        """At most so many tokens that may come next, and that there is still room for."""
        room = self.request.max_new_tokens - len(self.tokens) - 1
        return self.follower.guess(self.tokens, min(most, room))

    def completion(self, decode: Callable[[Sequence[int]], str]) -> Completion:
        """The finished answer."""
        assert self.finish is not None  # noqa: S101 - only finished rows are handed out
        if self.finish == "stop_string" and self.stream is not None:
            text = self.stream.text[: first_stop(self.stream.text, self.request.stop_strings)]
        else:
            text = decode(self.tokens)
        return Completion(self.request.id, text, tuple(self.tokens), tuple(self.logprobs), self.finish)
