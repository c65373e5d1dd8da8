"""Every test of the store runs on SQLite and on PostgreSQL, from the same fixtures."""

import pytest

from tests.databases import database, database_kind, make_url, url  # noqa: F401
from wfgy_triage.store.database import Database
from wfgy_triage.store.runs import RunRepository


@pytest.fixture
def repo(database: Database) -> RunRepository:  # noqa: F811
    return RunRepository(database)
