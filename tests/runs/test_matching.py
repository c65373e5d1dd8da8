"""The matcher's process and its client: starting, answering, dying, coming back, never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.conftest import lend_reader
from tests.runs.run_fakes import make_settings, wait_for
from wfgy_triage.demo import reader_folder
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.runs.matching import MATCHER_COMMAND, MatcherClient

FAKE = [sys.executable, "-m", "tests.runs.fake_matcher"]


@pytest.fixture
def make_client(tmp_path):
    made: list[MatcherClient] = []

    def make(*how: str) -> MatcherClient:
        client = MatcherClient(make_settings(tmp_path), [*FAKE, *how])
        made.append(client)
        client.start()
        return client

    yield make
    for client in made:
        client.stop()


@pytest.fixture
def client(make_client) -> Iterator[MatcherClient]:
    client = make_client()
    wait_for(lambda: client.ready)
    return client


def test_answers_are_given_to_who_asked(client):
    texts = ["broken JSON", "stuck in a loop", "hello"] * 20
    with ThreadPoolExecutor(8) as pool:
        answers = [m.symptom for m in pool.map(client.match, texts)]
    assert answers == ["json_breaks", "long_chain", "none"] * 20


def test_until_it_is_ready_the_client_says_so_at_once(make_client):
    with pytest.raises(PrerequisiteError, match="text matcher is starting"):
        make_client("slow").match("broken JSON")


def test_bad_text_never_reaches_the_process(make_client):
    with pytest.raises(InputError, match="no text"):
        make_client("slow").match("  ")


def test_a_killed_matcher_is_replaced(client):
    first = client.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: client.pid not in (None, first) and client.ready)
    assert client.match("broken JSON").symptom == "json_breaks"


def test_who_asked_when_it_died_is_told(client):
    with pytest.raises(PrerequisiteError, match="text matcher is starting"):
        client.match("die")
    wait_for(lambda: client.ready)
    assert client.match("hello").symptom == "none"


def test_one_that_cannot_load_says_why_and_is_not_started_again_and_again(make_client):
    client = make_client("broken")
    pid = client.pid

    def refused() -> bool:
        with pytest.raises(PrerequisiteError) as caught:
            client.match("broken JSON")
        return "not available: the package is missing." in caught.value.message

    wait_for(refused)
    assert client.pid == pid


def test_stop_ends_it(client):
    pid = client.pid
    client.stop()
    assert not psutil.pid_exists(pid)
    with pytest.raises(PrerequisiteError):
        client.match("broken JSON")


def test_killing_the_web_process_ends_its_matcher(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.runs.run_fakes import make_settings\n"
        "from wfgy_triage.runs.matching import MatcherClient\n"
        f"client = MatcherClient(make_settings(Path({str(tmp_path)!r})), {FAKE!r})\n"
        "client.start()\n"
        "while not client.ready: time.sleep(0.05)\n"
        "print(client.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    web = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert web.stdout is not None
    matcher = psutil.Process(int(web.stdout.readline()))
    web.kill()
    web.wait()
    web.stdout.close()
    _, alive = psutil.wait_procs([matcher], timeout=30)
    assert not alive


def test_the_real_process_waits_for_its_model_and_answers_as_the_command_line_would(tmp_path, demo_settings):
    client = MatcherClient(make_settings(tmp_path), MATCHER_COMMAND)
    client.start()
    try:
        wait_for(lambda: "not there yet" in said_by(client), seconds=60)
        damaged = reader_folder(make_settings(tmp_path))
        damaged.mkdir(parents=True)
        (damaged / "config.json").write_text("{")
        wait_for(lambda: "cannot be loaded" in said_by(client), seconds=60)
        shutil.rmtree(damaged)
        lend_reader(tmp_path, demo_settings)
        wait_for(lambda: client.ready, seconds=120)
        assert client.match("after quantizing, my tool calls stop parsing").symptom == "json_breaks"
        assert client.match("what is the weather tomorrow").offered == ()
    finally:
        client.stop()


def said_by(client):
    try:
        client.match("it breaks")
    except PrerequisiteError as error:
        return error.message
    return ""
