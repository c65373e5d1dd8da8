"""The cause as HTML: in plain words, with its evidence, and with what was ruled out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from wfgy_triage.catalog import Catalog
from wfgy_triage.report.format import Look, chip, number
from wfgy_triage.report.words import check_words
from wfgy_triage.result import Check, Result

CHECK_LOOKS = {
    "ok": Look("Yes", "ok", "check"),
    "fault": Look("No", "bad", "cross"),
    "unknown": Look("Not known", "mute", "dash"),
    "inconclusive": Look("Too few questions to say", "warn", "question"),
}
CONFIDENCE = {
    "high": "High confidence: the checks leave little else.",
    "medium": "Medium confidence: it fits the checks, but not every alternative was tested.",
    "low": "Low confidence: a best guess from what was measured.",
}


def cause_card(result: Result, catalog: Catalog, with_checks: bool = True) -> str:
    """Return the named cause, how sure it is, the checks behind it and what they ruled out.

    Args:
        result: the stored result.
        catalog: for the words.
        with_checks: whether to list the checks; false where the page lists them anyway.
    """
    found = result.diagnosis
    cause = catalog.causes.get(found.cause)
    title = cause.title if cause else found.cause
    explanation = f"<p>{escape(cause.explanation)}</p>" if cause else ""
    confidence = CONFIDENCE.get(found.confidence, "")
    return (
        '<section class="card cause"><p class="eyebrow">Cause</p>'
        f'<h3>{escape(title)}</h3>{explanation}<p class="confidence">{escape(confidence)}</p>'
        f"{token_parts(result.charts.get('token_parts') or ())}"
        f"{_evidence(found.evidence, _by_doctor(result)) if with_checks else ''}"
        f"{_ruled_out(found.ruled_out, catalog)}</section>"
    )


def token_parts(parts: Sequence[Mapping[str, Any]]) -> str:
    """Say where in the answers the drift sits. Empty without data.

    Args:
        parts: `{"label", "kl"}`, mean KL(FP16 to EXL2) in nats over the tokens of one kind.
    """
    rows = "".join(
        f"<div><dt>{escape(str(p['label']))}</dt><dd>{number(p['kl'])} nats</dd></div>" for p in parts
    )
    return f'<dl class="split">{rows}</dl>' if rows else ""


def _by_doctor(result: Result) -> frozenset[str]:
    """Checks that the doctor made; the page lists them in full below."""
    return frozenset(str(finding["check"]) for finding in result.charts.get("doctor") or ())


def _evidence(checks: tuple[Check, ...], by_doctor: frozenset[str]) -> str:
    if not checks:
        return '<p class="empty">No checks were recorded.</p>'
    folded = [c for c in checks if c.result == "ok" and c.check in by_doctor]
    shown = [c for c in checks if c not in folded]
    before = ""
    if folded:
        count = f"{len(folded)} check{'s' if len(folded) > 1 else ''} of folders and models passed"
        before = f'<details class="why"><summary>{count}</summary>{_checks(folded)}</details>'
    return f"<h4>What was checked, in order</h4>{before}{_checks(shown)}"


def _checks(checks: Sequence[Check]) -> str:
    items = "".join(
        f"<li>{chip(CHECK_LOOKS.get(c.result, CHECK_LOOKS['unknown']))}"
        f"<div><b>{escape(check_words(c.check))}</b><span>{escape(c.detail)}</span></div></li>"
        for c in checks
    )
    return f'<ol class="checks">{items}</ol>' if items else ""


def _ruled_out(ids: tuple[str, ...], catalog: Catalog) -> str:
    if not ids:
        return ""
    names = [catalog.causes[i].title if i in catalog.causes else i for i in ids]
    items = "".join(f"<li>{escape(name)}</li>" for name in names)
    return f'<h4>Ruled out</h4><ul class="ruled-out">{items}</ul>'
