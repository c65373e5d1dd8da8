"""Two processes with several threads each on one database: exclusive leases, nothing lost, nothing twice."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.store.store_hammer import THREADS, WRITES
from wfgy_triage.store.records import RunSpec, RunStatus

PROCESSES = 2


def hammer(job, url, run_id=""):
    """Run the processes at the same time and return the lines they print."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.store.store_hammer", job, url, f"p{number}", run_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    ended = [process.communicate("x") for process in started]
    assert [errors for _, errors in ended] == [""] * PROCESSES
    return [line for output, _ in ended for line in output.split()]


def test_every_run_is_leased_by_exactly_one_worker(url, repo):
    runs = [repo.create(RunSpec("json_breaks", "demo")).id for _ in range(40)]
    leased = hammer("lease", url)
    assert sorted(leased) == sorted(runs)
    assert repo.count(status=RunStatus.RUNNING) == 40
    statuses = [e.payload["status"] for run in runs for e in repo.events(run) if e.kind == "status"]
    assert statuses == ["queued", "running"] * 40


def test_concurrent_writers_lose_nothing_and_double_nothing(url, repo):
    run = repo.create(RunSpec("json_breaks", "demo"))
    new = hammer("write", url, run.id)
    assert sum(int(n) for n in new) == WRITES
    assert len(repo.samples(run.id)) == len(repo.done_keys(run.id)) == WRITES
    notes = [e for e in repo.events(run.id) if e.kind == "note"]
    writers = {f"p{p}.{t}" for p in range(PROCESSES) for t in range(THREADS)}
    for writer in writers:
        assert [e.payload["i"] for e in notes if e.payload["writer"] == writer] == list(range(WRITES))
    assert [e.seq for e in repo.events(run.id)] == list(range(1, 2 + len(notes)))
