"""Which sessions are old enough to be deleted, and deleting them with everything that is theirs.

Never deleted: sessions that wait or run, those with the tag `keep`, those with a link that is open, and those that the
caller names. A session's age counts from the last line of its log, so that one that was imported today is of today.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, delete, exists, select
from sqlalchemy.orm import Session

from wfgy_triage.store.database import Database
from wfgy_triage.store.models import CachedAnswerRow, EventRow, RunRow, ShareRow
from wfgy_triage.store.records import OPEN_STATUSES, RunRecord
from wfgy_triage.store.rows import now, run_record

KEEP_TAG = "keep"
_AT_ONCE = 50
"""Sessions in one transaction: a worker never waits long for its turn to write."""


@dataclass(frozen=True)
class Pruned:
    """How many sessions and cached answers went."""

    sessions: int
    answers: int


def expired(database: Database, days: int, also_keep: Collection[str] = ()) -> tuple[RunRecord, ...]:
    """The sessions that `prune` would delete now, oldest first.

    Args:
        database: the store.
        days: those whose last event is older.
        also_keep: ids of sessions that stay in any case.
    """
    query = select(RunRow).where(*_may_go(_limit(days), also_keep)).order_by(RunRow.created_at, RunRow.id)
    with database.read() as session:
        return tuple(run_record(row) for row in session.scalars(query))


def prune(database: Database, days: int, also_keep: Collection[str] = ()) -> Pruned:
    """Delete old sessions with their samples, events and links, and cached answers that were not used since.

    Args:
        database: the store.
        days: those whose last event, or use, is older.
        also_keep: ids of sessions that stay in any case.
    """
    limit, gone = _limit(days), 0
    while some := _prune_some(database, limit, also_keep):
        gone += some
    with database.write() as session:
        return Pruned(gone, _count(session, delete(CachedAnswerRow).where(CachedAnswerRow.used_at < limit)))


def open_options(database: Database) -> tuple[dict[str, Any], ...]:
    """What the runs that wait or run were asked for beside their questions: they may need an earlier session."""
    query = select(RunRow.options).where(RunRow.status.in_(OPEN_STATUSES))
    with database.read() as session:
        return tuple(dict(options) for options in session.scalars(query))


def question_sets(database: Database) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The question sets and options that recorded sessions name, each once."""
    with database.read() as session:
        rows = session.execute(select(RunRow.workload_id, RunRow.options).order_by(RunRow.workload_id))
        found = {(workload, str(sorted(options.items()))): dict(options) for workload, options in rows}
    return tuple((workload, options) for (workload, _), options in found.items())


def _limit(days: int) -> datetime:
    return now() - timedelta(days=days)


def _may_go(limit: datetime, also_keep: Collection[str]) -> tuple[ColumnElement[bool], ...]:
    lately = exists().where(EventRow.run_id == RunRow.id, EventRow.at >= limit)
    linked = exists().where(
        ShareRow.run_id == RunRow.id, ShareRow.revoked_at.is_(None), ShareRow.expires_at > now()
    )
    return (
        RunRow.status.not_in(OPEN_STATUSES),
        RunRow.created_at < limit,
        RunRow.tags.not_like(f"%,{KEEP_TAG},%"),
        RunRow.id.not_in(list(also_keep)),
        ~lately,
        ~linked,
    )


def _prune_some(database: Database, limit: datetime, also_keep: Collection[str]) -> int:
    conditions = _may_go(limit, also_keep)
    with database.write() as session:
        # Locked first and looked at again then: a link that is made meanwhile is seen, and keeps its session.
        locked = select(RunRow.id).where(*conditions).order_by(RunRow.id).limit(_AT_ONCE).with_for_update()
        ids = list(session.scalars(locked))
        return _count(session, delete(RunRow).where(RunRow.id.in_(ids), *conditions)) if ids else 0


def _count(session: Session, statement: Any) -> int:
    done = session.execute(statement)
    return done.rowcount if isinstance(done, CursorResult) else 0
