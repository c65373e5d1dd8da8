"""The doctor's list as HTML, from the plain data of a stored result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from wfgy_triage.doctor.finding import Finding, Outcome
from wfgy_triage.report.format import Look, chip
from wfgy_triage.result import Result

OUTCOME_LOOKS = {
    Outcome.PASS: Look("Passed", "ok", "check"),
    Outcome.WARN: Look("Warning", "warn", "warning"),
    Outcome.FAIL: Look("Failed", "bad", "cross"),
    Outcome.SKIPPED: Look("Not checked", "mute", "dash"),
}
GROUPS = (
    ("folders", "The two folders", "Read from the files, without loading a model."),
    ("engines", "The loaded models", "What both models do with the same text."),
    (
        "environment",
        "This machine",
        "What exllamav2 itself needs; the CPU reference engine needs none of it.",
    ),
)
COUNT_WORDS = (
    (Outcome.FAIL, "failed"),
    (Outcome.WARN, "to know about"),
    (Outcome.PASS, "passed"),
    (Outcome.SKIPPED, "not checked"),
)


def findings_of(charts: Mapping[str, Any]) -> tuple[Finding, ...]:
    """The findings that a result carries; none in results from before there was a doctor."""
    return tuple(Finding.from_json(row) for row in charts.get("doctor") or ())


def doctor_panel(result: Result, asks_questions: bool) -> str:
    """Return what needs attention in full, then every check by where it was made.

    Args:
        result: the stored result.
        asks_questions: whether the run measured answers; the full list is then one click away.
    """
    findings = findings_of(result.charts)
    if not findings:
        return ""
    urgent = [f for f in findings if f.state in (Outcome.FAIL, Outcome.WARN)]
    urgent.sort(key=lambda f: f.state is not Outcome.FAIL)
    attention = f'<ul class="doctor-urgent">{"".join(_urgent(f) for f in urgent)}</ul>' if urgent else ""
    groups = "".join(
        _group(name, title, text, findings, asks_questions or bool(urgent)) for name, title, text in GROUPS
    )
    head = "Checked before measuring" if asks_questions else "Every check"
    return (
        f'<section class="card doctor"><h3>{head}</h3><p class="dim">{counts_words(findings)}</p>'
        f"{attention}{groups}</section>"
    )


def exact_changes(result: Result) -> str:
    """Return the patches of failed and doubtful checks, ready to copy; empty without any."""
    rows = [f for f in findings_of(result.charts) if f.patch and f.state in (Outcome.FAIL, Outcome.WARN)]
    if not rows:
        return ""
    items = "".join(f"<li><h4>{escape(f.title)}</h4><p>{escape(f.do)}</p>{_patch(f)}</li>" for f in rows)
    stand = "Not tried on your models. Make one, then check again."
    if result.recommendation is not None:
        stand = "What the doctor asks for. Whether one of these was tried stands in the list of trials."
    return (
        '<section class="card doctor"><p class="eyebrow">From the doctor</p><h3>Exact changes</h3>'
        f'<p class="dim small">{stand}</p><ul>{items}</ul></section>'
    )


def checks_so_far(findings: Sequence[Finding], ended: bool) -> str:
    """Return the checks made until now, newest state of affairs first, while a run without questions works."""
    title = "The checks" if ended else "Checks so far"
    if not findings:
        text = "No check was made." if ended else "The first checks appear here in a moment."
        return f'<section class="card so-far"><h3>{title}</h3><p class="empty">{text}</p></section>'
    return (
        f'<section class="card so-far doctor"><div class="so-far-head"><h3>{title}</h3>'
        f'<p class="dim">{counts_words(findings)}</p></div>{_rows(findings)}</section>'
    )


def counts_words(findings: Sequence[Finding]) -> str:
    """Write the counts, such as "1 failed · 30 passed · 9 not checked"."""
    found = Counter(f.state for f in findings)
    parts = [f"{found[state]} {word}" for state, word in COUNT_WORDS if found[state]]
    return " \N{MIDDLE DOT} ".join(parts)


def _group(name: str, title: str, text: str, findings: Sequence[Finding], closed: bool) -> str:
    rows = [f for f in findings if f.group == name]
    if not rows:
        return ""
    state = "" if closed else " open"
    return (
        f'<details class="doctor-group"{state}><summary><b>{title}</b> '
        f'<span class="dim">{counts_words(rows)}</span></summary><p class="dim small">{text}</p>{_rows(rows)}</details>'
    )


def _rows(findings: Sequence[Finding]) -> str:
    return f'<ol class="checks">{"".join(_row(f) for f in findings)}</ol>'


def _row(finding: Finding) -> str:
    words: tuple[str, ...]
    if finding.state is Outcome.PASS:
        words = (finding.seen, finding.means)
    elif finding.state is Outcome.SKIPPED:
        words = (finding.seen, finding.means, finding.do)
    else:
        words = (finding.seen,)  # the rest stands above
    told = " ".join(escape(w) for w in words if w)
    return (
        f"<li>{chip(OUTCOME_LOOKS[finding.state])}<div><b>{escape(finding.title)}</b>"
        f"<span>{told}</span></div></li>"
    )


def _urgent(finding: Finding) -> str:
    look = OUTCOME_LOOKS[finding.state]
    return (
        f'<li class="tone-{look.tone}"><p>{chip(look)}</p><h4>{escape(finding.title)}</h4><dl>'
        f"<div><dt>Seen</dt><dd>{escape(finding.seen)}</dd></div>"
        f"<div><dt>It means</dt><dd>{escape(finding.means)}</dd></div>"
        f"<div><dt>What to do</dt><dd>{escape(finding.do)}</dd></div></dl>{_patch(finding)}</li>"
    )


def _patch(finding: Finding) -> str:
    patch = finding.patch
    if patch is None:
        return ""
    where = {"environment": "before the server starts", "server": "when generating"}.get(
        patch.target, patch.target
    )
    label = f"Change for: {finding.title}"
    return (
        f'<div class="copy"><p class="dim small">{escape(where)}</p>'
        f'<pre tabindex="0" aria-label="{escape(label)}">{escape(patch.text)}</pre>'
        f'<button type="button" data-copy aria-label="Copy. {escape(label)}">Copy</button></div>'
    )
