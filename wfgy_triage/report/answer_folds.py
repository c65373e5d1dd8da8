"""Questions one below the other, each to be unfolded to both answers: in the report file and on a session's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from wfgy_triage.report.answers import Row, answer_chip, both_answers


def answer_folds(
    title: str, rows: Sequence[Row], opened: str = "", link: Callable[[Row], str] | None = None
) -> str:
    """Return a list of questions under a heading; empty without any.

    Args:
        title: the heading.
        rows: the questions.
        opened: key of the one that is unfolded.
        link: gives what stands beside a question, as HTML; nothing without.
    """
    if not rows:
        return ""
    items = "".join(_fold(row, row.key == opened, link(row) if link else "") for row in rows)
    return f'<h4>{title} <span class="tag">{len(rows)}</span></h4>{items}'


def _fold(row: Row, opened: bool, beside: str) -> str:
    # What is beside stands outside of the summary: a link inside a button would be neither for a screen reader.
    asked = ' open data-asked tabindex="-1"' if opened else ""
    fold = (
        f'<details class="answer-fold"{asked}><summary><span class="q" translate="no">{escape(row.question)}</span>'
        f"<span>FP16 {answer_chip(row.fp16)}</span><span>EXL2 {answer_chip(row.exl2)}</span></summary>"
        f"{both_answers(row)}</details>"
    )
    return f'<div class="answer-line">{fold}{beside}</div>' if beside else fold
