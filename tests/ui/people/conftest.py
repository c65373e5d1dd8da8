"""Fixtures: a team for all tests of a file, one for a single test, and signed-in browsers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.browser.scripted import ScriptedWorker
from tests.ui.people.desk import Browser, Desk, served, signed_in
from wfgy_triage.settings import Settings, load_settings


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One application for all tests that leave nothing behind for the others."""
    home = tmp_path_factory.mktemp("shared")
    settings = load_settings(
        home=home, pairs_file=home / "pairs.yaml", database_url=f"sqlite:///{home / 'triage.db'}"
    )
    with served(settings) as desk:
        yield desk


@pytest.fixture
def worker(shared: Desk) -> ScriptedWorker:
    shared.worker.end_everything()
    return shared.worker


@pytest.fixture
def alone(settings: Settings) -> Iterator[Desk]:
    """An application for one test."""
    with served(settings) as desk:
        yield desk


@pytest.fixture
def browser(shared: Desk) -> Callable[..., Browser]:
    """Gives a browser that is signed in; without an actor one that is not."""
    return lambda actor=None: signed_in(shared.app, actor) if actor else Browser(shared.app)
