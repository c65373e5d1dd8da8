"""Question by question: both answers of a pair side by side, classed, filtered and compared word for word.

Everything a model wrote is escaped here; nothing else in the page prints model text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from html import escape
from typing import Any

from wfgy_triage.report.format import Look, chip
from wfgy_triage.report.words import class_words
from wfgy_triage.store.records import Sample, SampleKey

ANSWER_SIDES = ("fp16", "exl2")
WORDS = re.compile(r"\s+|\w+|[^\w\s]")
TOO_LONG_TO_COMPARE = 4000
"""Tokens of both answers together; beyond it the comparison would take seconds and the marks help nobody."""

VALID = Look("Valid", "ok", "check")
INVALID = Look("Invalid", "bad", "cross")
CUT_OFF = Look("Cut off", "warn", "question")


@dataclass(frozen=True)
class Answer:
    """One side's answer to one question, as the probe classed it.

    `kind` is the probe's class (`valid`, `truncated`, ...); `valid` is None when the probe gave no judgement.
    `mark` is what its badge says where the probe has words of its own. `known` is false where the text was left out
    when the session was exported elsewhere.
    """

    text: str
    kind: str
    detail: str
    valid: bool | None
    truncated: bool
    tokens: int | None
    mark: str = ""
    known: bool = True

    @property
    def look(self) -> Look | None:
        """How the answer's class is shown; None without a judgement."""
        if self.truncated:
            found = CUT_OFF
        elif self.valid is None:
            return None
        else:
            found = VALID if self.valid else INVALID
        return replace(found, word=self.mark) if self.mark else found


@dataclass(frozen=True)
class Row:
    """One question with whichever answers are there.

    `key` identifies it within the run; `latest` grows with the time of its newest answer.
    """

    key: str
    question: str
    fp16: Answer | None
    exl2: Answer | None
    latest: int = 0

    @property
    def different(self) -> bool:
        """Whether both sides answered, and not with the same text."""
        return self.fp16 is not None and self.exl2 is not None and self.fp16.text != self.exl2.text

    @property
    def known(self) -> bool:
        """Whether the texts of the answers are there."""
        return all(a.known for a in (self.fp16, self.exl2) if a)

    @property
    def classes(self) -> tuple[str, ...]:
        """The filters this row belongs to."""
        found = ["all"]
        if self.different:
            found.append("different")
        for answer, side in ((self.exl2, "exl2"), (self.fp16, "fp16")):
            if answer and answer.valid is False and not answer.truncated:
                found.append(f"{side}-invalid")
        if any(a and a.truncated for a in (self.fp16, self.exl2)):
            found.append("cut-off")
        return tuple(found)


FILTERS = (
    ("all", "All"),
    ("different", "Only different"),
    ("exl2-invalid", "EXL2 invalid"),
    ("fp16-invalid", "FP16 invalid"),
    ("cut-off", "Cut off"),
)


def collect_rows(samples: Iterable[Sample], questions: Mapping[str, str]) -> list[Row]:
    """Pair up the answers of a run, in the order in which the questions first finished.

    Args:
        samples: everything stored for the run; the noise floor and token-level samples are passed over.
        questions: text of each question id, where the sample does not carry it; an unknown id is shown as it is.
    """
    found: dict[str, dict[str, Answer]] = {}
    titles: dict[str, str] = {}
    latest: dict[str, int] = {}
    for moment, sample in enumerate(samples):
        if sample.key.side not in ANSWER_SIDES:
            continue
        key = row_key(sample.key)
        asked = sample.payload.get("question") or questions.get(sample.key.question, sample.key.question)
        titles.setdefault(key, str(asked))
        found.setdefault(key, {})[sample.key.side] = read_answer(sample.payload)
        latest[key] = moment
    return [
        Row(key, titles[key], sides.get("fp16"), sides.get("exl2"), latest[key])
        for key, sides in found.items()
    ]


def row_key(key: SampleKey) -> str:
    """By which the answers to one question belong together."""
    return f"{key.question}/{key.paraphrase}/{key.seed}"


def answer_chip(answer: Answer | None) -> str:
    """Return the badge of one answer: valid, invalid, cut off, or still waiting."""
    if answer is None:
        return '<span class="dim">not yet</span>'
    return chip(answer.look) if answer.look else '<span class="dim">no judgement</span>'


def answers_table(rows: Sequence[Row], selected: str = "") -> str:
    """Return the filterable list of questions; each row is a native radio, so keyboards work as they should."""
    if not rows:
        return '<p class="empty">No answers were recorded for this run.</p>'
    counts = {name: sum(name in row.classes for row in rows) for name, _ in FILTERS}
    filters = "".join(
        f'<label class="pill"><input type="radio" name="answer-filter" data-filter value="{name}"'
        f"{' checked' if name == 'all' else ''}><span>{_filter_label(name, label, rows)} "
        f"<b>{counts[name]}</b></span></label>"
        for name, label in FILTERS
        if counts[name] or name in ("all", "different")
    )
    body = "".join(_table_row(number, row, row.key == selected) for number, row in enumerate(rows, 1))
    return (
        f'<fieldset class="pills"><legend>Show</legend>{filters}</fieldset>'
        '<fieldset class="answers"><legend class="sr">Choose a question to read both answers in full</legend>'
        f'<div class="answers-body">{body}</div>'
        '<p class="empty none-left" hidden>No question is in this class.</p></fieldset>'
    )


def _filter_label(name: str, label: str, rows: Sequence[Row]) -> str:
    """The filter's name, with the probe's own word for an answer that is not valid where it has exactly one."""
    side, _, kind = name.partition("-")
    if kind != "invalid":
        return label
    marks = {getattr(row, side).mark for row in rows if name in row.classes}
    word = next(iter(marks)) if len(marks) == 1 else ""
    return f"{side.upper()} {escape(word.lower())}" if word else label


def both_answers(row: Row) -> str:
    """Return one question with both answers in full, the differing parts marked on each side."""
    left, right = marked(row.fp16.text if row.fp16 else "", row.exl2.text if row.exl2 else "")
    same = row.fp16 and row.exl2 and not row.different
    note = "Both sides gave exactly the same text." if same else "Marked: what only this side wrote."
    note = note if row.known else "The texts were left out when this session was exported."
    return (
        f'<div class="pair-answers"><h4 translate="no">{escape(row.question)}</h4><p class="dim small">{note}</p>'
        f'<div class="two">{_panel("FP16 answer", row.fp16, left, "a")}'
        f"{_panel('EXL2 answer', row.exl2, right, 'b')}</div></div>"
    )


def marked(left: str, right: str) -> tuple[str, str]:
    """Escape two texts and wrap the parts that only one of them has in `<mark>`.

    Compares words and punctuation, not characters, so the marks stay readable. Very long texts are only escaped.
    """
    a, b = WORDS.findall(left), WORDS.findall(right)
    if len(a) + len(b) > TOO_LONG_TO_COMPARE:
        return escape(left), escape(right)
    out_a, out_b = [], []
    for op, a0, a1, b0, b1 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        part_a, part_b = escape("".join(a[a0:a1])), escape("".join(b[b0:b1]))
        changed = op != "equal"
        out_a.append(f"<mark>{part_a}</mark>" if changed and part_a else part_a)
        out_b.append(f"<mark>{part_b}</mark>" if changed and part_b else part_b)
    return "".join(out_a), "".join(out_b)


def read_answer(payload: Mapping[str, Any]) -> Answer:
    """What a stored sample says, as the probe classed it."""
    valid = payload.get("schema_valid", payload.get("valid"))
    kind = str(payload.get("kind") or "")
    tokens = payload.get("tokens")
    return Answer(
        text=str(payload.get("text") or ""),
        kind=kind,
        detail=str(payload.get("detail") or ""),
        valid=None if valid is None else bool(valid),
        truncated=bool(payload.get("truncated", payload.get("finish_reason") == "length")),
        mark=str(payload.get("mark") or ""),
        known="text" in payload,
        tokens=tokens if isinstance(tokens, int) else len(tokens) if isinstance(tokens, list) else None,
    )


def _table_row(number: int, row: Row, selected: bool) -> str:
    texts = "texts differ" if row.different else "same text" if row.fp16 and row.exl2 else "one side only"
    texts = texts if row.known else "texts left out"
    return (
        f'<label class="answer-row" data-classes="{" ".join(row.classes)}">'
        f'<input type="radio" name="answer" value="{escape(row.key)}"{" checked" if selected else ""}>'
        f'<span class="n">{number}</span><span class="q" translate="no">{escape(row.question)}</span>'
        f'<span class="s"><span>FP16 {answer_chip(row.fp16)}</span><span>EXL2 {answer_chip(row.exl2)}</span>'
        f"<span>{texts}</span></span></label>"
    )


def _panel(title: str, answer: Answer | None, marked_text: str, side: str) -> str:
    if answer is None:
        return f'<section class="answer side-{side}"><h5>{title}</h5><p class="empty">Not measured.</p></section>'
    facts = [class_words(answer.kind)] if answer.kind and not answer.valid else []
    if answer.detail:
        facts.append(answer.detail)
    if answer.tokens is not None:
        facts.append(f"{answer.tokens} tokens")
    footnote = escape(" \N{MIDDLE DOT} ".join(facts))
    body = marked_text or f'<span class="dim">({"empty" if answer.known else "left out"})</span>'
    return (
        f'<section class="answer side-{side}"><h5>{title} {answer_chip(answer)}</h5>'
        f'<pre tabindex="0" aria-label="{title}">{body}</pre>'
        f'<p class="dim small">{footnote}</p></section>'
    )
