"""docs/programs.md: its Python runs as it stands, against a served app."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml
from typer.testing import CliRunner

from tests.browser.scripted import ScriptedWorker
from tests.programs.conftest import Door
from wfgy_triage.cli import app
from wfgy_triage.result import State
from wfgy_triage.runs.tokens import TokenList
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.store.records import RunStatus
from wfgy_triage.ui.programs.calls import CALLS

GUIDE = (REPO_ROOT / "docs" / "programs.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


@contextmanager
def measuring(worker: ScriptedWorker) -> Iterator[None]:
    """Whatever is queued meanwhile is measured and fails."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.05):
            for run in worker.runs.list(status=RunStatus.QUEUED):
                worker.lease(run.id)
                worker.answers(run.id, 20, ("fp16", "exl2"))
                worker.finish(run.id, State.FAIL)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("number", range(3))
def test_the_examples_run(door: Door, worker: ScriptedWorker, number: int):
    given = f"URL, TOKEN, POLL_SECONDS = {door.served.url!r}, {door.operator!r}, 0.05\n"
    code = given + blocks("python")[number]
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    with measuring(worker):
        ran = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr[-2000:]
    said = ran.stdout
    expected = (
        ["FAIL EXL2 breaks the schema"],
        ["['demo', 'second', 'untried', 'later']"],
        ["'start_probe'", "FAIL"],
    )[number]
    assert all(words in said for words in expected), said


def test_no_example_is_left_out():
    assert len(blocks("python")) == 3


def test_the_table_of_calls_is_that_of_the_program():
    named = re.findall(r"^\| `(\w+)\((.*?)\)` \|", GUIDE, re.MULTILINE)
    assert [name for name, _ in named] == [m.__name__ for m in CALLS]
    for (_, told), method in zip(named, CALLS, strict=True):
        parameters = [p for p in inspect.signature(method).parameters if p != "self"]
        assert [p.partition("=")[0].strip() for p in told.split(",") if p] == parameters


def test_the_command_makes_an_entry_that_is_valid():
    ran = CliRunner().invoke(app, ["token", "ci", "--role", "operator"])
    assert ran.exit_code == 0
    token = re.search(r"wfgy_[\w-]+", ran.stderr)
    assert token is not None
    assert token.group() not in ran.stdout
    found = TokenList(ran.stdout).find(token.group())
    assert found is not None
    assert (found.name, found.role) == ("ci", "operator")


def test_the_configuration_of_an_agent_is_json():
    for block in blocks("json"):
        assert yaml.safe_load(block)["mcpServers"]["wfgy-triage"]["url"].endswith("/api/mcp")
