"""What FP16 models said and scored in earlier runs, by a key that names everything the numbers depend on.

A cache and nothing more: any row may go at any time, and a row that cannot be read counts as not there. What keys and
bodies mean is known to `probes/reuse.py`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from wfgy_triage.store.database import Database
from wfgy_triage.store.models import CachedAnswerRow
from wfgy_triage.store.rows import now

_KEYS_AT_ONCE = 500
"""Well under what either database takes in one statement."""

_log = logging.getLogger(__name__)


class AnswerCache:
    """Rows of plain JSON by key; the least recently used go first.

    All methods raise PrerequisiteError when the database cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def get_many(self, keys: Collection[str]) -> dict[str, Mapping[str, Any]]:
        """The rows that are there, by key; a damaged row is logged and left out."""
        found: dict[str, Mapping[str, Any]] = {}
        with self._db.read() as session:
            for some in _batches(keys):
                query = select(CachedAnswerRow.key, CachedAnswerRow.body).where(CachedAnswerRow.key.in_(some))
                for key, text in session.execute(query):
                    body = _parsed(key, text)
                    if body is not None:
                        found[key] = body
        return found

    def put_many(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Store rows; a key that is there already gets the new row, so that a damaged one is mended."""
        moment = now()
        # In the order of the keys, so that two writers of the same rows wait for each other and do not deadlock.
        values = [
            {"key": key, "body": json.dumps(rows[key], allow_nan=False), "used_at": moment}
            for key in sorted(rows)
        ]
        if values:
            with self._db.write() as session:
                session.execute(self._db.upsert(CachedAnswerRow), values)

    def touch(self, keys: Collection[str]) -> None:
        """Say that these rows were used just now."""
        moment = now()
        for some in _batches(keys):
            with self._db.write() as session:
                used = update(CachedAnswerRow).where(CachedAnswerRow.key.in_(_locked(session, some)))
                session.execute(used.values(used_at=moment))

    def prune(self, max_rows: int) -> int:
        """Keep the `max_rows` rows that were used last; returns how many went."""
        newest = select(CachedAnswerRow.key).order_by(CachedAnswerRow.used_at.desc(), CachedAnswerRow.key)
        with self._db.read() as session:
            surplus = session.scalars(newest.offset(max_rows)).all()
        gone = 0
        for some in _batches(surplus):
            with self._db.write() as session:
                mine = _locked(session, some)
                session.execute(delete(CachedAnswerRow).where(CachedAnswerRow.key.in_(mine)))
                gone += len(mine)
        return gone


def _locked(session: Session, keys: Collection[str]) -> list[str]:
    """Those of the rows that nobody else is writing, kept for this transaction; never waits, so no deadlock."""
    rows = select(CachedAnswerRow.key).where(CachedAnswerRow.key.in_(keys))
    return list(session.scalars(rows.with_for_update(skip_locked=True)))


def _batches(keys: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(keys)
    for begin in range(0, len(ordered), _KEYS_AT_ONCE):
        yield ordered[begin : begin + _KEYS_AT_ONCE]


def _parsed(key: str, text: str) -> Mapping[str, Any] | None:
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    _log.warning("the cached row %s is damaged; it is measured anew", key)
    return None
