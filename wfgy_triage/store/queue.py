"""The line of runs that wait: who comes before whom, and how many may stand in it.

The limits are counted in the transaction that adds a run, and those who add one take turns: two starts at once cannot
both be the last that is allowed, from whichever process they come.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from wfgy_triage.errors import InputError
from wfgy_triage.store.database import Database
from wfgy_triage.store.models import RunRow
from wfgy_triage.store.records import OPEN_STATUSES, RunStatus


@dataclass(frozen=True)
class QueueLimits:
    """The most runs that may wait at once; None is without a limit.

    Attributes:
        queued: in all.
        each: of one owner.
    """

    queued: int | None = None
    each: int | None = None


UNLIMITED = QueueLimits()


def take_turn(database: Database, session: Session) -> None:
    """Let nobody else add a run to the line until this transaction ends."""
    database.take_turns(session, "create")


def admit(session: Session, owner: str, limits: QueueLimits) -> None:
    """Do nothing where one more run may wait; the caller has the turn.

    Args:
        session: the transaction that adds it.
        owner: whose it is; empty for nobody in particular, who has no limit of their own.
        limits: how many may wait.

    Raises:
        InputError: so many wait already, of the owner or in all.
    """
    mine = _waiting(session, owner) if owner and limits.each is not None else 0
    if limits.each is not None and mine >= limits.each:
        raise InputError(
            f"{mine} of your runs are waiting already; this one was not added.",
            "Wait until one has begun, or cancel one.",
        )
    if limits.queued is not None and _waiting(session) >= limits.queued:
        raise InputError(
            f"{limits.queued} runs are waiting already; this one was not added.",
            "Wait until some have finished, or cancel one of yours.",
        )


def place_in_line(session: Session, row: RunRow) -> int | None:
    """How many open runs come before this one: 0 in work or next in line, None once it has ended.

    Where several workers serve a device each, some of them may be for another device and hold nothing up: on which
    devices a run computes is not known here.
    """
    if row.status not in OPEN_STATUSES:
        return None
    if row.status == RunStatus.RUNNING:
        return 0
    earlier = (RunRow.created_at < row.created_at) | (
        (RunRow.created_at == row.created_at) & (RunRow.id < row.id)
    )
    before = select(func.count()).where(
        (RunRow.status == RunStatus.RUNNING) | ((RunRow.status == RunStatus.QUEUED) & earlier)
    )
    return session.scalar(before) or 0


def _waiting(session: Session, owner: str = "") -> int:
    query = select(func.count()).where(RunRow.status == RunStatus.QUEUED)
    return session.scalar(query.where(RunRow.owner == owner) if owner else query) or 0
