"""Runs that people watch: each is read once for all who watch it, and of what is stored only what is new.

What was read of a run is kept while somebody looks at it. A look costs one small statement; only the first one after
something was stored reads that, for everybody. The cost of a look does not grow with what a run has stored.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from wfgy_triage.doctor.finding import DOCTOR_SIDE, Finding, in_order
from wfgy_triage.remedies.told import TRIAL_SIDE, TrialFacts, facts_of
from wfgy_triage.report.answers import ANSWER_SIDES
from wfgy_triage.report.tally import AnswerCount, Tally
from wfgy_triage.store.database import Database
from wfgy_triage.store.glance import Glance, events_after, glance, samples_after, samples_numbered
from wfgy_triage.store.records import OPEN_STATUSES, Event, RunRecord, Sample
from wfgy_triage.store.rows import now

NEWEST = 6
"""How many of the answered questions are kept with their answers."""
NOTES = 5
"""How many of the notes in the log are kept."""
KEPT_S, MOST = 60.0, 64
"""How long a run is kept that nobody looks at, and how many are kept at most."""
_KINDS = ("stage", "note")
_SIDES = (*ANSWER_SIDES, TRIAL_SIDE, DOCTOR_SIDE)


@dataclass(frozen=True)
class Measured:
    """What a run has stored, in as much as it is shown while it works.

    Attributes:
        last_event: number of the newest line of the log that is in here.
        last_sample: number of the newest measurement.
        log: of each stage the first and the newest line, and the newest notes; in order.
        newest: the answers to the questions that were answered last.
        tallies: all answers counted, by side.
        trials: the changes that were tried.
        findings: what the doctor found.
    """

    last_event: int = 0
    last_sample: int = 0
    log: tuple[Event, ...] = ()
    newest: tuple[Sample, ...] = ()
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    trials: tuple[TrialFacts, ...] = ()
    findings: tuple[Finding, ...] = ()

    def covers(self, found: Glance) -> bool:
        """Whether nothing was stored since."""
        return self.last_event >= found.last_event and self.last_sample >= found.last_sample


@dataclass(frozen=True)
class LiveRun:
    """A run as it is now.

    Attributes:
        record: the run, without its result.
        place: how many open runs come before it at most, those on devices of their own among them: 0 in work or next in
            line, None once it has ended.
        worker_alive: whether a worker process gave a sign of life lately.
        measured: what it has stored.
    """

    record: RunRecord
    place: int | None
    worker_alive: bool
    measured: Measured

    @property
    def open(self) -> bool:
        """Whether something may still change."""
        return self.record.status in OPEN_STATUSES


class Watching:
    """The runs that are looked at, for all who look. Thread-safe; one per process and database.

    Args:
        database: the store.
        silent_s: a worker whose last sign of life is older counts as gone.
    """

    def __init__(self, database: Database, silent_s: float) -> None:
        self._database = database
        self._silent = timedelta(seconds=silent_s)
        self._lock = threading.Lock()
        self._books: dict[tuple[str, datetime | None], _Book] = {}

    def look(self, run_id: str) -> LiveRun:
        """The run as it is now.

        Raises:
            InputError: there is no such run.
        """
        with self._database.read() as session:
            found = glance(session, run_id)
            measured = self._book(run_id, found.begun).upto(session, found)
        seen = found.worker_seen
        alive = seen is not None and seen >= now() - self._silent
        return LiveRun(found.record, found.place, alive, measured)

    def _book(self, run_id: str, begun: datetime | None) -> _Book:
        moment, key = time.monotonic(), (run_id, begun)
        with self._lock:
            book = self._books.pop(key, None) or _Book(run_id)
            self._books[key] = book  # the one that was looked at last stands last
            book.looked_at = moment
            old = [k for k, b in self._books.items() if moment - b.looked_at > KEPT_S]
            for gone in old or list(self._books)[:-MOST]:
                del self._books[gone]
            return book


class _Book:
    """What was read of one run."""

    def __init__(self, run_id: str) -> None:
        self.looked_at = 0.0
        self._run_id = run_id
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._measured = Measured()
        self._first: dict[str, Event] = {}
        self._latest: dict[str, Event] = {}
        self._notes: deque[Event] = deque(maxlen=NOTES)
        self._answers = AnswerCount()
        self._trials: list[Sample] = []
        self._findings: list[Finding] = []

    def upto(self, session: Session, found: Glance) -> Measured:
        """What is stored, with all that was there at a glance; whoever comes first reads it for the others."""
        if not self._measured.covers(found):
            with self._lock:
                if not self._measured.covers(found):
                    try:
                        self._measured = self._read(session, found)
                    except BaseException:  # what was read in part would be counted twice
                        self._begin()
                        raise
        return self._measured

    def _read(self, session: Session, found: Glance) -> Measured:
        before = self._measured
        for event in events_after(session, self._run_id, before.last_event, _KINDS):
            self._note(event)
        samples = samples_after(session, self._run_id, before.last_sample, _SIDES)
        for number, sample in samples:
            self._count(number, sample)
        answered = any(sample.key.side in ANSWER_SIDES for _, sample in samples)
        newest = self._answers.newest(NEWEST)
        log = {e.seq: e for e in (*self._first.values(), *self._latest.values(), *self._notes)}
        return Measured(
            max(before.last_event, found.last_event),
            max(before.last_sample, found.last_sample),
            tuple(log[seq] for seq in sorted(log)),
            samples_numbered(session, newest) if answered else before.newest,
            self._answers.tallies(),
            facts_of(self._trials),
            tuple(in_order(self._findings)),
        )

    def _note(self, event: Event) -> None:
        if event.kind == "stage":
            name = stage_key(event)
            self._first.setdefault(name, event)
            self._latest[name] = event
        elif event.payload.get("text"):
            self._notes.append(event)

    def _count(self, number: int, sample: Sample) -> None:
        if sample.key.side == TRIAL_SIDE:
            self._trials.append(sample)
        elif sample.key.side == DOCTOR_SIDE:
            self._findings.append(Finding.from_json(sample.payload))
        else:
            self._answers.add(number, sample)


def stage_key(event: Event) -> str:
    """By which the lines of one stage belong together."""
    return str(event.payload.get("name") or event.payload.get("label") or "")
