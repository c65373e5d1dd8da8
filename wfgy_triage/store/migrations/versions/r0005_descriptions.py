"""What people write about a session: a name, notes, tags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; older sessions have nothing in them."""
    with op.batch_alter_table("runs") as batch:
        batch.add_column(sa.Column("title", sa.String(120), nullable=False, server_default=""))
        batch.add_column(sa.Column("note", sa.Text(), nullable=False, server_default=""))
        batch.add_column(sa.Column("tags", sa.String(400), nullable=False, server_default=""))


def downgrade() -> None:
    """Drop them with what is in them."""
    with op.batch_alter_table("runs") as batch:
        for name in ("title", "note", "tags"):
            batch.drop_column(name)
