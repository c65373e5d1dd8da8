"""Small helpers that both halves of the run repository share: ids, locking a row, rows to records."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from wfgy_triage.errors import InputError
from wfgy_triage.store.descriptions import parted
from wfgy_triage.store.event_log import keep
from wfgy_triage.store.models import EventRow, RunRow, SampleRow
from wfgy_triage.store.records import (
    OPEN_STATUSES,
    Event,
    RunRecord,
    RunSpec,
    RunStatus,
    Sample,
    SampleKey,
)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_EPOCH = 1_700_000_000
IMPORT_KEY = "import:"
"""How the start keys of imported sessions begin; the rest tells their content. Runs that are started have others."""


class LeaseLostError(Exception):
    """Another worker has taken the run over: stop at once and write nothing more.

    Not a `TriageError`: it is not for users, and nothing between the store and the worker may handle it.
    """


def new_run_id() -> str:
    """A URL-safe id of 18 characters that sorts by creation second and ends in 55 random bits."""
    seconds = max(0, int(time.time()) - _EPOCH)
    stamp = "".join(_ALPHABET[(seconds >> shift) & 31] for shift in range(30, -1, -5))
    return stamp + "".join(secrets.choice(_ALPHABET) for _ in range(11))


def now() -> datetime:
    """The present moment, UTC."""
    return datetime.now(UTC)


def locked_run(session: Session, run_id: str, worker_id: str | None = None) -> RunRow:
    """Load a run for change and keep other writers off it until the transaction ends.

    Args:
        session: a write transaction.
        run_id: the run.
        worker_id: when given, the run must be leased by this worker.

    Raises:
        InputError: no such run.
        LeaseLostError: the run is not, or no longer, leased by `worker_id`.
    """
    row = session.scalar(select(RunRow).where(RunRow.id == run_id).with_for_update())
    if row is None:
        raise unknown_run(run_id)
    if worker_id is not None and (row.worker_id != worker_id or row.status != RunStatus.RUNNING):
        raise LeaseLostError(run_id)
    return row


def unknown_run(run_id: str) -> InputError:
    """The error for an id that names no run."""
    return InputError(
        f"There is no session with the id {run_id[:64]!r}.",
        "Check the link, or pick one from the session list.",
    )


def append_event(session: Session, run_id: str, kind: str, payload: Mapping[str, Any]) -> Event:
    """Add the next line to the log of a run that this transaction has locked."""
    last = session.scalar(select(func.max(EventRow.seq)).where(EventRow.run_id == run_id)) or 0
    row = EventRow(run_id=run_id, seq=last + 1, at=now(), kind=kind, payload=dict(payload))
    session.add(row)
    session.flush()
    return keep(session, event_record(row))


def set_status(session: Session, row: RunRow, status: RunStatus) -> None:
    """Change the status of a locked run and log it; one that has ended has the state of its result."""
    row.status = status
    if status not in OPEN_STATUSES:
        row.finished_at = now()
        result = session.scalar(select(RunRow.result).where(RunRow.id == row.id))
        row.state = None if result is None else str(result["state"])
    append_event(session, row.id, "status", {"status": str(status)})


def spec_columns(spec: RunSpec) -> dict[str, Any]:
    """What was asked for, as the columns of a run's row; the other way round than `run_record`."""
    return {
        "symptom": spec.symptom,
        "pair_id": spec.pair_id,
        "questions": spec.questions,
        "seed": spec.seed,
        "workload_id": spec.workload_id,
        "options": dict(spec.options),
    }


def run_record(row: RunRow, result: Mapping[str, Any] | None = None) -> RunRecord:
    """The frozen record of a row; `result` is passed by those who loaded it."""
    spec = RunSpec(
        symptom=row.symptom,
        pair_id=row.pair_id,
        questions=row.questions,
        seed=row.seed,
        workload_id=row.workload_id,
        options=dict(row.options),
    )
    return RunRecord(
        id=row.id,
        spec=spec,
        status=RunStatus(row.status),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        heartbeat_at=row.heartbeat_at,
        cancel_requested=row.cancel_requested,
        result=result,
        state=row.state,
        error_message=row.error_message,
        error_hint=row.error_hint,
        timings={name: float(seconds) for name, seconds in row.timings.items()},
        title=row.title,
        note=row.note,
        tags=parted(row.tags),
        owner=row.owner,
        imported=(row.start_key or "").startswith(IMPORT_KEY),
    )


def event_record(row: EventRow) -> Event:
    """The frozen record of a row."""
    return Event(run_id=row.run_id, seq=row.seq, at=row.at, kind=row.kind, payload=dict(row.payload))


def sample_record(row: SampleRow) -> Sample:
    """The frozen record of a row."""
    key = SampleKey(
        probe=row.probe, question=row.question, paraphrase=row.paraphrase, seed=row.seed, side=row.side
    )
    return Sample(key=key, payload=dict(row.payload))
