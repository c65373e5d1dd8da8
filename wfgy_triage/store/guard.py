"""What the runtime guard stores and reads: answers, gates that were left, servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select

from wfgy_triage.store.database import Database
from wfgy_triage.store.guard_rows import GuardedAnswerRow, GuardEventRow, GuardServerRow

_PRUNE_STEP = 5_000


@dataclass(frozen=True)
class GuardedAnswer:
    """One answer that passed the guard.

    Attributes:
        at: when it ended.
        model: as the request named it.
        route: `chat` or `completions`.
        kind: what was asked of it: `json`, `citations`, `json+citations`, or `none`.
        verdict: `ok`, `failed`, `unjudged` or `unchecked`.
        failure: class of failure; empty when ok.
        reason: one sentence; without a word of the answer unless texts are kept.
        parse_ok: it is JSON; None when not asked, or cut off.
        schema_ok: and it fits the schema; None as above.
        citation_ok: it cites what was given, and nothing else; None as above.
        fields: share of the fields of its citation records that are filled.
        coverage: share of the target section in it or in what it cites; None is NOT MEASURED.
        grounded: share of its content words in what it cites.
        distance: ΔS of question and passages; None is NOT MEASURED.
        streaming: whether it came as a stream.
        status: HTTP status of the server behind.
        first_byte_ms: from the request to the first byte of the answer.
        total_ms: and to the last.
        prompt_tokens: as the server said.
        completion_tokens: as the server said.
        prompt_chars: length of the prompt.
        answer_chars: length of the answer.
        prompt_sha256: of the prompt.
        policy: the policy that was in force.
        rule: its rule that counted.
        text: the answer, where the policy keeps texts.
    """

    at: datetime
    model: str
    route: str
    kind: str
    verdict: str
    failure: str = ""
    reason: str = ""
    parse_ok: bool | None = None
    schema_ok: bool | None = None
    citation_ok: bool | None = None
    fields: float | None = None
    coverage: float | None = None
    grounded: float | None = None
    distance: float | None = None
    streaming: bool = False
    status: int = 200
    first_byte_ms: float | None = None
    total_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_chars: int = 0
    answer_chars: int = 0
    prompt_sha256: str = ""
    policy: str = "none"
    rule: str = "by-request"
    text: str = ""


@dataclass(frozen=True)
class GuardEvent:
    """A rate whose interval `low` to `high` lay beyond its gate (`left`), or that came back (`returned`)."""

    at: datetime
    gate: str
    change: str
    value: float
    low: float
    high: float
    answers: int


@dataclass(frozen=True)
class GuardServer:
    """A guard that runs, or ran until `seen_at`. `dropped` answers could not be stored."""

    id: str
    address: str
    upstream: str
    mode: str
    policy: str
    started_at: datetime
    seen_at: datetime
    answers: int
    dropped: int
    window_answers: int
    window_minutes: int


_ANSWER = tuple(f.name for f in fields(GuardedAnswer))
_EVENT = tuple(f.name for f in fields(GuardEvent))
_SERVER = tuple(f.name for f in fields(GuardServer))


class GuardRepository:
    """The three tables."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self, answers: Sequence[GuardedAnswer], events: Sequence[GuardEvent], server: GuardServer
    ) -> None:
        """Store a batch, and that its server lives, in one transaction."""
        with self._db.write() as session:
            if answers:
                session.execute(insert(GuardedAnswerRow), [asdict(a) for a in answers])
            if events:
                session.execute(insert(GuardEventRow), [asdict(e) for e in events])
            session.execute(self._db.upsert(GuardServerRow), [asdict(server)])

    def latest(
        self, limit: int, since: datetime | None = None, checked: bool = False
    ) -> tuple[GuardedAnswer, ...]:
        """The newest answers, newest first.

        Args:
            limit: at most so many.
            since: none older.
            checked: only those of which something was asked.
        """
        query = select(GuardedAnswerRow).order_by(GuardedAnswerRow.id.desc()).limit(limit)
        if since is not None:
            query = query.where(GuardedAnswerRow.at >= since)
        if checked:
            query = query.where(GuardedAnswerRow.verdict != "unchecked")
        with self._db.read() as session:
            return tuple(GuardedAnswer(**_values(row, _ANSWER)) for row in session.scalars(query))

    def failures(self, limit: int) -> tuple[GuardedAnswer, ...]:
        """The newest answers that failed, newest first."""
        query = (
            select(GuardedAnswerRow)
            .where(GuardedAnswerRow.verdict == "failed")
            .order_by(GuardedAnswerRow.id.desc())
            .limit(limit)
        )
        with self._db.read() as session:
            return tuple(GuardedAnswer(**_values(row, _ANSWER)) for row in session.scalars(query))

    def events(self, limit: int) -> tuple[GuardEvent, ...]:
        """The newest events, newest first."""
        query = select(GuardEventRow).order_by(GuardEventRow.id.desc()).limit(limit)
        with self._db.read() as session:
            return tuple(GuardEvent(**_values(row, _EVENT)) for row in session.scalars(query))

    def last_change(self, gate: str) -> str | None:
        """What happened to a gate last: `left`, `returned`, or nothing yet."""
        query = (
            select(GuardEventRow.change)
            .where(GuardEventRow.gate == gate)
            .order_by(GuardEventRow.id.desc())
            .limit(1)
        )
        with self._db.read() as session:
            return session.scalar(query)

    def servers(self, limit: int = 20) -> tuple[GuardServer, ...]:
        """The servers, the one that was seen last first."""
        query = select(GuardServerRow).order_by(GuardServerRow.seen_at.desc()).limit(limit)
        with self._db.read() as session:
            return tuple(GuardServer(**_values(row, _SERVER)) for row in session.scalars(query))

    def prune(self, keep: int) -> int:
        """Delete the oldest answers beyond `keep`, in small steps; returns how many went."""
        with self._db.read() as session:
            newest = session.scalar(select(func.max(GuardedAnswerRow.id)))
            oldest = session.scalar(select(func.min(GuardedAnswerRow.id)))
        if newest is None or oldest is None:
            return 0
        gone = 0
        for edge in range(oldest + _PRUNE_STEP, newest - keep + _PRUNE_STEP, _PRUNE_STEP):
            with self._db.write() as session:
                until = min(edge, newest - keep + 1)
                found: Any = session.execute(delete(GuardedAnswerRow).where(GuardedAnswerRow.id < until))
                gone += found.rowcount
        return gone


def _values(row: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}
