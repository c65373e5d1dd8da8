"""The tables. Rows never leave `store/`; the repositories hand out the records of `records.py`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A moment. Timezone-aware on the way in and out, UTC in the database (SQLite keeps no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; SQLite gets it without the zone, so that stored moments sort as text."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Put the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class PlainText(TypeDecorator[str]):
    """Text that people or models wrote. PostgreSQL holds no NUL, no database a lone surrogate: both become U+FFFD."""

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length
        sized: String = Text() if length is None else String(length)
        self.impl = sized  # type: ignore[assignment] # declared as the class, used as an instance

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what cannot be stored; also in what is looked for."""
        return None if value is None else storable(value)


def storable(text: str) -> str:
    """A text as every database can hold it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", "\ufffd")


class Base(DeclarativeBase):
    """Registry of the tables."""

    type_annotation_map = {
        Mapping[str, Any]: JSON(none_as_null=True),
        datetime: UtcDateTime(),
    }


class RunRow(Base):
    """A run: what was asked, who works on it, how it ended.

    `worker_id` and `heartbeat_at` are the lease. `barren_leases` counts leases since the last stored sample,
    so that a run that kills its worker every time is given up. A `start_key` makes a double click one run.
    `timings` are seconds by stage, summed over every pass of a resumed run.
    """

    __tablename__ = "runs"
    __table_args__ = (Index("ix_runs_queue", "status", "created_at"), Index("ix_runs_created", "created_at"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    symptom: Mapped[str] = mapped_column(String(64))
    pair_id: Mapped[str] = mapped_column(String(64))
    questions: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    workload_id: Mapped[str] = mapped_column(String(128))
    options: Mapped[Mapping[str, Any]]
    status: Mapped[str] = mapped_column(String(16))
    state: Mapped[str | None] = mapped_column(String(16))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool]
    worker_id: Mapped[str | None] = mapped_column(String(128))
    barren_leases: Mapped[int]
    start_key: Mapped[str | None] = mapped_column(String(64), unique=True)
    timings: Mapped[Mapping[str, Any]]
    # Charts make results large; lists leave them in the database.
    result: Mapped[Mapping[str, Any] | None] = mapped_column(deferred=True, deferred_raiseload=True)
    error_message: Mapped[str] = mapped_column(PlainText)
    error_hint: Mapped[str] = mapped_column(PlainText)
    title: Mapped[str] = mapped_column(PlainText(120), default="", server_default="")
    note: Mapped[str] = mapped_column(PlainText, default="", server_default="")
    tags: Mapped[str] = mapped_column(String(400), default="", server_default="")
    owner: Mapped[str] = mapped_column(String(64), default="", server_default="")


class EventRow(Base):
    """One line of a run's log."""

    __tablename__ = "events"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(16))
    payload: Mapped[Mapping[str, Any]]


class SampleRow(Base):
    """One finished measurement; the unique key makes a resumed run unable to store it twice."""

    __tablename__ = "samples"
    __table_args__ = (
        UniqueConstraint("run_id", "probe", "question", "paraphrase", "seed", "side", name="uq_samples_key"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    probe: Mapped[str] = mapped_column(String(64))
    question: Mapped[str] = mapped_column(PlainText(255))
    paraphrase: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    side: Mapped[str] = mapped_column(String(64))
    payload: Mapped[Mapping[str, Any]]


class WorkerRow(Base):
    """A worker process that was alive at `seen_at`, and the pair whose models it keeps loaded."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    seen_at: Mapped[datetime]
    pair_id: Mapped[str | None] = mapped_column(String(64))


class CachedAnswerRow(Base):
    """An answer or a comparison of an FP16 model, kept for later runs; no run owns it.

    `key` is a SHA-256 over everything the numbers depend on. `body` is JSON, read with care: as text, so that a
    damaged row spoils no other.
    """

    __tablename__ = "cached_answers"
    __table_args__ = (Index("ix_cached_answers_used", "used_at"),)

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    used_at: Mapped[datetime]


class ShareRow(Base):
    """A read-only link to a run. Only the SHA-256 of its token is here: a copy of the database opens nothing."""

    __tablename__ = "shares"
    __table_args__ = (Index("ix_shares_run", "run_id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    redacted: Mapped[bool]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    made_by: Mapped[str] = mapped_column(String(64), default="", server_default="")


class AuditRow(Base):
    """One thing that somebody did; only ever added. It outlives what it names, so it refers to nothing."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_at", "at"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(32))
    target: Mapped[str] = mapped_column(String(64))
    details: Mapped[Mapping[str, Any]]


class SignInRow(Base):
    """A browser that is signed in. Only the SHA-256 of its token is here; `stamp` changes with the password."""

    __tablename__ = "sign_ins"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    stamp: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime]


class FailedSignInRow(Base):
    """A wrong password, kept until it no longer counts. `key` is a hash: a password typed as a name is in no row."""

    __tablename__ = "failed_sign_ins"
    __table_args__ = (Index("ix_failed_sign_ins_address", "address"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    at: Mapped[datetime]
    key: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))


class CommentRow(Base):
    """What somebody said about a run; rows are added and never changed."""

    __tablename__ = "comments"
    __table_args__ = (Index("ix_comments_run", "run_id"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    who: Mapped[str] = mapped_column(String(60))
    at: Mapped[datetime]
    text: Mapped[str] = mapped_column(Text)
