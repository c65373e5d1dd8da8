"""Which worker processes are alive, and whose models are loaded."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select

from wfgy_triage.store.database import Database
from wfgy_triage.store.models import WorkerRow
from wfgy_triage.store.rows import now

_FORGET_AFTER = timedelta(hours=1)


class WorkerRepository:
    """Signs of life of the worker processes."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def beat(self, worker_id: str, pair_id: str | None = None) -> None:
        """Say that this worker is alive and keeps the models of `pair_id` loaded (None: no models)."""
        with self._db.write() as session:
            session.merge(WorkerRow(id=worker_id, seen_at=now(), pair_id=pair_id))
            session.execute(delete(WorkerRow).where(WorkerRow.seen_at < now() - _FORGET_AFTER))

    def remove(self, worker_id: str) -> None:
        """Say that this worker has ended."""
        with self._db.write() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.id == worker_id))

    def alive(self, within_s: float) -> bool:
        """Whether any worker gave a sign of life in the last `within_s` seconds."""
        with self._db.read() as session:
            query = select(WorkerRow.id).where(WorkerRow.seen_at >= now() - timedelta(seconds=within_s))
            return session.scalar(query.limit(1)) is not None

    def others_alive(self, own: str, within_s: float) -> bool:
        """Whether a worker whose id does not begin so gave a sign of life in the last `within_s` seconds."""
        lately = WorkerRow.seen_at >= now() - timedelta(seconds=within_s)
        query = select(WorkerRow.id).where(lately, ~WorkerRow.id.startswith(own, autoescape=True))
        with self._db.read() as session:
            return session.scalar(query.limit(1)) is not None

    def warm_pairs(self, within_s: float) -> frozenset[str]:
        """Ids of the pairs that living workers keep loaded."""
        query = select(WorkerRow.pair_id).where(
            WorkerRow.seen_at >= now() - timedelta(seconds=within_s), WorkerRow.pair_id.is_not(None)
        )
        with self._db.read() as session:
            return frozenset(pair_id for pair_id in session.scalars(query) if pair_id is not None)
