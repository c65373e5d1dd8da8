"""Writes the log: one thread, batches, and never in the way of an answer.

Answers are put into a bounded buffer and taken from there. A database that is locked, full or gone is tried again
with growing pauses; what does not fit into the buffer meanwhile is dropped and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from wfgy_triage.errors import TriageError
from wfgy_triage.guard.alerts import Alerts, event_of
from wfgy_triage.guard.checks import Verdict
from wfgy_triage.guard.states import LEFT, Alarms, GateState, gate_states
from wfgy_triage.guard.watched import Watched
from wfgy_triage.store.database import Database
from wfgy_triage.store.guard import GuardedAnswer, GuardEvent, GuardRepository, GuardServer

BUFFER = 10_000
BATCH = 500
POISON_TRIES = 5
"""A batch that fails so often is dropped: it may be the batch that is wrong."""
_HEARTBEAT_S = 5.0
_LONGEST_PAUSE_S = 30.0
_PRUNE_EVERY = 5_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How often it writes (seconds), how many answers wait at most, and how many are kept in the database."""

    every_s: float = 1.0
    buffer: int = BUFFER
    keep: int = 200_000


class Recorder:
    """The writer.

    Args:
        open_database: opens the database; called on the writer's thread, again after every failure.
        server: what is stored of this server.
        watched: the gates.
        alerts: who is told of changes.
        limits: see `Limits`.
    """

    def __init__(
        self,
        open_database: Callable[[], Database],
        server: GuardServer,
        watched: Watched,
        alerts: Alerts,
        limits: Limits | None = None,
    ) -> None:
        self._open = open_database
        self._server = server
        self._watched = replace(watched, answers=server.window_answers, minutes=server.window_minutes)
        self._alerts = alerts
        self._limits = limits or Limits()
        self._buffer: deque[GuardedAnswer] = deque()
        self._unseen: deque[GuardedAnswer] = deque(maxlen=server.window_answers)
        self._lock = threading.Lock()
        self._window: deque[GuardedAnswer] = deque(maxlen=server.window_answers)
        self._alarms = Alarms()
        self._events: deque[GuardEvent] = deque(maxlen=1_000)
        self._wake = threading.Event()
        self._ending = self._remembered = False
        self._database: Database | None = None
        self._answers = self._dropped = self._tries = self._since_prune = 0
        self._thread = threading.Thread(target=self._run, name="guard-recorder", daemon=True)

    @property
    def dropped(self) -> int:
        """How many answers could not be stored."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """How many answers wait to be stored."""
        return len(self._buffer)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, wait_s: float = 10.0) -> None:
        """Write what waits, then end."""
        self._ending = True
        self._wake.set()
        self._thread.join(wait_s)

    def put(self, answers: tuple[GuardedAnswer, ...]) -> None:
        """Take answers over. Returns at once, whatever the database does."""
        with self._lock:
            self._answers += len(answers)
            self._unseen.extend(a for a in answers if a.verdict != Verdict.UNCHECKED)
            for answer in answers:
                if len(self._buffer) < self._limits.buffer:
                    self._buffer.append(answer)
                else:
                    self._dropped += 1
        if len(self._buffer) >= BATCH:
            self._wake.set()

    def _run(self) -> None:
        pause, next_try, next_sign = self._limits.every_s, 0.0, 0.0
        ending = False
        while not ending:
            self._wake.wait(self._limits.every_s)
            self._wake.clear()
            ending = self._ending
            self._watch()
            now = time.monotonic()
            if ending or (now >= next_try and (self._buffer or self._events or now >= next_sign)):
                stored = self._write_all()
                pause = self._limits.every_s if stored else min(pause * 2, _LONGEST_PAUSE_S)
                next_try = time.monotonic() + (0.0 if stored else pause)
                next_sign = time.monotonic() + _HEARTBEAT_S
        if self._database is not None:
            self._database.close()

    def _write_all(self) -> bool:
        """Write until the buffer is empty; False when the database did not take it."""
        while True:
            with self._lock:
                batch = [self._buffer.popleft() for _ in range(min(BATCH, len(self._buffer)))]
            if not self._write(batch):
                return False
            if not self._buffer:
                return True

    def _write(self, batch: list[GuardedAnswer]) -> bool:
        repository, events = self._repository(), tuple(self._events)
        if repository is None or not self._stored(repository, batch, events):
            self._give_back(batch)
            return False
        for _ in events:
            self._events.popleft()
        self._tries = 0
        self._prune(repository, len(batch))
        return True

    def _stored(
        self, repository: GuardRepository, batch: list[GuardedAnswer], events: tuple[GuardEvent, ...]
    ) -> bool:
        now = datetime.now(UTC)
        server = replace(self._server, seen_at=now, answers=self._answers, dropped=self._dropped)
        try:
            repository.add(batch, events, server)
        except (TriageError, SQLAlchemyError) as error:
            self._complain(error)
            return False
        return True

    def _repository(self) -> GuardRepository | None:
        if self._database is not None:
            return GuardRepository(self._database)
        try:
            self._database = self._open()
            repository = GuardRepository(self._database)
            if not self._remembered:
                self._remember(repository)
        except (TriageError, SQLAlchemyError) as error:
            self._complain(error)
            return None
        return repository

    def _remember(self, repository: GuardRepository) -> None:
        """After a start: the window and the alarms as they were; what came in since stays."""
        since = datetime.now(UTC) - timedelta(minutes=self._watched.minutes)
        stored = repository.latest(self._watched.answers, since, checked=True)
        ids = [w.gate.id for w in self._watched.gates]
        left = {i for i in ids if repository.last_change(i) == LEFT}
        # All is read before anything is taken over: what breaks off here is done anew, as a whole.
        self._remembered = True
        self._window.extendleft(stored[: self._watched.answers - len(self._window)])
        self._alarms = Alarms([*left, *self._alarms.left])

    def _complain(self, error: Exception) -> None:
        _log.warning("the guard's log is not written for now (answers go through): %s", error)
        if self._database is not None:
            self._database.close()
            self._database = None

    def _give_back(self, batch: list[GuardedAnswer]) -> None:
        self._tries += 1
        with self._lock:
            if self._tries >= POISON_TRIES and self._database is not None:
                self._dropped += len(batch)
                self._tries = 0
                return
            room = max(0, self._limits.buffer - len(self._buffer))
            self._dropped += max(0, len(batch) - room)
            self._buffer.extendleft(reversed(batch[:room]))

    def _watch(self) -> None:
        """Take answers into the window, and say what changed."""
        with self._lock:
            fresh = [*self._unseen]
            self._unseen.clear()
        if not fresh:
            return
        self._window.extend(fresh)
        for state, change in self._alarms.step(self.states()):
            event = event_of(state, change)
            self._events.append(event)
            self._alerts.tell(event, state)

    def states(self) -> tuple[GateState, ...]:
        """The gates over the window as it is now."""
        since = datetime.now(UTC) - timedelta(minutes=self._watched.minutes)
        return gate_states([a for a in self._window if a.at >= since], self._watched)

    def _prune(self, repository: GuardRepository, stored: int) -> None:
        self._since_prune += stored
        if self._since_prune >= _PRUNE_EVERY:
            self._since_prune = 0
            try:
                repository.prune(self._limits.keep)
            except (TriageError, SQLAlchemyError) as error:
                self._complain(error)
