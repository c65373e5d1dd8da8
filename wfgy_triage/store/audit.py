"""The audit trail: who did what, when, to what. Lines are added and read; nothing here changes or removes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select

from wfgy_triage.access import Actor
from wfgy_triage.store.database import Database
from wfgy_triage.store.models import AuditRow
from wfgy_triage.store.rows import now

SIGN_IN, SIGN_IN_FAILED, SIGN_IN_HELD, SIGN_OUT = "sign-in", "sign-in-failed", "sign-in-held", "sign-out"
"""Words for what is no action on a session: signed in, wrong password, too many of them, signed out."""
USER_ADD, USER_ROLE, USER_PASSWORD, USER_REMOVE = "user-add", "user-role", "user-password", "user-remove"
"""Words for what the command line does to the file of people; the target is a name, never a password."""


@dataclass(frozen=True)
class AuditEntry:
    """One line. `target` is mostly the id of a session; `details` hold no text of a question and no secret."""

    at: datetime
    who: str
    role: str
    action: str
    target: str
    details: Mapping[str, Any] = field(default_factory=dict)


def audit_row(actor: Actor, action: str, target: str, details: Mapping[str, Any]) -> AuditRow:
    """The row of a line, for the transaction in which the thing is done."""
    return AuditRow(
        at=now(),
        who=actor.name[:64],
        role=str(actor.role),
        action=str(action),
        target=target[:64],
        details=dict(details),
    )


class AuditRepository:
    """The trail."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self, actor: Actor, action: str, target: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        """Add a line."""
        with self._db.write() as session:
            session.add(audit_row(actor, action, target, details or {}))

    def last(self, limit: int, offset: int = 0) -> tuple[AuditEntry, ...]:
        """The newest lines, newest first."""
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit).offset(offset)
        with self._db.read() as session:
            return tuple(
                AuditEntry(row.at, row.who, row.role, row.action, row.target, dict(row.details))
                for row in session.scalars(query)
            )
