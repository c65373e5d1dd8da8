"""The served page as a process: what it leaves behind when it is told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing

import psutil
import pytest

from tests.runs.run_fakes import make_settings, wait_for
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.store.database import open_database
from wfgy_triage.store.workers import WorkerRepository

TOLD_TO_END = 128 + signal.SIGTERM


@pytest.fixture
def served(tmp_path):
    """The application with its children, of which one prepares the demo for a minute; its words go to `said`."""
    code = (
        "import sys; from pathlib import Path; from wfgy_triage.ui import serving; "
        "from tests.runs.run_fakes import make_settings; "
        "serving.DEMO_COMMAND = (sys.executable, '-c', 'import time; time.sleep(60)'); "
        "serving.serve_forever(make_settings(Path(sys.argv[1])))"
    )
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=REPO_ROOT,
            env={**os.environ, "WFGY_TRIAGE_AHEAD": "0"},
            stderr=said,
        )
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def test_sigterm_ends_the_children_too_and_takes_the_worker_off_the_list(served, tmp_path):
    wait_for(lambda: "is at http://localhost:" in (tmp_path / "said").read_text(), 120)
    with closing(open_database(make_settings(tmp_path).database_url)) as database:
        workers = WorkerRepository(database)
        wait_for(lambda: workers.alive(60), 120)
        children = psutil.Process(served.pid).children(recursive=True)
        assert len(children) == 3, "worker, matcher, demo"
        served.send_signal(signal.SIGTERM)
        assert served.wait(60) == TOLD_TO_END
        assert not [child for child in children if child.is_running()]
        assert not workers.alive(60)
