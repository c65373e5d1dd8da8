"""Who works on a run: a worker leases an open run, renews the lease, and ends or returns it.

Which one is the worker's choice (`runs/turns.py`); where it names none, the oldest.

One lane a set of devices: worker ids start with the lane's name and a dot. Whoever holds the lane's file locks and
works on nothing knows that every lease of the lane was left behind (its holder died, or could not store the end), and
takes it over at once; leases of other lanes are taken over only when their heartbeat has gone stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Select, and_, or_, select, update
from sqlalchemy.orm import Session

from wfgy_triage.store.database import Database
from wfgy_triage.store.models import RunRow
from wfgy_triage.store.records import OPEN_STATUSES, RunRecord, RunStatus
from wfgy_triage.store.rows import append_event, now, run_record, set_status

MAX_BARREN_LEASES = 5
"""A run whose worker died this often in a row without storing one more sample is given up."""


@dataclass(frozen=True)
class OpenRun:
    """A run that is queued, or in work (where its worker may have died)."""

    id: str
    pair_id: str
    status: RunStatus
    cancel_requested: bool


class LeaseRepository:
    """The half of `RunRepository` that workers use."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def open_runs(self) -> tuple[OpenRun, ...]:
        """The runs that have not ended, oldest first."""
        columns = (RunRow.id, RunRow.pair_id, RunRow.status, RunRow.cancel_requested)
        query = select(*columns).where(RunRow.status.in_(OPEN_STATUSES))
        with self._db.read() as session:
            rows = session.execute(query.order_by(RunRow.created_at, RunRow.id))
            return tuple(OpenRun(each, pair, RunStatus(status), stop) for each, pair, status, stop in rows)

    def lease(
        self, worker_id: str, stale_after_s: float, lane: str | None = None, run_id: str | None = None
    ) -> RunRecord | None:
        """Take a run that is queued or was left behind, the oldest unless one is named; None where there is none.

        Args:
            worker_id: who takes it.
            stale_after_s: a running run without a heartbeat for this many seconds is taken over.
            lane: when given, running runs of this lane are taken over whatever their heartbeat says; the
                caller holds the lane's locks and works on none of them.
            run_id: when given, this run or none.
        """
        open_runs = _leasable(stale_after_s, lane)
        if run_id is not None:
            open_runs = open_runs.where(RunRow.id == run_id)
        with self._db.read() as session:
            if session.scalar(open_runs) is None:
                return None
        with self._db.write() as session:
            while (row := session.scalar(open_runs.with_for_update(skip_locked=True))) is not None:
                if row.barren_leases < MAX_BARREN_LEASES:
                    return take(session, row, worker_id)
                _give_up(session, row)
                session.flush()
        return None

    def heartbeat(self, run_id: str, worker_id: str, timings: Mapping[str, float] | None = None) -> bool:
        """Renew the lease and store the seconds spent so far; False when the lease is lost."""
        values: dict[str, Any] = {"heartbeat_at": now()}
        if timings is not None:
            values["timings"] = dict(timings)
        with self._db.write() as session:
            renewed = session.execute(update(RunRow).where(*_held(run_id, worker_id)).values(**values))
            return isinstance(renewed, CursorResult) and renewed.rowcount == 1

    def release(self, run_id: str, worker_id: str) -> bool:
        """Put the run back in the queue (the worker was told to stop); False when the lease is lost."""
        with self._db.write() as session:
            row = session.scalar(select(RunRow).where(*_held(run_id, worker_id)).with_for_update())
            if row is None:
                return False
            row.worker_id = None
            row.heartbeat_at = None
            row.barren_leases = 0
            set_status(session, row, RunStatus.QUEUED)
            return True

    def finish(
        self,
        run_id: str,
        worker_id: str,
        status: RunStatus,
        result: Mapping[str, Any] | None = None,
        error_message: str = "",
        error_hint: str = "",
        timings: Mapping[str, float] | None = None,
    ) -> bool:
        """End the run; False, and nothing written, when the lease is lost.

        Args:
            run_id: the run.
            worker_id: who holds it.
            status: DONE, CANCELLED or FAILED.
            result: the `wfgy-triage/result-1` object; its `state` becomes the run's. Without one the run keeps the
                result that it had when it was resumed.
            error_message: for FAILED, what happened.
            error_hint: for FAILED, what to do.
            timings: seconds by stage, all passes together.
        """
        with self._db.write() as session:
            row = session.scalar(select(RunRow).where(*_held(run_id, worker_id)).with_for_update())
            if row is None:
                return False
            if timings is not None:
                row.timings = dict(timings)
            if result is not None:
                row.result = dict(result)
            _close(session, row, status, error_message, error_hint)
            return True


def _leasable(stale_after_s: float, lane: str | None) -> Select[RunRow]:
    left_behind: ColumnElement[bool] = RunRow.heartbeat_at < now() - timedelta(seconds=stale_after_s)
    if lane is not None:
        left_behind = or_(left_behind, RunRow.worker_id.startswith(f"{lane}.", autoescape=True))
    return (
        select(RunRow)
        .where(
            or_(
                RunRow.status == RunStatus.QUEUED,
                and_(RunRow.status == RunStatus.RUNNING, left_behind),
            )
        )
        .order_by(RunRow.created_at, RunRow.id)
        .limit(1)
    )


def _held(run_id: str, worker_id: str) -> tuple[ColumnElement[bool], ...]:
    return (RunRow.id == run_id, RunRow.worker_id == worker_id, RunRow.status == RunStatus.RUNNING)


def take(session: Session, row: RunRow, worker_id: str) -> RunRecord:
    """Lease a locked run to a worker."""
    resumed = row.started_at is not None
    row.worker_id = worker_id
    row.heartbeat_at = now()
    row.started_at = row.started_at or row.heartbeat_at
    row.barren_leases += 1
    set_status(session, row, RunStatus.RUNNING)
    if resumed:
        append_event(session, row.id, "note", {"text": "Resumed after an interruption; nothing is repeated."})
    return run_record(row)


def _give_up(session: Session, row: RunRow) -> None:
    _close(
        session,
        row,
        RunStatus.FAILED,
        f"The worker process died {row.barren_leases} times in a row without finishing one more question.",
        "Most often memory ran out: close other programs or use a smaller pair. The worker's log has more.",
    )


def _close(session: Session, row: RunRow, status: RunStatus, message: str, hint: str) -> None:
    row.error_message = message
    row.error_hint = hint
    if message:
        append_event(session, row.id, "error", {"message": message, "hint": hint})
    set_status(session, row, status)
