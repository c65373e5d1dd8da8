"""The worker as a child process: started, restarted, ended, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.runs.run_fakes import SIDES, make_settings, spec, wait_for
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.runs.supervisor import WorkerSupervisor
from wfgy_triage.store.records import RunStatus


@pytest.fixture
def supervisor(settings):
    supervisor = WorkerSupervisor(
        settings, [sys.executable, "-m", "tests.runs.fake_worker", str(settings.home)]
    )
    supervisor.start()
    yield supervisor
    supervisor.stop()


def done(repo, run_id):
    return repo.get(run_id).status == RunStatus.DONE


def test_a_killed_worker_is_replaced_and_the_run_goes_on(supervisor, repo):
    run = repo.create(spec(4, pause=0.05))
    wait_for(lambda: repo.samples(run.id))
    first = supervisor.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: done(repo, run.id))
    assert supervisor.pid != first
    assert len(repo.samples(run.id)) == 4 * len(SIDES)
    assert "run" in supervisor.log_file.read_text()


def test_stop_ends_the_worker_and_leaves_its_run_in_the_queue(supervisor, repo):
    run = repo.create(spec(100, pause=0.05))
    wait_for(lambda: repo.samples(run.id))
    pid = supervisor.pid
    supervisor.stop()
    assert supervisor.pid is None
    assert not psutil.pid_exists(pid)
    assert repo.get(run.id).status == RunStatus.QUEUED


def test_killing_the_web_process_ends_its_worker_and_the_next_one_resumes(settings, repo):
    run = repo.create(spec(6, pause=0.2))
    command = [sys.executable, "-m", "tests.runs.fake_web", str(settings.home)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    web = subprocess.Popen(command, env=environment)
    wait_for(lambda: repo.samples(run.id))
    workers = psutil.Process(web.pid).children()
    assert len(workers) == 1
    web.kill()
    web.wait()
    gone, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    kept = repo.samples(run.id)
    assert repo.get(run.id).status in (RunStatus.QUEUED, RunStatus.RUNNING)
    web = subprocess.Popen(command, env=environment)
    try:
        wait_for(lambda: done(repo, run.id))
    finally:
        workers = psutil.Process(web.pid).children()
        web.kill()
        web.wait()
        psutil.wait_procs(workers, timeout=30)
    assert repo.samples(run.id)[: len(kept)] == kept
    assert len(repo.samples(run.id)) == 6 * len(SIDES)


def test_a_home_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PrerequisiteError, match="could not be started") as caught:
        WorkerSupervisor(make_settings(tmp_path / "file" / "home")).start()
    assert "WFGY_TRIAGE_HOME" in caught.value.hint
