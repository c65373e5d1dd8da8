"""What an answer is worth: JSON against its schema, citations against the passages that were given.

The measuring is that of the probes (`measure/`); this file says what it means for one answer in production: a verdict,
the class of failure, a reason in plain words. Everything is bounded: a text beyond the limits is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from wfgy_triage.errors import InputError
from wfgy_triage.guard.records import record_faults
from wfgy_triage.measure.answers import coverage
from wfgy_triage.measure.citations import CitationKind, CitationOutcome, classify_citations
from wfgy_triage.measure.json_validity import JsonKind, JsonOutcome, classify_json
from wfgy_triage.measure.strict_json import MAX_CHARS
from wfgy_triage.measure.tension import context_distance

MAX_SNIPPETS = 100
MAX_SNIPPET_CHARS = 200_000
"""All passages of one answer together."""

Embed = Callable[[Sequence[str]], ArrayLike]
"""Texts in, one row of numbers a text out."""

# A run of empty lines says nothing, and the claim reader's time grows with its square.
_SPACE_RUN = re.compile(r"\s{3,}")


class Verdict(StrEnum):
    """What the guard says of an answer; `UNCHECKED`: nothing was asked of it."""

    OK = "ok"
    FAILED = "failed"
    UNJUDGED = "unjudged"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Snippet:
    """A passage that the model was given. `target`: it belongs to the section that holds the answer."""

    id: str
    text: str
    section: str = ""
    target: bool = False


@dataclass(frozen=True)
class JsonCheck:
    """One answer against its schema.

    Attributes:
        verdict: `ok`, `failed` or `unjudged`.
        failure: class of failure, as the probes name it; empty when ok.
        reason: one plain sentence; may quote the answer.
        told: the same without a word of the answer, for places where no text is kept.
        parse_ok: the whole text is one JSON value; None when it was cut off and that is still open.
        schema_ok: and it fits the schema; None as for `parse_ok`.
    """

    verdict: Verdict
    failure: str
    reason: str
    told: str
    parse_ok: bool | None
    schema_ok: bool | None


@dataclass(frozen=True)
class CitationCheck:
    """One answer against the passages that were given.

    Attributes:
        verdict: `ok`, `failed` or `unjudged`.
        failure: class of failure; empty when ok.
        reason: one plain sentence; may quote the answer.
        told: the same without a word of the answer.
        cited: ids of passages in order of first mention.
        citation_ok: it cites, and only what was given (records: complete and matching); None when still open.
        fields: share of the required fields of citation records that are filled; None without records.
        coverage: share of the target section's content words in the answer or in what it cites; None (NOT
            MEASURED) where no passage is marked as target.
        grounded: share of the answer's content words that stand in the passages it cites; None without citations.
        distance: ΔS of question and passages; None (NOT MEASURED) without an embedder or a question.
    """

    verdict: Verdict
    failure: str
    reason: str
    told: str
    cited: tuple[str, ...] = ()
    citation_ok: bool | None = None
    fields: float | None = None
    coverage: float | None = None
    grounded: float | None = None
    distance: float | None = None


Snippets = Sequence[Snippet] | Mapping[str, str]


class Guard:
    """The checks, with an embedder where there is one.

    Args:
        embed: a sentence model; without it ΔS is not measured.
    """

    def __init__(self, embed: Embed | None = None) -> None:
        self._embed = embed

    def check_json(
        self, text: str, schema: Mapping[str, Any] | bool, *, truncated: bool = False
    ) -> JsonCheck:
        """Judge one answer against a JSON Schema; see `check_json`."""
        return check_json(text, schema, truncated=truncated)

    def check_citations(
        self,
        answer: str,
        snippets: Snippets,
        *,
        record: bool = False,
        truncated: bool = False,
        question: str = "",
    ) -> CitationCheck:
        """Judge the citations of one answer; see `check_citations`."""
        return check_citations(
            answer, snippets, record=record, truncated=truncated, question=question, embed=self._embed
        )


def check_json(text: str, schema: Mapping[str, Any] | bool, *, truncated: bool = False) -> JsonCheck:
    """Judge one answer against a JSON Schema (draft 2020-12, no remote references, RE2 patterns).

    A refused schema, or a text beyond the reader's limit, gives `unjudged` and never an exception.

    Args:
        text: the answer.
        schema: what it has to fit.
        truncated: it ended at the token limit.
    """
    if len(text) > MAX_CHARS:
        said = f"The answer has {len(text):,} characters; more than {MAX_CHARS:,} are not read."
        return JsonCheck(Verdict.UNJUDGED, "too_long", said, said, None, None)
    try:
        outcome = classify_json(text, schema, truncated)
    except InputError as error:
        return JsonCheck(
            Verdict.UNJUDGED,
            "schema_refused",
            str(error),
            "The schema cannot be used for checking.",
            None,
            None,
        )
    ok = outcome.kind is JsonKind.VALID
    open_ended = outcome.truncated
    return JsonCheck(
        verdict=Verdict.OK if ok else Verdict.FAILED,
        failure="" if ok else outcome.kind.value,
        reason=outcome.detail,
        told=_told(outcome),
        parse_ok=(False if outcome.never_parses else None) if open_ended else outcome.parse_valid,
        schema_ok=(False if outcome.never_fits else None) if open_ended else outcome.schema_valid,
    )


_TOLD = {
    JsonKind.VALID: "It fits the schema.",
    JsonKind.SCHEMA_MISMATCH: "It is JSON and does not fit the schema.",
    JsonKind.TRAILING_TEXT: "There is text after the JSON.",
    JsonKind.LEADING_TEXT: "There is text before the JSON.",
    JsonKind.CODE_FENCE: "The JSON stands in a code block.",
    JsonKind.MALFORMED: "It cannot be read as JSON.",
    JsonKind.EMPTY: "The answer is empty.",
    JsonKind.TRUNCATED: "The answer was cut off by the length limit.",
}


def _told(outcome: JsonOutcome) -> str:
    """The reason in counts: paths and values may be the model's own words."""
    fields = {
        f"Fields missing: {len(outcome.missing_keys)}.": outcome.missing_keys,
        f"Fields not asked for: {len(outcome.extra_keys)}.": outcome.extra_keys,
        f"Fields of another type: {len(outcome.type_drift)}.": outcome.type_drift,
        f"Fields outside the allowed values: {len(outcome.enum_drift)}.": outcome.enum_drift,
    }
    return " ".join([_TOLD[outcome.kind], *(words for words, found in fields.items() if found)])


def check_citations(
    answer: str,
    snippets: Snippets,
    *,
    record: bool = False,
    truncated: bool = False,
    question: str = "",
    embed: Embed | None = None,
) -> CitationCheck:
    """Judge the citations of one answer.

    Args:
        answer: the answer; `[S1]` cites the passage `S1`.
        snippets: the passages that the model was given.
        record: the answer is a citation record in JSON, a list of them, or an object with a list `citations`.
        truncated: it ended at the token limit.
        question: what was asked, for ΔS.
        embed: a sentence model, for ΔS.
    """
    given = _as_snippets(snippets)
    if (too_much := _beyond(answer, given)) is not None:
        return CitationCheck(Verdict.UNJUDGED, "too_long", too_much, too_much)
    supplied = {s.id: s.text for s in given}
    if record:
        found = record_faults(answer, supplied, {s.id: s.section for s in given}, truncated)
        cited, ok, fields, failure, told = found.cited, found.ok, found.fields, found.failure, found.told
        dangling = tuple(i for i in cited if i not in supplied)
    else:
        outcome = classify_citations(_calm(answer), supplied, "", truncated=truncated)
        cited, ok, fields, dangling = outcome.cited, outcome.valid, None, outcome.dangling
        failure, told = _inline(outcome)
    known = [supplied[i] for i in cited if i in supplied]
    targets = [s.text for s in given if s.target]
    named = f" Not given: {', '.join(dangling[:5])}." if dangling else ""
    return CitationCheck(
        verdict=Verdict.UNJUDGED if ok is None else Verdict.OK if ok else Verdict.FAILED,
        failure=failure,
        reason=told + named,
        told=told,
        cited=cited,
        citation_ok=ok,
        fields=fields,
        coverage=coverage(answer, targets, known) if targets else None,
        grounded=coverage("", [answer], known) if known else None,
        distance=_distance(question, given, embed),
    )


def _inline(outcome: CitationOutcome) -> tuple[str, str]:
    if outcome.valid is None:
        return CitationKind.TRUNCATED.value, "The answer was cut off before it could cite."
    if outcome.kind is CitationKind.DANGLING:
        return outcome.kind.value, "It cites a passage that was not given."
    if not outcome.cited:
        return CitationKind.MISSING.value, "It cites nothing."
    return "", "It cites, and only passages that were given."


def _distance(question: str, snippets: Sequence[Snippet], embed: Embed | None) -> float | None:
    if embed is None or not question.strip() or not snippets:
        return None
    rows = np.asarray(embed([question, *(s.text for s in snippets)]), dtype=np.float64)
    return context_distance(rows[0], rows[1:])


def _as_snippets(snippets: Snippets) -> tuple[Snippet, ...]:
    if isinstance(snippets, Mapping):
        return tuple(Snippet(i, text) for i, text in snippets.items())
    return tuple(snippets)


def _beyond(answer: str, snippets: Sequence[Snippet]) -> str | None:
    if len(answer) > MAX_CHARS:
        return f"The answer has {len(answer):,} characters; more than {MAX_CHARS:,} are not read."
    if len(snippets) > MAX_SNIPPETS or sum(len(s.text) for s in snippets) > MAX_SNIPPET_CHARS:
        return (
            f"More than {MAX_SNIPPETS} passages, or {MAX_SNIPPET_CHARS:,} characters of them, are not read."
        )
    return None


def _calm(text: str) -> str:
    return _SPACE_RUN.sub(lambda m: "\n\n" if "\n" in m[0] else "  ", text.strip())
