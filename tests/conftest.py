"""Fixtures that every part shares: a private home for each test, and the demo pair, built once."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from tests.commands import Here
from tests.databases import postgres  # noqa: F401 - one server for all test folders
from wfgy_triage.demo import reader_folder
from wfgy_triage.settings import Settings, load_settings

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
# An idle worker would compute beside the tests; those of `runs/ahead.py` call it themselves.
os.environ["WFGY_TRIAGE_AHEAD"] = "0"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Two test processes on two cores: more threads would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the browser tests, or those on PostgreSQL, out only where the user asked for it."""
    for variable, marker in (("WFGY_TRIAGE_NO_BROWSER", "browser"), ("WFGY_TRIAGE_NO_POSTGRES", "postgres")):
        if os.environ.get(variable) == "1":
            kept = [i for i in items if not i.get_closest_marker(marker)]
            config.hook.pytest_deselected(items=[i for i in items if i.get_closest_marker(marker)])
            items[:] = kept


def pytest_collection_finish() -> None:
    """Let the garbage collector forget what the imports left: engines collect when they close, thousands of times."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose home is the test's own folder."""
    home = tmp_path / "home"
    return load_settings(
        home=home, pairs_file=home / "pairs.yaml", database_url=f"sqlite:///{home / 'triage.db'}"
    )


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Give commands in this process."""
    return Here(monkeypatch, capsys)


@pytest.fixture(scope="session")
def demo_settings() -> Settings:
    """The user's own home with the demo pair in it; prepared on first use and kept between test runs."""
    from wfgy_triage.demo import prepare_demo

    settings = load_settings()
    prepare_demo(settings, lambda step, share: None)
    return settings


@pytest.fixture(scope="session")
def demo_pair(demo_settings: Settings) -> dict[str, Path]:
    """Folders of the demo models: `fp16`, `demo`, `demo-6bpw`, `demo-3bpw`."""
    from wfgy_triage.demo import SIBLINGS, exl2_folder, fp16_folder

    folders = {s.pair_id: exl2_folder(demo_settings, s) for s in SIBLINGS}
    return {"fp16": fp16_folder(demo_settings), **folders}


def lend_reader(home: Path, owner: Settings) -> None:
    """Let a home of a test have the model of another one that the matcher reads with."""
    place = reader_folder(load_settings(home=home))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(reader_folder(owner), target_is_directory=True)
