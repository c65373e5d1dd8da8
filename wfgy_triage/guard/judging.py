"""From a request and its answer to rows of the log. Pure: it runs on a thread of its own, beside the streams."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from wfgy_triage.guard.answers import Answer, Choice, read_answer
from wfgy_triage.guard.asked import Asked
from wfgy_triage.guard.checks import CitationCheck, Guard, JsonCheck, Verdict
from wfgy_triage.store.guard import GuardedAnswer

LONGEST_REASON = 400
LONGEST_TEXT = 20_000


@dataclass(frozen=True)
class Passage:
    """How an answer came through.

    Attributes:
        pieces: its bytes as they came; empty when they were too many.
        status: HTTP status.
        encoding: header `content-encoding`.
        streaming: whether it came as events.
        first_byte_ms: from the request to its first byte; None when none came.
        total_ms: and to the last.
        trouble: why it did not come to its end (a class of failure); empty when it did.
    """

    pieces: tuple[bytes, ...]
    status: int
    encoding: str
    streaming: bool
    first_byte_ms: float | None
    total_ms: float
    trouble: str = ""


@dataclass(frozen=True)
class Judged:
    """The answers of one request: a row each, and the reason that may quote them (for who asked, not for the log)."""

    rows: tuple[GuardedAnswer, ...]
    reason: str = ""

    @property
    def worst(self) -> GuardedAnswer:
        """The row that says most: a failed one, else one that could not be judged."""
        order = [Verdict.FAILED, Verdict.UNJUDGED, Verdict.OK, Verdict.UNCHECKED]
        return min(self.rows, key=lambda r: order.index(Verdict(r.verdict)))


def judge(asked: Asked, passage: Passage, guard: Guard, policy: str) -> Judged:
    """Read and judge the answer of a request; every answer gives at least one row."""
    answer = read_answer(passage.pieces, passage.encoding, passage.streaming)
    empty = _row(asked, passage, answer, policy)
    if passage.status >= 400:
        return _unchecked(empty, f"upstream_{passage.status}")
    if passage.trouble and not answer.complete:
        return _unchecked(empty, passage.trouble)
    if answer.problem or not answer.choices:
        verdict = Verdict.UNJUDGED if asked.checked else Verdict.UNCHECKED
        problem = answer.problem or "no_text"
        return Judged((replace(empty, verdict=verdict.value, failure=problem, reason=_PROBLEMS[problem]),))
    rows, reasons = [], []
    for choice in answer.choices:
        row, reason = _judge_one(empty, asked, choice, guard)
        rows.append(row)
        reasons.append(reason)
    judged = Judged(tuple(rows))
    return replace(judged, reason=reasons[rows.index(judged.worst)])


_PROBLEMS = {
    "unknown_encoding": "The answer is packed in a way that the guard does not read.",
    "unreadable_answer": "The server's answer is not what an OpenAI-compatible server sends.",
    "malformed_stream": "The stream holds an event that is not what an OpenAI-compatible server sends.",
    "upstream_error": "The server broke its answer off with an error.",
    "too_long": "The answer is longer than the guard reads.",
    "no_text": "The answer has no text (a tool call, for example).",
}


def _unchecked(row: GuardedAnswer, failure: str) -> Judged:
    return Judged((replace(row, verdict=Verdict.UNCHECKED.value, failure=failure),))


def _judge_one(row: GuardedAnswer, asked: Asked, choice: Choice, guard: Guard) -> tuple[GuardedAnswer, str]:
    text = choice.text
    row = replace(row, answer_chars=len(text or ""))
    if asked.checked and asked.rule.store_texts and text is not None:
        row = replace(row, text=_storable(text[:LONGEST_TEXT]))
    if not asked.checked:
        return row, ""
    if text is None:
        no_text = _PROBLEMS["no_text"]
        return replace(row, verdict=Verdict.UNJUDGED.value, failure="no_text", reason=no_text), no_text
    truncated = choice.finish == "length"
    checks: list[JsonCheck | CitationCheck] = []
    if asked.schema is not None:
        as_json = guard.check_json(text, asked.schema, truncated=truncated)
        row = replace(row, parse_ok=as_json.parse_ok, schema_ok=as_json.schema_ok)
        checks.append(as_json)
    if asked.cites:
        cited = guard.check_citations(
            text,
            asked.snippets,
            record=asked.rule.citations == "record",
            truncated=truncated,
            question=asked.question,
        )
        row = replace(
            row,
            citation_ok=cited.citation_ok,
            fields=cited.fields,
            coverage=cited.coverage,
            grounded=cited.grounded,
            distance=cited.distance,
        )
        checks.append(cited)
    return _with_verdict(row, checks, asked.rule.store_texts)


def _with_verdict(
    row: GuardedAnswer, checks: list[JsonCheck | CitationCheck], texts: bool
) -> tuple[GuardedAnswer, str]:
    order = [Verdict.FAILED, Verdict.UNJUDGED, Verdict.OK]
    worst = min(checks, key=lambda c: order.index(c.verdict))
    told = _storable((worst.reason if texts else worst.told)[:LONGEST_REASON])
    return replace(row, verdict=worst.verdict.value, failure=worst.failure, reason=told), worst.reason


def _row(asked: Asked, passage: Passage, answer: Answer, policy: str) -> GuardedAnswer:
    kinds = [name for name, on in (("json", asked.schema is not None), ("citations", asked.cites)) if on]
    return GuardedAnswer(
        at=datetime.now(UTC),
        model=asked.model,
        route=asked.route,
        kind="+".join(kinds) if asked.checked else "none",
        verdict=Verdict.UNCHECKED.value,
        streaming=passage.streaming,
        status=passage.status,
        first_byte_ms=passage.first_byte_ms,
        total_ms=passage.total_ms,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        prompt_chars=asked.prompt_chars,
        prompt_sha256=asked.prompt_sha256,
        policy=policy,
        rule=asked.rule.id,
    )


def _storable(text: str) -> str:
    """Without what a database refuses: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
