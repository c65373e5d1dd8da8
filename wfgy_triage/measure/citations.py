"""Reads the citations of an answer: which passages it points at, whether they were supplied, where they stand.

A citation is one or more passage ids in square brackets, `[S2]` or `[S1, S3]`. An id is up to 64 letters, digits and
`._:#-`; brackets around anything else, and Markdown links, are no citations. Ids are compared exactly, because the
program that resolves them does so too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from wfgy_triage.measure.strict_json import find_json

CITATION_ID = r"[A-Za-z0-9][A-Za-z0-9._:#-]{0,63}"
REQUIRED_FIELDS = ("snippet_id", "section_id", "quote")
"""Fields that a model must fill in itself. The other fields of the traceability page (source address, offsets, token
count, index hash, revision) follow from the snippet id and the quote, and a program looks them up."""
QUOTE_WORDS = 3
"""Quotation marks around fewer words are emphasis, not a quotation."""

_BRACKETS = re.compile(rf"\[\s*({CITATION_ID}(?:\s*[,;]\s*{CITATION_ID})*)\s*\](?!\()")
_SPACE = re.compile(r"\s+")
# A full stop ends a claim only where more words follow it.
_CLAIM_END = re.compile(r"(?:[.!?][\"'”’)]*\s|\n)(?=\w)")
_QUOTED = re.compile(r"\"([^\"\n]+)\"|“([^”\n]+)”|„([^“\n]+)“|«([^»\n]+)»")


class CitationKind(StrEnum):
    """The one class an answer is in."""

    CORRECT = "cites_right_passage"
    OTHER = "cites_other_passage"
    DANGLING = "cites_unknown_passage"
    MISSING = "no_citation"
    TRUNCATED = "truncated"


@dataclass(frozen=True)
class Citation:
    """One bracket: the ids in it, and its place in the text (`text[start:end]` with the brackets)."""

    ids: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True)
class CitationOutcome:
    """What an answer cites.

    Attributes:
        kind: the class of the answer.
        cited: ids in the order of first mention, each once.
        dangling: those that were not supplied.
        present: whether it cites at all; None when it was cut off before it did, within its first sentence.
        valid: whether it cites, and only what was supplied; None when it was cut off and that is still open.
        correct: whether the passage that holds the answer is cited; None as for `present`.
        cite_first: whether the first claim carries its citation (see `cites_first`); None as for `present`.
        unsupported_quotes: quoted spans that stand in no supplied passage.
    """

    kind: CitationKind
    cited: tuple[str, ...]
    dangling: tuple[str, ...]
    present: bool | None
    valid: bool | None
    correct: bool | None
    cite_first: bool | None
    unsupported_quotes: tuple[str, ...]


@dataclass(frozen=True)
class RecordOutcome:
    """What a JSON citation record holds.

    Attributes:
        completeness: share of `REQUIRED_FIELDS` that are non-empty texts; 0 without a JSON object.
        missing: the other required fields.
        dangling: whether `snippet_id` names a passage that was not supplied.
        section_matches: whether `section_id` is the section of that passage.
        offsets: first and end character of the quote in that passage; None when it does not stand there.
    """

    completeness: float
    missing: tuple[str, ...]
    dangling: bool
    section_matches: bool
    offsets: tuple[int, int] | None


def find_citations(text: str) -> list[Citation]:
    """All citations, in order."""
    return [
        Citation(tuple(re.split(r"\s*[,;]\s*", m[1])), m.start(), m.end()) for m in _BRACKETS.finditer(text)
    ]


def without_citations(text: str) -> str:
    """The text with its citations taken out."""
    return _BRACKETS.sub(" ", text)


def classify_citations(
    text: str, supplied: Mapping[str, str], gold: str, *, truncated: bool
) -> CitationOutcome:
    """Class one answer.

    Args:
        text: the answer.
        supplied: text of every passage that was in the prompt, by id.
        gold: id of the passage that holds the answer.
        truncated: whether the answer was cut off. If it had finished a sentence by then it is judged as it stands,
            since one cited sentence was asked for; else what a continuation could still change is None.
    """
    truncated = truncated and not finishes_a_claim(text)
    citations = find_citations(text)
    cited = tuple(dict.fromkeys(i for c in citations for i in c.ids))
    dangling = tuple(i for i in cited if i not in supplied)
    late = cites_first(text) is False
    return CitationOutcome(
        kind=_kind(cited, dangling, gold, truncated),
        cited=cited,
        dangling=dangling,
        present=True if cited else _settled(False, truncated),
        valid=False if dangling else _settled(bool(cited), truncated),
        correct=True if gold in cited else _settled(False, truncated),
        cite_first=not late if cited or late else _settled(False, truncated),
        unsupported_quotes=tuple(unsupported_quotes(text, supplied)),
    )


def cites_first(text: str) -> bool | None:
    """Whether the first claim carries its citation: before it, inside it, or right behind its full stop.

    The traceability page asks for the citation "first or together, never after".

    Returns:
        None when there is neither a citation nor a second sentence: a continuation could still cite in time.
    """
    citations = find_citations(text)
    before = text[: citations[0].start] if citations else text
    if finishes_a_claim(before):
        return False
    return True if citations else None


def finishes_a_claim(text: str) -> bool:
    """Whether a sentence ends in the text and more words follow: an answer that was asked for one sentence ran on."""
    # White space is one character first: a model that loops on newlines would else cost the square of their number.
    short = _SPACE.sub(lambda found: "\n" if "\n" in found[0] else " ", text.lstrip())
    return _CLAIM_END.search(short) is not None


def citation_positions(token_texts: Sequence[str]) -> list[bool]:
    """Mark the tokens that spell a citation, brackets included.

    Args:
        token_texts: the tokens' pieces of text, in order; joined they are the answer.
    """
    spans = [(c.start, c.end) for c in find_citations("".join(token_texts))]
    flags, place = [], 0
    for piece in token_texts:
        start, place = place, place + len(piece)
        flags.append(any(start < end and place > begin for begin, end in spans))
    return flags


def unsupported_quotes(text: str, supplied: Mapping[str, str]) -> list[str]:
    """Quoted spans of at least `QUOTE_WORDS` words that no supplied passage holds; case and spacing are ignored."""
    passages = [_flat(passage) for passage in supplied.values()]
    spans = [next(part for part in m.groups() if part) for m in _QUOTED.finditer(text)]
    quotes = [without_citations(s) for s in spans if len(s.split()) >= QUOTE_WORDS]
    return [q for q in quotes if not any(_flat(q) in passage for passage in passages)]


def classify_record(text: str, supplied: Mapping[str, str], sections: Mapping[str, str]) -> RecordOutcome:
    """Read a JSON citation record; text around the object is ignored (that is another probe's business).

    Args:
        text: the answer.
        supplied: text of every passage that was in the prompt, by snippet id.
        sections: id of the section of each of these passages, by snippet id.
    """
    found = find_json(text)
    record = found.value if found is not None and isinstance(found.value, dict) else {}
    fields = {name: record[name] for name in REQUIRED_FIELDS if _filled(record.get(name))}
    snippet, quote = fields.get("snippet_id"), fields.get("quote")
    passage = supplied.get(snippet, "") if snippet else ""
    start = passage.find(quote) if quote else -1
    return RecordOutcome(
        completeness=len(fields) / len(REQUIRED_FIELDS),
        missing=tuple(name for name in REQUIRED_FIELDS if name not in fields),
        dangling=snippet is not None and snippet not in supplied,
        section_matches=bool(snippet) and fields.get("section_id") == sections.get(snippet or "", ""),
        offsets=(start, start + len(quote)) if quote and start >= 0 else None,
    )


def _kind(cited: Sequence[str], dangling: Sequence[str], gold: str, truncated: bool) -> CitationKind:
    if dangling:
        return CitationKind.DANGLING
    if truncated:
        return CitationKind.TRUNCATED
    if not cited:
        return CitationKind.MISSING
    return CitationKind.CORRECT if gold in cited else CitationKind.OTHER


def _settled(value: bool, truncated: bool) -> bool | None:
    return None if truncated else value


def _filled(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _flat(text: str) -> str:
    return " ".join(text.split()).casefold().strip(" .,;:!?")
