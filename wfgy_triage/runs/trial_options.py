"""The options of a run that are about changes: trying them, checking again after one. No torch: the page reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wfgy_triage.errors import InputError

FIX, FIX_SECONDS = "fix", "fix_seconds"
"""Run options: whether changes are tried after a FAIL (`yes`, `no`), and how many seconds that may take."""
RECHECK_OF = "recheck_of"
"""Run option: id of the run after which a change was made; this run is compared with it."""
DEFAULT_SECONDS = 180
MOST_SECONDS = 3_600


@dataclass(frozen=True)
class TrialOptions:
    """What the user asked for: whether to try, and for how long at most."""

    wanted: bool
    seconds: float


def earlier_run(options: Mapping[str, Any]) -> str:
    """The id of the run that this one checks again after a change; empty for an ordinary run."""
    return str(options.get(RECHECK_OF) or "")


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], TrialOptions]:
    """Separate a run's options into the probe's own and those of the trials; the link to an earlier run is left out.

    Raises:
        InputError: a value that is not possible.
    """
    own = {k: v for k, v in options.items() if k not in (FIX, FIX_SECONDS, RECHECK_OF)}
    fix, seconds = str(options.get(FIX, "yes")), options.get(FIX_SECONDS, DEFAULT_SECONDS)
    if fix not in ("yes", "no"):
        raise InputError(f"{FIX} cannot be {fix!r}.", "Give yes or no.")
    try:
        limit = float(seconds)
    except (TypeError, ValueError):
        limit = -1.0
    if not 0 <= limit <= MOST_SECONDS:
        raise InputError(f"{FIX_SECONDS} cannot be {seconds!r}.", f"Give 0 to {MOST_SECONDS} seconds.")
    return own, TrialOptions(fix == "yes" and limit > 0, limit)
