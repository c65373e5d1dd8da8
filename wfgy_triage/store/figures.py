"""Counts over the whole store, for monitoring and for `store info`; read in one moment, so that they fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Float, cast, func, or_, select
from sqlalchemy.orm import Session

from wfgy_triage.store.database import Database
from wfgy_triage.store.models import CachedAnswerRow, EventRow, RunRow, SampleRow, ShareRow, WorkerRow
from wfgy_triage.store.records import RunStatus
from wfgy_triage.store.rows import IMPORT_KEY, now

TOTAL = "total"
"""The sum in a run's seconds by stage."""


@dataclass(frozen=True)
class RunGroup:
    """How many sessions have this status, symptom and verdict; `state` is empty where there is none."""

    status: str
    symptom: str
    state: str
    count: int


@dataclass(frozen=True)
class Figures:
    """What is in the store.

    Attributes:
        runs: sessions by status, symptom and verdict.
        waiting: runs in the queue.
        oldest_waiting_s: seconds since the one that waits longest was queued; 0 where none waits.
        workers: worker processes that gave a sign of life lately.
        stage_seconds: seconds that ended runs of this installation spent, by stage, without `total`.
        samples: stored measurements.
        cached_answers: rows of the cache of FP16 answers.
        open_links: read-only links that open.
        oldest: when the oldest session was made; None without any.
    """

    runs: tuple[RunGroup, ...]
    waiting: int
    oldest_waiting_s: float
    workers: int
    stage_seconds: Mapping[str, float]
    samples: int
    cached_answers: int
    open_links: int
    oldest: datetime | None

    @property
    def sessions(self) -> int:
        """All of them."""
        return sum(group.count for group in self.runs)


def read_figures(database: Database, worker_within_s: float) -> Figures:
    """Count.

    Args:
        database: the store.
        worker_within_s: a worker whose last sign of life is older counts as gone.

    Raises:
        PrerequisiteError: the database cannot be used.
    """
    moment = now()
    with database.read() as session:
        runs = _groups(session)
        since = _waiting_since(session)
        open_links = (ShareRow.revoked_at.is_(None), ShareRow.expires_at > moment)
        alive = WorkerRow.seen_at >= moment - timedelta(seconds=worker_within_s)
        return Figures(
            runs=runs,
            waiting=sum(g.count for g in runs if g.status == RunStatus.QUEUED),
            oldest_waiting_s=0.0 if since is None else max(0.0, (moment - since).total_seconds()),
            workers=session.scalar(select(func.count()).select_from(WorkerRow).where(alive)) or 0,
            stage_seconds=_stage_seconds(database, session),
            samples=session.scalar(select(func.count(SampleRow.id))) or 0,
            cached_answers=session.scalar(select(func.count()).select_from(CachedAnswerRow)) or 0,
            open_links=session.scalar(select(func.count()).select_from(ShareRow).where(*open_links)) or 0,
            oldest=session.scalar(select(func.min(RunRow.created_at))),
        )


def _groups(session: Session) -> tuple[RunGroup, ...]:
    columns = (RunRow.status, RunRow.symptom, func.coalesce(RunRow.state, ""))
    rows = session.execute(select(*columns, func.count()).group_by(*columns).order_by(*columns))
    return tuple(RunGroup(status, symptom, state, count) for status, symptom, state, count in rows)


def _waiting_since(session: Session) -> datetime | None:
    """When the run that waits longest came into the queue; a resumed one did so when it was put back."""
    queued = (
        select(func.max(EventRow.at).label("at"))
        .join(RunRow, RunRow.id == EventRow.run_id)
        .where(RunRow.status == RunStatus.QUEUED, EventRow.kind == "status")
        .group_by(EventRow.run_id)
        .subquery()
    )
    since: datetime | None = session.scalar(select(func.min(queued.c.at)))
    return since


def _stage_seconds(database: Database, session: Session) -> dict[str, float]:
    stages = database.pairs_of(RunRow.timings)
    mine = or_(RunRow.start_key.is_(None), RunRow.start_key.not_like(f"{IMPORT_KEY}%"))
    rows = session.execute(
        select(stages.c.key, func.sum(cast(stages.c.value, Float)))
        .select_from(RunRow)
        .join(stages, RunRow.id == RunRow.id)
        .where(mine, RunRow.finished_at.is_not(None), stages.c.key != TOTAL)
        .group_by(stages.c.key)
        .order_by(stages.c.key)
    )
    return {name: float(seconds) for name, seconds in rows}
