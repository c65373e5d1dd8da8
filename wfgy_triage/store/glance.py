"""A run looked at again and again: how far it is in one statement, and then only what was added since the last look.

The lines of a log and the measurements of a run are only ever added, by writers that lock its row first. Their numbers
therefore grow in the order in which they can be seen, and what lies before a number that was read needs no second look.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ScalarSelect, func, select
from sqlalchemy.orm import Session

from wfgy_triage.store.models import EventRow, RunRow, SampleRow, WorkerRow
from wfgy_triage.store.queue import place_in_line
from wfgy_triage.store.records import Event, RunRecord, Sample
from wfgy_triage.store.rows import event_record, run_record, sample_record, unknown_run


@dataclass(frozen=True)
class Glance:
    """A run at one moment.

    Attributes:
        record: the run, without its result.
        place: how many open runs come before it: 0 in work or next in line, None once it has ended.
        begun: when the first line of its log was written; tells it from another run that had its id before.
        last_event: number of the newest line of its log.
        last_sample: number of its newest measurement; both grow.
        worker_seen: when a worker process gave its latest sign of life.
    """

    record: RunRecord
    place: int | None
    begun: datetime | None
    last_event: int
    last_sample: int
    worker_seen: datetime | None


def glance(session: Session, run_id: str) -> Glance:
    """How far a run is.

    Raises:
        InputError: no such run.
    """
    mine = EventRow.run_id == run_id
    columns: tuple[ScalarSelect[Any], ...] = (
        select(EventRow.at).where(mine, EventRow.seq == 1).scalar_subquery(),
        select(func.max(EventRow.seq)).where(mine).scalar_subquery(),
        select(func.max(SampleRow.id)).where(SampleRow.run_id == run_id).scalar_subquery(),
        select(func.max(WorkerRow.seen_at)).scalar_subquery(),
    )
    found = session.execute(select(RunRow, *columns).where(RunRow.id == run_id)).one_or_none()
    if found is None:
        raise unknown_run(run_id)
    row, begun, last_event, last_sample, worker_seen = found
    return Glance(
        run_record(row), place_in_line(session, row), begun, last_event or 0, last_sample or 0, worker_seen
    )


def events_after(session: Session, run_id: str, number: int, kinds: Collection[str]) -> list[Event]:
    """The lines of these kinds that a run's log has behind a number, in order."""
    query = select(EventRow).where(EventRow.run_id == run_id, EventRow.seq > number, EventRow.kind.in_(kinds))
    return [event_record(row) for row in session.scalars(query.order_by(EventRow.seq))]


def samples_after(
    session: Session, run_id: str, number: int, sides: Collection[str]
) -> list[tuple[int, Sample]]:
    """The measurements on these sides behind a number, in the order they were stored, each with its own number."""
    query = select(SampleRow).where(
        SampleRow.run_id == run_id, SampleRow.id > number, SampleRow.side.in_(sides)
    )
    return [(row.id, sample_record(row)) for row in session.scalars(query.order_by(SampleRow.id))]


def samples_numbered(session: Session, numbers: Collection[int]) -> tuple[Sample, ...]:
    """These measurements, in the order they were stored."""
    query = select(SampleRow).where(SampleRow.id.in_(numbers)).order_by(SampleRow.id)
    return tuple(sample_record(row) for row in session.scalars(query))
