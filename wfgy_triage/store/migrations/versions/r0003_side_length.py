"""Longer names of sides: a tried change has its id behind `try:`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Widen the column."""
    with op.batch_alter_table("samples") as batch:
        batch.alter_column("side", type_=sa.String(64), existing_type=sa.String(16), existing_nullable=False)


def downgrade() -> None:
    """Make it narrow again; samples with longer names go, since they would not fit."""
    op.execute(sa.text("DELETE FROM samples WHERE length(side) > 16"))
    with op.batch_alter_table("samples") as batch:
        batch.alter_column("side", type_=sa.String(16), existing_type=sa.String(64), existing_nullable=False)
