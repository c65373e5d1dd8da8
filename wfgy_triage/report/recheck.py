"""A run that checks again after a change: its line on the page, before and now."""

from __future__ import annotations

from datetime import datetime
from html import escape
from urllib.parse import quote

from wfgy_triage.report.format import STATE_LOOKS, moment, shift, spread, state_chip
from wfgy_triage.result import Result, State

SAME_FILES = (
    "The EXL2 folder holds the same files as before. This check reads that folder: a change in the settings of a "
    "server is not seen by it."
)


def recheck_line(result: Result, linked: bool = True) -> str:
    """Return the comparison with the run before the change; empty for a run that is no re-check.

    Args:
        result: the stored result.
        linked: whether the earlier run can be opened from where this is shown.
    """
    found = result.recheck
    if found is None:
        return ""
    before = State(found["state_before"])
    at = escape(moment(datetime.fromisoformat(found["created_at"])))
    link = (
        f'<a href="./?run={quote(str(found["run_id"]))}" '
        f'aria-label="Open the run before the change, {STATE_LOOKS[before].word}">{at}</a>'
    )
    effect = found["effect"]
    moved = ""
    if effect is not None:
        moved = (
            f'<p class="recheck-moved"><b>{shift(effect)}</b> {escape(str(effect["label"]).lower())}, '
            f"on {effect['n']} questions that both runs asked: {escape(spread(effect))}</p>"
        )
    elif result.settings.get("questions"):
        moved = '<p class="dim">The two runs share no question, so only their verdicts can be compared.</p>'
    same = f'<p class="dim small">{SAME_FILES}</p>' if found["same_files"] else ""
    return (
        '<section class="card recheck" aria-label="Compared with the run before the change">'
        '<p class="eyebrow">Checked again after a change</p>'
        f'<p class="recheck-states"><span>Before: {link if linked else at} '
        f"{state_chip(before)}</span><span>Now: {state_chip(result.state)}</span></p>{moved}{same}</section>"
    )
