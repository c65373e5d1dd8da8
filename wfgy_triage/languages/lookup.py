"""Looks a text up in a language's dictionary: whole, with slots, in its sentences, in its joined parts.

The same steps in the same order as `compile` in `assets/texts/translate.js`; a test in the browser compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache

from wfgy_triage.languages.known import LANGUAGES, Words, dictionary
from wfgy_triage.languages.patterns import LETTERS, Pattern, fold, pattern

SHORT = 14
"""Letters below which a pattern says too little to be trusted with half a sentence."""
DEEPEST = 4
"""What is put into a sentence can be a sentence."""
LONGEST = 3000
"""Units of UTF-16; whatever is longer was not written for the page."""
MOST_LOOKUPS = 1000
"""For one text. Foreign texts made of a thousand little sentences would take minutes."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# What counts as white space in a browser's patterns.
_SPACE = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_SPACES = re.compile(f"[{_SPACE}]+")
_WORD = re.compile("[A-Za-z]{2}")
_HALF_SAID = re.compile("[a-z]{2,} [a-z]{2,}")
_SEVERAL = re.compile("[.!?…] ")
_BETWEEN = re.compile("(?<=[.!?…]) ")
_DATE = re.compile(r"([0-9]{1,2}) ([A-Z][a-z]{2}) ([0-9]{4})(?:, ([0-9]{2}:[0-9]{2} UTC))?")
_ASIDE = re.compile(r"\(([^()]*)\)")
_ENDED = re.compile(r"(.*[^.:])([.:])", re.DOTALL)
_SLOT = re.compile(r"\{([0-9]+)\}")
_PLURAL = ("s", "es")


class Lookup:
    """A language's dictionary, ready to be asked. Thread-safe.

    Args:
        texts: English to the other language; "{0}" stands for what was put into a sentence.
        words: what else the language has.
    """

    def __init__(self, texts: Mapping[str, str], words: Words) -> None:
        self.words = words
        self.exact: dict[str, str] = {}
        made: list[Pattern] = []
        for english, other in texts.items():
            if "{0}" in english:
                made.append(pattern(english, other))
            else:
                self.exact[english.lower()] = other
        # The pattern with most words of its own comes first: it says most about the text.
        made = sorted((p for p in made if p.weight), key=lambda p: (-p.weight, not p.opens))
        self._patterns = made
        self._by_word: dict[str, list[int]] = {}
        for number, found in enumerate(made):
            self._by_word.setdefault(found.word, []).append(number)
        # A joint that also stands inside a sentence does not tear it into halves of two languages.
        self.joints = (
            (" → ", " → ", False), (" · ", " · ", False), ("; ", "；", False),
            (": ", words.colon, True), (", ", words.comma, True),
        )  # fmt: skip

    def translated(self, text: str) -> str:
        """Return the text in the other language; what is not in the dictionary stays."""
        return self.counted(text)[0]

    def counted(self, text: str) -> tuple[str, int]:
        """The same, with how often the dictionary was asked for it."""
        bare = text.strip(_SPACE)
        core = _SPACES.sub(" ", bare)
        if not _WORD.search(core) or _units(core) > LONGEST:
            return text, 0
        asking = _Asking(self)
        said = asking.say(core, 0)
        same = said == core or asking.left < 0
        return text if same else text.replace(bare, said, 1), MOST_LOOKUPS - max(0, asking.left)

    def candidates(self, folded: str) -> Iterator[Pattern]:
        """Patterns that may fit, those that say most first."""
        numbers = list(self._by_word.get("", ()))
        for word in set(LETTERS.findall(folded)):
            numbers += self._by_word.get(word, ())
        return (self._patterns[n] for n in sorted(numbers))


class _Asking:
    """One text being looked up.

    Attributes:
        left: how often the dictionary may still be asked; below zero the text was given up.
    """

    def __init__(self, of: Lookup) -> None:
        self.of = of
        self.left = MOST_LOOKUPS
        self._said: dict[tuple[str, int], str] = {}

    def say(self, text: str, depth: int) -> str:
        """Return the text in the other language, or as it is."""
        if not _WORD.search(text) or depth > DEEPEST or self.left < 0:
            return text
        if (text, depth) not in self._said:
            self._said[text, depth] = (
                self._whole(text, depth, across=False)
                or self._sentences(text, depth)
                or self._joined(text, depth)
                or self._whole(text, depth, across=True)
                or text
            )
        return self._said[text, depth]

    def _whole(self, text: str, depth: int, across: bool) -> str | None:
        """Look it up as one; `across`: whether what was put into a sentence may be several sentences."""
        self.left -= 1
        if self.left < 0:
            return None
        found = self.of.exact.get(text.lower()) or self._date(text)
        if found:
            return found
        folded = fold(text)
        for candidate in self.of.candidates(folded):
            values = candidate.values(text, folded)
            if values is None or (not across and any(_SEVERAL.search(v) for v in values)):
                continue
            said = self._filled(candidate, values, depth)
            if said is not None:
                return said
        return self._less(text, depth, across)

    def _less(self, text: str, depth: int, across: bool) -> str | None:
        """Look it up without its brackets, or without the stop or colon at its end."""
        words = self.of.words
        aside = _ASIDE.fullmatch(text)
        inside = self._whole(aside[1], depth, across) if aside else None
        if inside:
            return words.open + inside + words.close
        end = _ENDED.fullmatch(text)
        bare = self._whole(end[1], depth, across) if end else None
        return bare + (words.stop if end[2] == "." else words.colon) if end and bare else None

    def _date(self, text: str) -> str | None:
        date = _DATE.fullmatch(text)
        if not date or date[2] not in _MONTHS:
            return None
        day = self.of.words.date(date[1], _MONTHS.index(date[2]) + 1, date[3])
        return f"{day} {date[4]}" if date[4] else day

    def _filled(self, found: Pattern, values: list[str], depth: int) -> str | None:
        # An English plural's ending can be a slot of its own: "{0} warning{1}".
        bare = [v.strip(_SPACE) for v in values]
        said = ["" if v in _PLURAL else self.say(v, depth + 1) for v in bare]
        if found.weight < SHORT and any(_HALF_SAID.search(s) for s in said):
            return None
        by_slot = dict(reversed([*zip(found.slots, said, strict=True)]))
        return _SLOT.sub(lambda slot: by_slot.get(slot[1], ""), found.other)

    def _sentences(self, text: str, depth: int) -> str | None:
        """Say it sentence by sentence, as many at once as the dictionary has in one."""
        pieces, said, changed, start = _BETWEEN.split(text), "", False, 0
        while start < len(pieces) > 1:
            shown, end = self._longest(pieces, start, depth)
            changed = changed or shown != " ".join(pieces[start:end])
            said += (" " if said and "\x21" <= said[-1] <= "\x7e" else "") + shown
            start = end
        return said if changed else None

    def _longest(self, pieces: list[str], start: int, depth: int) -> tuple[str, int]:
        """What the most sentences from `start` on are in one, and where they end; or the first by itself."""
        for end in range(len(pieces), start + 1, -1):
            if self.left >= 0 and (start or end < len(pieces)):
                shown = self._whole(" ".join(pieces[start:end]), depth + 1, across=False)
                if shown is not None:
                    return shown, end
        return self.say(pieces[start], depth + 1), start + 1

    def _joined(self, text: str, depth: int) -> str | None:
        """Say what is joined by a dot, a semicolon, a colon, commas."""
        for joint, glue, tears in self.of.joints:
            pieces = text.split(joint)
            if len(pieces) < 2:
                continue
            said = [self.say(p, depth + 1) for p in pieces]
            torn = tears and any(_HALF_SAID.search(s) for s in said)
            if not torn and said != pieces:
                return glue.join(said)
        return None


def _units(text: str) -> int:
    return len(text) + sum(c > "\uffff" for c in text)


@cache
def lookup(language: str) -> Lookup:
    """Return the dictionary of one of `LANGUAGES`, read once a process."""
    return Lookup(dictionary(language), LANGUAGES[language])
