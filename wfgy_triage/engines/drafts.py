"""Guessing the next tokens of an answer from texts that it is likely to follow, so that one pass reads several.

A guess never decides anything: the model computes its own choice at every place, and reading goes on only as long as
the guess was that choice (speculative decoding without a second model: Leviathan et al. 2023, "Fast Inference from
Transformers via Speculative Decoding"; texts as drafts: Saxena 2023, "Prompt Lookup Decoding").
"""

from __future__ import annotations

from collections.abc import Sequence

CONTEXT_TOKENS = 3
"""So many tokens of the answer must agree with a place in a draft for the answer to be followed up from there."""
WIDTHS = (1, 2, 4, 8, 16)
"""Tokens that one pass may read of a row: the newest one, and guesses behind it."""
MOST_POSITIONS = 160
"""Tokens that one pass may read of all rows together: bounds the logits that are held at a time."""
PASS_COST, ROW_COST = 16.0, 1.0
"""What a pass costs whatever it reads, and each row by its storage, in tokens read. Measured on two cores with the demo
model: a pass over 20 rows takes 97 ms with one token each, 214 with four, 638 with sixteen."""
_FIRST_TRUST = (2.1, 3.0)
"""Right guesses and all guesses that a draft starts with."""
_FORGET = 0.9
"""How much of what was seen before counts after each pass: an answer may leave its draft, and find it again."""


class Follower:
    """Follows the drafts of one answer.

    Args:
        drafts: token ids of texts that the answer may be like, the likeliest first.
    """

    def __init__(self, drafts: Sequence[Sequence[int]]) -> None:
        self._drafts = [tuple(d) for d in dict.fromkeys(map(tuple, drafts)) if d]
        self._draft = self._place = self._read = 0
        self._right, self._all = _FIRST_TRUST

    @property
    def trust(self) -> float:
        """The share of guesses that were right lately; 0 where there is nothing to follow."""
        return self._right / self._all if self._drafts else 0.0

    def guess(self, tokens: Sequence[int], most: int) -> tuple[int, ...]:
        """The next tokens behind `tokens`, at most `most`; fewer or none where the draft ends."""
        if not self._drafts or most < 1:
            return ()
        for end in range(self._read + 1, len(tokens) + 1):
            self._follow(tokens, end)
        self._read = len(tokens)
        return self._drafts[self._draft][self._place : self._place + most]

    def told(self, guessed: int, right: int) -> None:
        """Learn how many of the guesses were right; the first wrong one counts, those behind it say nothing."""
        self._right = self._right * _FORGET + right
        self._all = self._all * _FORGET + min(guessed, right + 1)

    def _follow(self, tokens: Sequence[int], end: int) -> None:
        """Move on by the token before `end`; where it is another than the draft's, look for the place that it has."""
        draft = self._drafts[self._draft]
        on_course = self._place < len(draft) and draft[self._place] == tokens[end - 1]
        # A replaced token (one digit, say) leaves the rest where it is.
        self._place += 1
        if not on_course and end >= CONTEXT_TOKENS:
            self._look_up(tuple(tokens[end - CONTEXT_TOKENS : end]))

    def _look_up(self, context: tuple[int, ...]) -> None:
        """Go to the nearest place behind these tokens, in the same draft first."""
        others = [n for n in range(len(self._drafts)) if n != self._draft]
        for number in (self._draft, *others):
            draft = self._drafts[number]
            found = [
                at
                for at in range(CONTEXT_TOKENS, len(draft) + 1)
                if draft[at - CONTEXT_TOKENS : at] == context
            ]
            if found:
                self._draft, self._place = number, min(found, key=lambda at: abs(at - self._place))
                return


def pass_width(trusts: Sequence[float]) -> int:
    """How many tokens of every row the next pass reads: most expected tokens for what it costs.

    Args:
        trusts: for each row, the share of guesses that is right; 0 where there are none.
    """
    rows = len(trusts)
    possible = [w for w in WIDTHS if w == 1 or rows * w <= MOST_POSITIONS]

    def worth(width: int) -> float:
        expected = sum(sum(t**n for n in range(width)) for t in trusts)
        return expected / (PASS_COST + rows * (ROW_COST + width))

    return max(possible, key=worth)
