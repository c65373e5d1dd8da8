"""A change on which more than one rule decides: every rule before and after it, as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from wfgy_triage.report.format import ARROW, quantity, spread, state_chip
from wfgy_triage.result import State


def rules_list(trial: Mapping[str, Any]) -> str:
    """Return one line a rule: how it stands with the change, its value before and after, and the interval if it failed.

    Args:
        trial: one entry of `recommendation.trials`; empty for one on which a single metric decides.
    """
    rules = [r for r in trial.get("rules") or () if r]
    if len(rules) < 2:
        return ""
    items = "".join(
        f"<li>{state_chip(State(r['state'] or State.NOT_MEASURED))}<div><b>{escape(str(r['label']))}</b>"
        f"<span>{escape(_told(r))}</span></div></li>"
        for r in rules
    )
    return f'<h3>Rule by rule</h3><ol class="checks">{items}</ol>'


def _told(rule: Mapping[str, Any]) -> str:
    unit, before, effect = str(rule["unit"]), rule.get("before"), rule.get("effect")
    if rule["after"] is None:
        was = "" if before is None else f"Without the change: {quantity(before, unit)}. "
        return f"{was}{rule['note']}"
    if effect:
        moved = f"{quantity(effect['before'], unit)} {ARROW} {quantity(effect['after'], unit)}"
        return f"{moved}, {spread(effect)}"
    return f"{quantity(before, unit)} {ARROW} {quantity(rule['after'], unit)}"
