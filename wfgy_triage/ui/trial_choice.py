"""Step 2's choice whether and how long changes are tried: as HTML, as run options, as a line of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfgy_triage.report.format import duration
from wfgy_triage.runs.trial_options import DEFAULT_SECONDS, FIX, FIX_SECONDS, split_options

OFF = "off"
LIMITS = (60, 180, 600)
USUAL = str(DEFAULT_SECONDS)


def trial_pills() -> str:
    """Return the choice as native radios."""
    options = [(OFF, "Off"), *((str(s), f"Up to {_words(s)}") for s in LIMITS)]
    pills = "".join(
        f'<label class="pill"><input type="radio" name="trials" value="{value}"><span>{text}</span></label>'
        for value, text in options
    )
    return (
        f'<div class="card trial-choice"><fieldset class="pills"><legend>Try changes after a FAIL</legend>{pills}'
        '</fieldset><p class="dim small">One change at a time, cheapest first, on your two models and on the same '
        "questions. Your model folders stay as they are.</p></div>"
    )


def trial_options(choice: str) -> dict[str, Any]:
    """The run options of a choice; none for the usual one. Anything unknown counts as the usual one."""
    if choice == OFF:
        return {FIX: "no"}
    return {FIX_SECONDS: int(choice)} if choice in map(str, LIMITS) and choice != USUAL else {}


def trial_choice(options: Mapping[str, Any]) -> str:
    """The choice that comes closest to a run's options."""
    _, asked = split_options(options)
    if not asked.wanted:
        return OFF
    return str(min(LIMITS, key=lambda limit: abs(limit - asked.seconds)))


def trial_plan(choice: str) -> str:
    """What the run does after a FAIL, as the last line of the plan."""
    if choice == OFF:
        return "No change is tried; after a FAIL you get the candidates of the fix map."
    _, asked = split_options(trial_options(choice))
    return (
        f"After a FAIL, changes are tried one at a time on the same questions, for up to {_words(asked.seconds)} more. "
        "The first that passes is recommended."
    )


def _words(seconds: float) -> str:
    return "1 minute" if seconds == 60 else duration(seconds)
