"""Who started a session and made a link; what people did; who is signed in, and wrong passwords."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from wfgy_triage.store.models import UtcDateTime

revision = "0006"
down_revision = "0005"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the columns and the tables; of older sessions nobody knows who started them."""
    with op.batch_alter_table("runs") as batch:
        batch.add_column(sa.Column("owner", sa.String(64), nullable=False, server_default=""))
    with op.batch_alter_table("shares") as batch:
        batch.add_column(sa.Column("made_by", sa.String(64), nullable=False, server_default=""))
    op.create_table(
        "audit",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("target", sa.String(64), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_table(
        "sign_ins",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("stamp", sa.String(64), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
    )
    op.create_table(
        "failed_sign_ins",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
    )
    op.create_index("ix_failed_sign_ins_address", "failed_sign_ins", ["address"])


def downgrade() -> None:
    """Drop them with what is in them."""
    for table in ("failed_sign_ins", "sign_ins", "audit"):
        op.drop_table(table)
    with op.batch_alter_table("shares") as batch:
        batch.drop_column("made_by")
    with op.batch_alter_table("runs") as batch:
        batch.drop_column("owner")
