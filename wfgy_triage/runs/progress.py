"""What a run says about itself while it works: log lines, seconds by stage, and signs of life."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from wfgy_triage.errors import TriageError
from wfgy_triage.store.records import Event
from wfgy_triage.store.runs import RunRepository

HEARTBEAT_S = 2.0
"""Seconds between two renewals of the lease."""

CANCEL_POLL_S = 0.5
"""Seconds between two looks at whether the user asked to stop."""

STAGE_EVENT_S = 0.3
"""At most one progress line of a stage in this many seconds."""

_log = logging.getLogger(__name__)


class Stopwatch:
    """Seconds by stage, added to those of earlier passes of the run. Read by the heartbeat's thread."""

    def __init__(self, before: Mapping[str, float]) -> None:
        self._spent = {name: seconds for name, seconds in before.items() if name != "total"}
        self._stage: str | None = None
        self._since = time.monotonic()
        self._lock = threading.Lock()

    def enter(self, stage: str) -> None:
        """End the current stage and begin another."""
        with self._lock:
            if stage != self._stage:
                self._spent = self._now()
                self._stage, self._since = stage, time.monotonic()

    def seconds(self) -> dict[str, float]:
        """Seconds by stage so far, and their sum as `total`."""
        with self._lock:
            spent = {name: round(seconds, 3) for name, seconds in self._now().items()}
        return {**spent, "total": round(sum(spent.values()), 3)}

    def _now(self) -> dict[str, float]:
        if self._stage is None:
            return self._spent
        running = self._spent.get(self._stage, 0.0) + time.monotonic() - self._since
        return {**self._spent, self._stage: running}


class RunLog:
    """Writes the run's events as the holder of its lease, and passes them on.

    Args:
        repo: the store.
        run_id: the run.
        worker_id: the holder.
        on_event: told every event after it is stored.
    """

    def __init__(
        self,
        repo: RunRepository,
        run_id: str,
        worker_id: str,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._repo = repo
        self._run_id = run_id
        self._worker_id = worker_id
        self._on_event = on_event
        self._stage = ""
        self._stage_at = 0.0

    def stage(self, name: str, label: str, done: int, total: int) -> None:
        """Report progress; lines in between are dropped when they come too fast, first and last never."""
        now = time.monotonic()
        if name == self._stage and done < total and now - self._stage_at < STAGE_EVENT_S:
            return
        self._stage, self._stage_at = name, now
        self.write("stage", {"name": name, "label": label, "done": done, "total": total})

    def write(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Store one event.

        Raises:
            LeaseLostError: another worker holds the run.
        """
        event = self._repo.add_event(self._run_id, kind, payload, self._worker_id)
        if self._on_event is not None:
            self._on_event(event)


class Pulse:
    """Renews the lease in a thread of its own, and looks whether the run is to end.

    Attributes:
        lost: another worker holds the run: stop, and write nothing more.
        cancelled: the user asked to stop.
    """

    def __init__(
        self, repo: RunRepository, run_id: str, worker_id: str, timings: Callable[[], Mapping[str, float]]
    ) -> None:
        self._repo = repo
        self._run_id = run_id
        self._worker_id = worker_id
        self._timings = timings
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_end, name="run-pulse", daemon=True)
        self.lost = False
        self.cancelled = repo.cancel_requested(run_id)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _beat_until_end(self) -> None:
        next_beat = 0.0
        while not self._end.wait(CANCEL_POLL_S):
            try:
                self.cancelled = self._repo.cancel_requested(self._run_id)
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + HEARTBEAT_S
                    if not self._repo.heartbeat(self._run_id, self._worker_id, self._timings()):
                        self.lost = True
                        return
            except TriageError as error:
                # A full disk or a restarting server may pass; else the next stored sample reports it.
                _log.warning("heartbeat of run %s: %s", self._run_id, error)
