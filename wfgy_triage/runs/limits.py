"""How many runs may wait, as the environment says; the store counts them (`store/queue.py`)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from wfgy_triage.errors import InputError
from wfgy_triage.store.queue import QueueLimits

USUAL_QUEUED, USUAL_EACH = 20, 5
MOST = 10_000


def load_limits(environment: Mapping[str, str] | None = None) -> QueueLimits:
    """Read the limits: in all (`WFGY_TRIAGE_MAX_QUEUED`), and of one person (`WFGY_TRIAGE_MAX_QUEUED_EACH`).

    Raises:
        InputError: a value is not a whole number from 1 to `MOST`.
    """
    found = os.environ if environment is None else environment
    return QueueLimits(
        _whole(found, "WFGY_TRIAGE_MAX_QUEUED", USUAL_QUEUED),
        _whole(found, "WFGY_TRIAGE_MAX_QUEUED_EACH", USUAL_EACH),
    )


def _whole(environment: Mapping[str, str], name: str, usual: int) -> int:
    text = environment.get(name) or str(usual)
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MOST):
        raise InputError(
            f"{name} is {text[:20]!r}, which is no whole number from 1 to {MOST:,}.",
            f"Set it to a number, for example {usual}.",
        )
    return int(text)
