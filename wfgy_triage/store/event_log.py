"""Every event of a run as one line of the process's log, once it is stored.

What people or models wrote is not in it: of an event, only its kind and the few values named here are logged.
"""

from __future__ import annotations

import logging

from sqlalchemy.orm import Session

from wfgy_triage.store.records import Event

TOLD = ("status", "name", "done", "total")
"""The values of an event that are the program's own words and numbers."""
_KEPT = "wfgy_events"

_log = logging.getLogger(__name__)


def keep(session: Session, event: Event) -> Event:
    """Remember an event until its transaction has ended, and give it back."""
    session.info.setdefault(_KEPT, []).append(event)
    return event


def tell(session: Session) -> None:
    """Log the events of a transaction that was committed; progress lines are for those who debug."""
    for event in session.info.pop(_KEPT, ()):
        about = {name: event.payload[name] for name in TOLD if name in event.payload}
        words = "".join(f" {value}" for value in about.values())
        level = logging.DEBUG if event.kind == "stage" else logging.INFO
        more = {"run": event.run_id, "event": event.kind, "seq": event.seq, **about}
        _log.log(level, "run %s: %s%s", event.run_id, event.kind, words, extra={"told": more})
