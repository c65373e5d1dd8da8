"""What Alembic runs: the revisions, on the connection (and inside the transaction) of `store/database.py`."""

from __future__ import annotations

from alembic import context

from wfgy_triage.store.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
