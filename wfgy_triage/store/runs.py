"""Everything the program knows about runs: asking for one, watching it, its samples, its end.

Reads hand out frozen records. Every write is one short transaction that first locks the run's row, so that a
run's events are numbered without gaps and its samples are stored exactly once, whoever writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Unpack

from sqlalchemy import func, select
from sqlalchemy.orm import Session, undefer

from wfgy_triage.errors import InputError
from wfgy_triage.store.descriptions import Description, joined
from wfgy_triage.store.filters import Which, matching
from wfgy_triage.store.leases import LeaseRepository, take
from wfgy_triage.store.models import EventRow, RunRow, SampleRow
from wfgy_triage.store.queue import UNLIMITED, QueueLimits, admit, take_turn
from wfgy_triage.store.records import (
    OPEN_STATUSES,
    Event,
    RunRecord,
    RunSpec,
    RunStatus,
    Sample,
    SampleKey,
)
from wfgy_triage.store.rows import (
    append_event,
    event_record,
    locked_run,
    new_run_id,
    now,
    run_record,
    sample_record,
    set_status,
    spec_columns,
    unknown_run,
)


class RunRepository(LeaseRepository):
    """Runs, their events and their samples (leasing is inherited)."""

    def create(
        self,
        spec: RunSpec,
        *,
        worker_id: str | None = None,
        start_key: str | None = None,
        owner: str = "",
        limits: QueueLimits = UNLIMITED,
    ) -> RunRecord:
        """Queue a new run.

        Args:
            spec: what to measure.
            worker_id: lease the run to this worker in the same step, past the queue.
            start_key: the same key again returns the run it started before (a double click, a resent form).
            owner: whose it is; empty for nobody's.
            limits: how many runs may wait.

        Raises:
            InputError: as many wait as may, of the owner or in all.
        """
        with self._db.write() as session:
            take_turn(self._db, session)
            if start_key is not None:
                earlier = session.scalar(select(RunRow).where(RunRow.start_key == start_key))
                if earlier is not None:
                    return run_record(earlier)
            admit(session, owner, limits)
            row = _new_row(spec, start_key, owner)
            session.add(row)
            self._begin(session, row)
            append_event(session, row.id, "status", {"status": str(RunStatus.QUEUED)})
            return run_record(row) if worker_id is None else take(session, row, worker_id)

    def _begin(self, session: Session, row: RunRow) -> None:
        """Store a new run's row; what is done with it here is done in the same transaction."""
        session.flush()

    def get(self, run_id: str) -> RunRecord:
        """The run with its result; while it is open it has none, and what it came to before is kept for its end.

        Raises:
            InputError: no such run.
        """
        with self._db.read() as session:
            row = session.get(RunRow, run_id, options=[undefer(RunRow.result)])
            if row is None:
                raise unknown_run(run_id)
            return run_record(row, None if row.status in OPEN_STATUSES else row.result)

    def list(self, limit: int = 50, offset: int = 0, **which: Unpack[Which]) -> tuple[RunRecord, ...]:
        """Runs that match, newest first, without their results (`state` is there)."""
        query = matching(select(RunRow), which)
        query = query.order_by(RunRow.created_at.desc(), RunRow.id.desc()).limit(limit).offset(offset)
        with self._db.read() as session:
            return tuple(run_record(row) for row in session.scalars(query))

    def describe(self, run_id: str, description: Description) -> RunRecord:
        """Keep what people wrote about a run, in the place of what they wrote before.

        Raises:
            InputError: no such run.
        """
        with self._db.write() as session:
            row = locked_run(session, run_id)
            row.title, row.note, row.tags = description.title, description.note, joined(description.tags)
            return run_record(row)

    def count(self, **which: Unpack[Which]) -> int:
        """How many runs match."""
        query = matching(select(func.count()).select_from(RunRow), which)
        with self._db.read() as session:
            return session.scalar(query) or 0

    def request_cancel(self, run_id: str) -> RunRecord:
        """Ask for an end. A run that nobody has begun ends at once; an ended one stays as it is.

        Raises:
            InputError: no such run.
        """
        with self._db.write() as session:
            row = locked_run(session, run_id)
            if row.status not in OPEN_STATUSES or row.cancel_requested:
                return run_record(row)
            row.cancel_requested = True
            if row.status == RunStatus.QUEUED and not _has_samples(session, run_id):
                set_status(session, row, RunStatus.CANCELLED)
            else:
                append_event(
                    session, run_id, "note", {"text": "Asked to stop; what is already measured is kept."}
                )
            return run_record(row)

    def requeue(self, run_id: str, limits: QueueLimits = UNLIMITED) -> RunRecord:
        """Queue a failed or cancelled run again; its samples are kept and not measured again.

        Its result is kept too, until it ends with another one: it may end without.

        Args:
            run_id: the run.
            limits: how many runs may wait.

        Raises:
            InputError: no such run, or it is open or done; or as many wait as may, of its owner or in all.
        """
        with self._db.write() as session:
            take_turn(self._db, session)
            row = locked_run(session, run_id)
            if row.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
                raise InputError(
                    f"This session is {row.status}; only failed and cancelled ones can be resumed.",
                    "Start a new one with the same choices.",
                )
            admit(session, row.owner, limits)
            row.cancel_requested = False
            row.worker_id = row.heartbeat_at = row.finished_at = row.state = None
            row.error_message = row.error_hint = ""
            row.barren_leases = 0
            set_status(session, row, RunStatus.QUEUED)
            return run_record(row)

    def cancel_requested(self, run_id: str) -> bool:
        """Whether someone asked this run to stop; False for an unknown run."""
        with self._db.read() as session:
            return bool(session.scalar(select(RunRow.cancel_requested).where(RunRow.id == run_id)))

    def add_event(
        self, run_id: str, kind: str, payload: Mapping[str, Any], worker_id: str | None = None
    ) -> Event:
        """Add a line to the run's log.

        Raises:
            InputError: no such run.
            LeaseLostError: `worker_id` is given and does not hold the run.
        """
        with self._db.write() as session:
            locked_run(session, run_id, worker_id)
            return append_event(session, run_id, kind, payload)

    def events(self, run_id: str, after: int = 0) -> tuple[Event, ...]:
        """The log from the line after number `after`, in order."""
        query = select(EventRow).where(EventRow.run_id == run_id, EventRow.seq > after).order_by(EventRow.seq)
        with self._db.read() as session:
            return tuple(event_record(row) for row in session.scalars(query))

    def last_event(self, run_id: str, kind: str) -> Event | None:
        """The newest line of one kind."""
        query = select(EventRow).where(EventRow.run_id == run_id, EventRow.kind == kind)
        with self._db.read() as session:
            row = session.scalar(query.order_by(EventRow.seq.desc()).limit(1))
            return None if row is None else event_record(row)

    def add_samples(self, run_id: str, samples: Sequence[Sample], worker_id: str | None = None) -> int:
        """Store finished measurements; committed on return. A key already there keeps its first value.

        Returns:
            How many were new.

        Raises:
            InputError: no such run.
            LeaseLostError: `worker_id` is given and does not hold the run; nothing was stored.
        """
        with self._db.write() as session:
            row = locked_run(session, run_id, worker_id)
            known = _keys(session, run_id, {sample.key.question for sample in samples})
            fresh: dict[SampleKey, Sample] = {}
            for sample in samples:
                if sample.key not in known:
                    fresh.setdefault(sample.key, sample)
            session.add_all(sample_row(run_id, sample) for sample in fresh.values())
            if fresh:
                row.barren_leases = 0
            return len(fresh)

    def samples(self, run_id: str) -> tuple[Sample, ...]:
        """Every stored measurement, in the order they were stored."""
        query = select(SampleRow).where(SampleRow.run_id == run_id).order_by(SampleRow.id)
        with self._db.read() as session:
            return tuple(sample_record(row) for row in session.scalars(query))

    def done_keys(self, run_id: str) -> frozenset[SampleKey]:
        """The keys of every stored measurement."""
        with self._db.read() as session:
            return _keys(session, run_id)


def _new_row(spec: RunSpec, start_key: str | None, owner: str) -> RunRow:
    return RunRow(
        id=new_run_id(),
        **spec_columns(spec),
        status=RunStatus.QUEUED,
        created_at=now(),
        cancel_requested=False,
        barren_leases=0,
        start_key=start_key,
        timings={},
        error_message="",
        error_hint="",
        owner=owner,
    )


def _has_samples(session: Session, run_id: str) -> bool:
    return session.scalar(select(SampleRow.id).where(SampleRow.run_id == run_id).limit(1)) is not None


def _keys(session: Session, run_id: str, questions: Collection[str] | None = None) -> frozenset[SampleKey]:
    columns = (SampleRow.probe, SampleRow.question, SampleRow.paraphrase, SampleRow.seed, SampleRow.side)
    query = select(*columns).where(SampleRow.run_id == run_id)
    if questions is not None:
        query = query.where(SampleRow.question.in_(questions))
    return frozenset(SampleKey(*row) for row in session.execute(query))


def sample_row(run_id: str, sample: Sample) -> SampleRow:
    """The row of a measurement."""
    key = sample.key
    return SampleRow(
        run_id=run_id,
        probe=key.probe,
        question=key.question,
        paraphrase=key.paraphrase,
        seed=key.seed,
        side=key.side,
        payload=dict(sample.payload),
    )
