"""A sentence of the dictionary with slots, and what a text has in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SLOTS = re.compile(r"((?:\{[0-9]+\})+)")
_NUMBER = re.compile(r"[0-9]+")
_FIRST_WORD = re.compile(r"[A-Za-z]{2,}")
LETTERS = re.compile(r"[A-Z]+")


@dataclass(frozen=True)
class Pattern:
    """English with slots, and the other language.

    Attributes:
        pieces: what stands before, between and behind the slots, folded.
        slots: the number of each slot; of several without a word between them, which are taken as one, the first.
        least: characters that the first slot has at least.
        other: the other language.
        weight: letters of its own.
        opens: whether it begins with a word of its own, which goes first among equals.
        word: its longest word, folded, that no slot touches: a text without it is another one. Empty without one.
    """

    pieces: tuple[str, ...]
    slots: tuple[str, ...]
    least: int
    other: str
    weight: int
    opens: bool
    word: str

    def values(self, text: str, folded: str) -> list[str] | None:
        """Return what the slots hold, each as short as it can be; None where the text is another one.

        What stands between two slots is taken where it is found first: a slot takes anything, so if a later place
        fits, this one does as well. The time is that of reading the text once.
        """
        at, end = len(self.pieces[0]), len(text) - len(self.pieces[-1])
        if not (folded.startswith(self.pieces[0]) and folded.endswith(self.pieces[-1])):
            return None
        found, least = [], self.least
        for piece in self.pieces[1:-1]:
            place = folded.find(piece, at + least, end)
            if place < 0:
                return None
            found.append(text[at:place])
            at, least = place + len(piece), 0
        return None if end < at + least else [*found, text[at:end]]


def pattern(english: str, other: str) -> Pattern:
    """Read a sentence of the dictionary that has slots."""
    pieces = _SLOTS.split(english)
    first = _FIRST_WORD.match(english)
    return Pattern(
        pieces=tuple(fold(piece) for piece in pieces[::2]),
        slots=tuple(found[0] for found in map(_NUMBER.search, pieces[1::2]) if found),
        least=1 if english.startswith("{") else 0,
        other=other,
        weight=len(re.sub(r"[^A-Za-z]", "", "".join(pieces[::2]))),
        opens=bool(first and not english.startswith("{", first.end())),
        word=max(_own_words(pieces[::2]), key=len, default=""),
    )


def _own_words(pieces: Sequence[str]) -> Iterator[str]:
    last = len(pieces) - 1
    for number, piece in enumerate(map(fold, pieces)):
        for found in LETTERS.finditer(piece):
            behind_slot = number > 0 and found.start() == 0
            before_slot = number < last and found.end() == len(piece)
            if not behind_slot and not before_slot:
                yield found[0]


class _Folds(dict[int, int]):
    """Characters without the difference of capitals, one for one, as a browser's patterns compare them."""

    def __missing__(self, code: int) -> int:
        capital = chr(code).upper()
        same = len(capital) != 1 or code > 0xFFFF or (code >= 128 > ord(capital))
        self[code] = code if same else ord(capital)
        return self[code]


_FOLDS = _Folds()


def fold(text: str) -> str:
    """Return the text in capitals, as long as it was."""
    return text.upper() if text.isascii() else text.translate(_FOLDS)
