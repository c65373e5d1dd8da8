"""Read-only links to sessions: the hash of the token, until when, and what they leave out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from wfgy_triage.store.models import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "shares",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("run_id", sa.String(32), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("redacted", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
    )
    op.create_index("ix_shares_run", "shares", ["run_id"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("shares")
