"""A home with the stand-in pair registered, and its store."""

import pytest

from tests.runs.run_fakes import make_settings, register_pair
from wfgy_triage.store.database import open_database
from wfgy_triage.store.runs import RunRepository


@pytest.fixture
def settings(tmp_path):
    settings = make_settings(tmp_path)
    register_pair(settings)
    return settings


@pytest.fixture
def database(settings):
    database = open_database(settings.database_url)
    yield database
    database.close()


@pytest.fixture
def repo(database):
    return RunRepository(database)
