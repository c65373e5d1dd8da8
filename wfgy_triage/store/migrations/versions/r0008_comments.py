"""What people say about a session, one after the other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from wfgy_triage.store.models import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "comments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("run_id", sa.String(32), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("who", sa.String(60), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
    )
    op.create_index("ix_comments_run", "comments", ["run_id"])


def downgrade() -> None:
    """Drop the table with what is in it."""
    op.drop_table("comments")
