"""Puts a session that was measured elsewhere into the store, once, whole or not at all.

No column is needed for it: `start_key`, unique and used by no imported run otherwise, says that a run was imported and
with which content. The same content twice is therefore one session, also when two people import it at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from wfgy_triage.store.database import Database
from wfgy_triage.store.descriptions import joined
from wfgy_triage.store.models import RunRow
from wfgy_triage.store.records import RunRecord, Sample
from wfgy_triage.store.rows import IMPORT_KEY, append_event, new_run_id, run_record, spec_columns
from wfgy_triage.store.runs import sample_row

_KEY_LENGTH = 64


def imported_as(database: Database, content: str) -> RunRecord | None:
    """The session that this content was imported as; None where it was not.

    Args:
        database: the store.
        content: hash of the content.
    """
    with database.read() as session:
        row = session.scalar(select(RunRow).where(RunRow.start_key == _key(content)))
        return None if row is None else run_record(row)


def add_imported(
    database: Database,
    record: RunRecord,
    result: Mapping[str, Any],
    samples: Sequence[Sample],
    content: str,
    note: str,
) -> RunRecord:
    """Store an imported session under its own id, or under a new one where that id is taken.

    Args:
        database: the store.
        record: the run as it was recorded.
        result: its `wfgy-triage/result-1` object; `run_id` becomes the id it is stored under.
        samples: everything it had measured.
        content: hash of all that; the same hash again gives the session that is there.
        note: a line for its log.
    """
    try:
        with database.write() as session:
            return _store(session, record, result, samples, content, note)
    except IntegrityError:  # somebody else has just stored it
        found = imported_as(database, content)
        if found is None:
            raise
        return found


def _store(
    session: Session,
    record: RunRecord,
    result: Mapping[str, Any],
    samples: Sequence[Sample],
    content: str,
    note: str,
) -> RunRecord:
    there = session.scalar(select(RunRow).where(RunRow.start_key == _key(content)))
    if there is not None:
        return run_record(there)
    taken = session.get(RunRow, record.id) is not None
    mine = replace(record, id=new_run_id()) if taken else record
    row = _row(mine, {**result, "run_id": mine.id}, content)
    session.add(row)
    session.flush()
    session.add_all(sample_row(mine.id, sample) for sample in samples)
    append_event(session, mine.id, "note", {"text": note})
    append_event(session, mine.id, "status", {"status": str(mine.status)})
    return run_record(row)


def _row(record: RunRecord, result: Mapping[str, Any], content: str) -> RunRow:
    return RunRow(
        id=record.id,
        **spec_columns(record.spec),
        status=record.status,
        state=str(result["state"]),
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        heartbeat_at=None,
        cancel_requested=False,
        worker_id=None,
        barren_leases=0,
        start_key=_key(content),
        timings=dict(record.timings),
        result=dict(result),
        error_message="",
        error_hint="",
        title=record.title,
        tags=joined(record.tags),
    )


def _key(content: str) -> str:
    return f"{IMPORT_KEY}{content}"[:_KEY_LENGTH]
