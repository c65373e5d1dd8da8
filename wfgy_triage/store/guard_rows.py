"""The tables of the runtime guard: answers that it saw, gates that were left, servers that run."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from wfgy_triage.store.models import Base

_ID = BigInteger().with_variant(Integer(), "sqlite")


class GuardedAnswerRow(Base):
    """One answer that passed the guard; `text` is empty unless the policy keeps texts."""

    __tablename__ = "guarded_answers"
    __table_args__ = (Index("ix_guarded_answers_at", "at"),)

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    at: Mapped[datetime]
    model: Mapped[str] = mapped_column(String(128))
    route: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(32))
    verdict: Mapped[str] = mapped_column(String(16))
    failure: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(400))
    parse_ok: Mapped[bool | None]
    schema_ok: Mapped[bool | None]
    citation_ok: Mapped[bool | None]
    fields: Mapped[float | None]
    coverage: Mapped[float | None]
    grounded: Mapped[float | None]
    distance: Mapped[float | None]
    streaming: Mapped[bool]
    status: Mapped[int]
    first_byte_ms: Mapped[float | None]
    total_ms: Mapped[float | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    prompt_chars: Mapped[int]
    answer_chars: Mapped[int]
    prompt_sha256: Mapped[str] = mapped_column(String(64))
    policy: Mapped[str] = mapped_column(String(64))
    rule: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)


class GuardEventRow(Base):
    """A rate that left its gate, or came back."""

    __tablename__ = "guard_events"

    id: Mapped[int] = mapped_column(_ID, primary_key=True)
    at: Mapped[datetime]
    gate: Mapped[str] = mapped_column(String(64))
    change: Mapped[str] = mapped_column(String(16))
    value: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    answers: Mapped[int]


class GuardServerRow(Base):
    """A guard that was running at `seen_at`, and what it lost."""

    __tablename__ = "guard_servers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    address: Mapped[str] = mapped_column(String(128))
    upstream: Mapped[str] = mapped_column(String(128))
    mode: Mapped[str] = mapped_column(String(16))
    policy: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    answers: Mapped[int] = mapped_column(BigInteger)
    dropped: Mapped[int] = mapped_column(BigInteger)
    window_answers: Mapped[int]
    window_minutes: Mapped[int]
