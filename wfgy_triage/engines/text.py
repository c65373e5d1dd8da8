"""From token ids to text while they arrive: multi-byte characters and stop strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"


class TextStream:
    """Text of a growing answer, complete characters only.

    Args:
        decode: token ids to text.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._context = 0
        self._read = 0
        self.text = ""

    def push(self, token: int) -> None:
        """Add one token; `text` grows once its characters are whole."""
        self._ids.append(token)
        # Decoded behind the tokens before, since a tokenizer may write a piece differently at the start.
        before = self._decode(self._ids[self._context : self._read])
        after = self._decode(self._ids[self._context :])
        if len(after) > len(before) and not after.endswith(_UNFINISHED):
            self.text += after[len(before) :]
            self._context, self._read = self._read, len(self._ids)


def first_stop(text: str, stops: Sequence[str]) -> int:
    """Where the earliest of `stops` begins in `text`; -1 when none is there."""
    found = [at for at in (text.find(stop) for stop in stops if stop) if at >= 0]
    return min(found, default=-1)
