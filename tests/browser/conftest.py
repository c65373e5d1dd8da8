"""A served app and a browser. Every test also checks that the page asks no other machine for anything."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.folders import write_pair_folders
from tests.browser.scripted import ScriptedWorker
from wfgy_triage.pairs import Pair, register_pairs
from wfgy_triage.settings import REPO_ROOT, Settings, load_settings

# A slow machine is no failure; what is expected has to come all the same.
expect.set_options(timeout=20_000)

NOTE = "The FP16 side of this pair is a test file; its numbers mean nothing."


@dataclass(frozen=True)
class Served:
    """The running app and the home it works on."""

    url: str
    settings: Settings

    def run_url(self, run_id: str) -> str:
        return f"{self.url}/?run={run_id}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    """The system's Chromium where there is one (`CHROMIUM` names another), else Playwright's own."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return {
        **browser_type_launch_args,
        **({"executable_path": found} if found else {}),
        "args": ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
    }


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    return {**browser_context_args, "viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}


@pytest.fixture(autouse=True)
def no_outside_requests(context: BrowserContext) -> Iterator[None]:
    """Fail the test when the page asks any host but the served one."""
    asked: list[str] = []

    def refuse(route):
        asked.append(route.request.url)
        route.abort()

    context.route(lambda url: not url.startswith(("http://127.0.0.1", "data:", "blob:")), refuse)
    yield
    assert asked == []


@pytest.fixture(autouse=True)
def no_script_errors(page: Page) -> Iterator[None]:
    """Fail the test when a script of the page throws."""
    thrown: list[str] = []
    page.on("pageerror", lambda error: thrown.append(str(error)))
    yield
    assert thrown == []


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def worker(served: Served) -> Iterator[ScriptedWorker]:
    scripted = ScriptedWorker(served.settings)
    scripted.alive()
    yield scripted
    scripted.end_everything()
    scripted.database.close()


@contextmanager
def serve(home: Path, **variables: str) -> Iterator[Served]:
    """The app in a process of its own, on a home folder, with more environment variables."""
    settings = load_settings(
        home=home, pairs_file=home / "pairs.yaml", database_url=f"sqlite:///{home / 'triage.db'}"
    )
    write_default_pairs(settings)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(REPO_ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
        "WFGY_TRIAGE_HOME": str(home),
        "WFGY_TRIAGE_PAIRS": str(settings.pairs_file),
        "DATABASE_URL": settings.database_url,
        "GRADIO_TEMP_DIR": str(home / "gradio"),
        **variables,
    }
    log = (home / "serve.log").open("wb")
    script = Path(__file__).with_name("serve.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(port)], env=environment, stdout=log, stderr=log
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(url, process, home / "serve.log")
        yield Served(url, settings)
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def write_default_pairs(settings: Settings) -> None:
    """Three pairs that are ready, the last with a FP16 folder of its own; one whose EXL2 folder is not there yet."""
    fp16, exl2 = write_pair_folders(settings.home)
    own = shutil.copytree(fp16, fp16.with_name("fp16-own"), dirs_exist_ok=True)
    missing = settings.home / "models" / "not-yet"
    register_pairs(
        settings,
        [
            Pair("demo", "Test pair, EXL2 4.2 bpw", fp16, exl2, NOTE),
            Pair("second", "Another pair", fp16, exl2),
            Pair("untried", "A pair without runs", own, exl2),
            Pair("later", "A pair in preparation", fp16, missing, NOTE),
        ],
    )


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2):  # noqa: S310 - our own address
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the app did not come up:\n{log.read_text()}")
