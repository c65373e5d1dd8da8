"""Prompts that were computed before: their keys and values are kept, so that a later call computes only what is new.

A run asks the same prompts again and again: greedily, under seeds, in other words behind the same passages, with a
change in place, and once more to score their answers. Keys and values of a token depend on the tokens up to it alone,
so what two prompts have in common needs computing once, in whichever call it comes first.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from dataclasses import dataclass

from wfgy_triage.engines.batching import common_length
from wfgy_triage.engines.storage import PrefixKV

BUDGET_BYTES = 512 << 20
"""Of one engine: some twenty few-shot prompts of a small model. Those used longest ago go first."""
NEW_SHARE = 0.25
"""Less of what would be stored than this is new: then it is cheaper to compute it again than to keep it twice."""


@dataclass(frozen=True)
class _Kept:
    """A prompt: what it shared with others of its call, and its own keys and values behind that."""

    prefix: PrefixKV | None
    own: PrefixKV

    @property
    def shared(self) -> int:
        return self.prefix.length if self.prefix else 0

    def part(self, begin: int, end: int) -> PrefixKV:
        """Keys and values of the tokens `begin..end-1`."""
        pieces = []
        if self.prefix is not None and begin < self.shared:
            pieces.append(self.prefix.part(begin, min(end, self.shared)))
        if end > self.shared:
            pieces.append(self.own.part(max(0, begin - self.shared), end - self.shared))
        return pieces[0] if len(pieces) == 1 else pieces[0].extended(pieces[1])


class PromptMemory:
    """Keys and values of prompts by their tokens; not thread-safe, like the engine that it belongs to.

    Args:
        bytes_per_token: storage of one token over all layers.
        budget_bytes: bound for everything that is kept; 0 keeps nothing.
    """

    def __init__(self, bytes_per_token: int, budget_bytes: int = BUDGET_BYTES) -> None:
        self._most_tokens = budget_bytes // bytes_per_token
        self._kept: OrderedDict[tuple[int, ...], _Kept] = OrderedDict()
        # Of sorted prompts those beside a new one have the most in common with it.
        self._sorted: list[tuple[int, ...]] = []

    @classmethod
    def none(cls) -> PromptMemory:
        """One that keeps nothing."""
        return cls(1, 0)

    def known(self, tokens: tuple[int, ...]) -> int:
        """How many of the first tokens have keys and values here."""
        return self._nearest(tokens)[0]

    def part(self, tokens: tuple[int, ...], begin: int, end: int) -> PrefixKV:
        """Keys and values of `tokens[begin:end]`; `end` is at most what is known.

        A beginning that was kept as such comes back as the same object, so that prompts behind it can be kept with it.
        """
        _, name = self._nearest(tokens)
        self._kept.move_to_end(name)
        return self._kept[name].part(begin, end)

    def keep(self, tokens: tuple[int, ...], prefix: PrefixKV | None, own: PrefixKV) -> None:
        """Keep a prompt, unless most of it is known; the ones used longest ago go where it gets too much.

        Args:
            tokens: the prompt.
            prefix: keys and values of its beginning; prompts of one call hand over the same object.
            own: those of the rest.
        """
        found = _Kept(prefix, own)
        stored_before = any(k.prefix is prefix for k in self._kept.values())
        cost = own.length + (0 if stored_before else found.shared)
        if cost > self._most_tokens or len(tokens) - self.known(tokens) < max(1, NEW_SHARE * cost):
            return
        self._kept[tokens] = found
        insort(self._sorted, tokens)
        while self._tokens() > self._most_tokens:
            oldest, _ = self._kept.popitem(last=False)
            del self._sorted[bisect_left(self._sorted, oldest)]

    def forget(self) -> None:
        """Keep nothing of what is there."""
        self._kept.clear()
        self._sorted.clear()

    def _tokens(self) -> int:
        prefixes = {id(k.prefix): k.shared for k in self._kept.values()}
        return sum(prefixes.values()) + sum(k.own.length for k in self._kept.values())

    def _nearest(self, tokens: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """The length that is known, and the prompt that knows it."""
        place = bisect_left(self._sorted, tokens)
        beside = self._sorted[max(0, place - 1) : place + 1]
        return max(((common_length(tokens, b), b) for b in beside), default=(0, ()))
