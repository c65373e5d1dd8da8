"""How many runs may wait: in all, and of one person or address.

The limit in all is kept in the database. Who started what is remembered here, in this process: after a restart a person
may queue as many again, and the limit in all still holds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from wfgy_triage.errors import InputError

USUAL_QUEUED, USUAL_EACH = 20, 5
MOST = 10_000


@dataclass(frozen=True)
class QueueLimits:
    """The most runs that may wait at once.

    Attributes:
        queued: in all (`WFGY_TRIAGE_MAX_QUEUED`).
        each: of one person or address (`WFGY_TRIAGE_MAX_QUEUED_EACH`).
    """

    queued: int = USUAL_QUEUED
    each: int = USUAL_EACH


def load_limits(environment: Mapping[str, str] | None = None) -> QueueLimits:
    """Read the limits from the environment.

    Raises:
        InputError: a value is not a whole number from 1 to `MOST`.
    """
    found = os.environ if environment is None else environment
    return QueueLimits(
        _whole(found, "WFGY_TRIAGE_MAX_QUEUED", USUAL_QUEUED),
        _whole(found, "WFGY_TRIAGE_MAX_QUEUED_EACH", USUAL_EACH),
    )


class StartLedger:
    """Who has runs waiting. Thread-safe.

    Args:
        limits: how many may wait.
        waiting: gives the ids of all runs that wait now.
    """

    def __init__(self, limits: QueueLimits, waiting: Callable[[], frozenset[str]]) -> None:
        self.limits = limits
        self._waiting = waiting
        self._lock = threading.Lock()
        self._started: dict[str, set[str]] = {}

    @contextmanager
    def turn(self, who: str) -> Iterator[Callable[[str], None]]:
        """Let one person or address start a run; what is yielded is told the id of the run.

        Nobody else starts one meanwhile, so that two requests at once cannot both be the last that is allowed.

        Args:
            who: person or address; empty for somebody that no limit of their own holds for (the command line).

        Raises:
            InputError: so many of theirs wait already.
        """
        if not who:
            yield lambda run_id: None
            return
        with self._lock:
            waiting = self._waiting()
            self._started = {w: kept for w, ids in self._started.items() if (kept := ids & waiting)}
            mine = self._started.get(who, set())
            if len(mine) >= self.limits.each:
                raise InputError(
                    f"{len(mine)} of your runs are waiting already; this one was not added.",
                    "Wait until one has begun, or cancel one.",
                )
            yield lambda run_id: self._started.setdefault(who, set()).add(run_id)


def _whole(environment: Mapping[str, str], name: str, usual: int) -> int:
    text = environment.get(name) or str(usual)
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MOST):
        raise InputError(
            f"{name} is {text[:20]!r}, which is no whole number from 1 to {MOST:,}.",
            f"Set it to a number, for example {usual}.",
        )
    return int(text)
