"""Metrics and answers as CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from wfgy_triage.report.answers import Answer
from wfgy_triage.report.export.session import Session

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet evaluate a cell; the last four are the full-width forms of the first."""

METRIC_HEADS = (
    "session", "symptom", "pair", "metric", "label", "unit", "fp16", "exl2", "difference", "interval_low",
    "interval_high", "level", "questions", "noise_floor", "gate", "gate_value", "gate_applies_to", "gate_source",
    "state", "decides", "note",
)  # fmt: skip
ANSWER_HEADS = (
    "session", "question_id", "question", "same_text",
    "fp16_valid", "fp16_class", "fp16_cut_off", "fp16_tokens", "fp16_detail", "fp16_answer",
    "exl2_valid", "exl2_class", "exl2_cut_off", "exl2_tokens", "exl2_detail", "exl2_answer",
)  # fmt: skip
Cell = str | int | float | bool | None


def metrics_csv(session: Session) -> str:
    """Return one line a metric, in the result's order; what was not measured is empty."""
    result = session.result
    rows = []
    for m in result.metrics:
        low, high = m.interval or (None, None)
        gate = m.gate
        rows.append(
            (
                session.record.id, result.symptom, str(result.pair["id"]), m.id, m.label, m.unit, m.fp16, m.exl2,
                m.difference, low, high, m.level, m.n, m.floor, gate.op if gate else None,
                gate.value if gate else None, gate.applies_to if gate else None, gate.source if gate else None,
                str(m.state) if m.state else None, m.primary, m.note,
            )
        )  # fmt: skip
    return csv_text(METRIC_HEADS, rows)


def answers_csv(session: Session) -> str:
    """Return one line a question with both answers; texts are left out of a redacted session."""
    rows = [
        (
            session.record.id, row.key, "" if session.redacted else row.question,
            None if session.redacted or not (row.fp16 and row.exl2) else not row.different,
            *_answer(row.fp16, session.redacted), *_answer(row.exl2, session.redacted),
        )
        for row in session.rows
    ]  # fmt: skip
    return csv_text(ANSWER_HEADS, rows)


def safe_cell(value: Cell) -> Cell:
    """A cell as it may stand in a file: text that a spreadsheet would evaluate gets an apostrophe in front.

    Numbers are numbers: a negative one begins with a minus sign and is left alone.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str):
        return value
    # Some spreadsheets cut spaces off before they look.
    return (
        f"'{value}"
        if value.startswith(FORMULA_STARTS) or value.lstrip(" ").startswith(FORMULA_STARTS)
        else value
    )


def _answer(answer: Answer | None, redacted: bool) -> tuple[Cell, ...]:
    if answer is None:
        return (None,) * 6
    texts: tuple[Cell, Cell] = (None, None) if redacted else (answer.detail, answer.text)
    return (answer.valid, answer.kind, answer.truncated, answer.tokens, *texts)


def csv_text(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table as CSV; texts that a spreadsheet would evaluate are made harmless."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(heads)
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return out.getvalue()
