"""The charts' numbers as tables: for screen readers, for copying, and for anyone who prefers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from wfgy_triage.report.format import interval, number
from wfgy_triage.report.words import class_words


def kld_table(buckets: Sequence[Mapping[str, Any]]) -> str:
    """Return mean KL by FP16's confidence."""
    rows = [
        (
            f"{b['lo'] * 100:.0f} to {b['hi'] * 100:.0f} % sure",
            f"{int(b.get('n') or 0):,}",
            number(b["mean"]),
            interval(tuple(b["interval"]) if b.get("interval") else None, "nats"),
        )
        for b in buckets
        if b.get("mean") is not None
    ]
    return numbers_table(("FP16", "Tokens", "Mean KL, nats", "95 % interval"), rows)


def class_table(classes: Mapping[str, Any]) -> str:
    """Return how many answers of each side are in each class."""
    labels = classes.get("labels") or ()
    sides = [classes.get(side) or [""] * len(labels) for side in ("fp16", "exl2")]
    rows = [(class_words(str(a)), str(b), str(c)) for a, b, c in zip(labels, *sides, strict=True)]
    return numbers_table(("Class", "FP16", "EXL2"), rows)


def numbers_table(heads: Sequence[str], rows: Sequence[Sequence[str]], questions: bool = False) -> str:
    """Return a closed table; everything in it is escaped. Empty without rows.

    Args:
        heads: the columns.
        rows: their cells.
        questions: whether the first cell of a row is the text of a question, which no language exchanges.
    """
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    asked = ' translate="no"' if questions else ""
    body = "".join(
        f'<tr><th scope="row"{asked}>{escape(first)}</th>'
        + "".join(f"<td>{escape(c)}</td>" for c in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        '<details class="why"><summary>The numbers</summary><table class="numbers">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>"
    )
