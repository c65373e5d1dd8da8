"""A home with the stand-in pair registered, and its store."""

import pytest

from tests.runs.homes import home, processes, uninterrupted  # noqa: F401 - fixtures
from tests.runs.run_fakes import SYMPTOM, make_settings, register_pair
from wfgy_triage import options
from wfgy_triage.store.database import open_database
from wfgy_triage.store.runs import RunRepository


@pytest.fixture(autouse=True)
def knobs_of_the_scripted_probe(monkeypatch):
    """What the scripted probe can be told counts as settings of its symptom; their values are not checked."""
    known = options.load_options()
    knobs = [options.Option(SYMPTOM, n, n, n, file=True) for n in ("pause", "fail_at", "crash_at")]
    monkeypatch.setattr(options, "load_options", lambda: (*known, *knobs))


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
