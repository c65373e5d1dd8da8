"""A worker process as an installation starts it: it writes JSON lines, and deletes what is older than it may be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta

from sqlalchemy import update

from tests.runs.run_fakes import spec, wait_for
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.store.models import EventRow, RunRow
from wfgy_triage.store.records import RunStatus
from wfgy_triage.store.rows import now


def test_it_tidies_up_measures_and_logs_lines_without_texts(settings, database, repo):
    old = repo.create(spec(), worker_id="w.1")
    repo.finish(old.id, "w.1", RunStatus.FAILED)
    with database.write() as session:
        moment = now() - timedelta(days=9)
        session.execute(update(RunRow).values(created_at=moment))
        session.execute(update(EventRow).values(at=moment))
    run = repo.create(spec(2, crash_at=1))  # a fault whose message is "secret detail"
    variables = {"WFGY_TRIAGE_KEEP_DAYS": "7", "WFGY_TRIAGE_LOG": "json", "PYTHONPATH": str(REPO_ROOT)}
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.runs.fake_worker", str(settings.home)],
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: repo.get(run.id).status == RunStatus.FAILED)
    worker.send_signal(signal.SIGTERM)
    _, told = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert [r.id for r in repo.list()] == [run.id]
    lines = [json.loads(line) for line in told.splitlines()]
    assert {line["process"] for line in lines} == {"worker"}
    assert any("1 sessions, 0 cached answers" in line["message"] for line in lines)
    statuses = [line["status"] for line in lines if line.get("event") == "status"]
    assert statuses == ["running", "failed"]
    (fault,) = (line for line in lines if "error" in line)
    assert (fault["run"], "ZeroDivisionError" in fault["error"]) == (run.id, True)
    assert "secret detail" not in told
