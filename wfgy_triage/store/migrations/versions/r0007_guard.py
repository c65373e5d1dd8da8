"""The runtime guard: answers, gates that were left, servers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from wfgy_triage.store.models import UtcDateTime

revision = "0007"
down_revision = "0006"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "guarded_answers",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("route", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("failure", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(400), nullable=False),
        sa.Column("parse_ok", sa.Boolean()),
        sa.Column("schema_ok", sa.Boolean()),
        sa.Column("citation_ok", sa.Boolean()),
        sa.Column("fields", sa.Double()),
        sa.Column("coverage", sa.Double()),
        sa.Column("grounded", sa.Double()),
        sa.Column("distance", sa.Double()),
        sa.Column("streaming", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("first_byte_ms", sa.Double()),
        sa.Column("total_ms", sa.Double()),
        sa.Column("prompt_tokens", sa.Integer()),
        sa.Column("completion_tokens", sa.Integer()),
        sa.Column("prompt_chars", sa.Integer(), nullable=False),
        sa.Column("answer_chars", sa.Integer(), nullable=False),
        sa.Column("prompt_sha256", sa.String(64), nullable=False),
        sa.Column("policy", sa.String(64), nullable=False),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
    )
    op.create_index("ix_guarded_answers_at", "guarded_answers", ["at"])
    op.create_table(
        "guard_events",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("gate", sa.String(64), nullable=False),
        sa.Column("change", sa.String(16), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
    )
    op.create_table(
        "guard_servers",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("address", sa.String(128), nullable=False),
        sa.Column("upstream", sa.String(128), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("policy", sa.String(64), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("answers", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("window_answers", sa.Integer(), nullable=False),
        sa.Column("window_minutes", sa.Integer(), nullable=False),
    )


def downgrade() -> None:
    """Drop them with what is in them."""
    op.drop_table("guard_servers")
    op.drop_table("guard_events")
    op.drop_table("guarded_answers")
