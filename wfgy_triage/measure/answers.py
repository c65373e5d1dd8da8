"""Compares a free answer with a short gold answer, and with the evidence behind it. Text in, numbers out.

Normalisation is that of SQuAD (case, punctuation, articles, white space), with numbers kept exact: a decimal point or
a minus sign inside a number stays, a separator of thousands goes. Citations are taken out first, so that the number in
`[S4]` is not mistaken for an answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from wfgy_triage.measure.citations import without_citations

_TOKEN = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?|\d+(?:\.\d+)?|[^\W\d_]+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"-?\d")
_ARTICLES = frozenset({"a", "an", "the"})
_WORDS = """
about after again all also an and any are as at be been before but by can could did do does each for from had has have
he her his how if in into is it its may more most must no not of on only or other our out over she should so some such
than that their them then there these they this those to under up us was we were what when where which while who whose
will with would you your
"""
_FUNCTION_WORDS = _ARTICLES | frozenset(_WORDS.split())
"""English words that carry no fact; in other languages every word counts as content."""


def normalise(text: str) -> list[str]:
    """Words and numbers of a text, in order, as they are compared."""
    plain = unicodedata.normalize("NFKC", without_citations(text)).casefold().replace("\N{MINUS SIGN}", "-")
    words = _TOKEN.findall(_THOUSANDS.sub("", plain))
    kept = [w for w in words if w not in _ARTICLES]
    return kept or words


def answer_matches(answer: str, gold: str, aliases: Iterable[str] = ()) -> bool:
    """Whether an answer says what the gold answer (or one of its other writings) says.

    The words of the gold answer have to stand in the answer, next to each other and in order; numbers and names
    exactly. A gold answer that is a bare number must be the only number in the answer, since any longer text holds
    some number.
    """
    said = normalise(answer)
    return any(_said(normalise(candidate), said) for candidate in (gold, *aliases))


def content_words(texts: Iterable[str]) -> set[str]:
    """Distinct words and numbers that carry content."""
    return {word for text in texts for word in normalise(text)} - _FUNCTION_WORDS


def coverage(answer: str, evidence: Sequence[str], cited: Iterable[str]) -> float | None:
    """Share of the evidence's content words that stand in the answer or in the passages it validly cites.

    Args:
        answer: the answer.
        evidence: spans of the source that state the right answer.
        cited: texts of the supplied passages that the answer cites.

    Returns:
        A share in [0, 1]; None when the evidence has no content words.
    """
    wanted = content_words(evidence)
    if not wanted:
        return None
    return len(wanted & content_words([answer, *cited])) / len(wanted)


def _said(candidate: Sequence[str], said: Sequence[str]) -> bool:
    if not candidate:
        return False
    if len(candidate) == 1 and _NUMBER.match(candidate[0]):
        numbers = {word for word in said if _NUMBER.match(word)}
        return numbers == set(candidate)
    width = len(candidate)
    return any(said[i : i + width] == list(candidate) for i in range(len(said) - width + 1))
