"""Alembic revisions of the session database; `store/database.py` runs them at every start."""
