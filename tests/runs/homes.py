"""A home folder with real worker processes on the stand-in parts, and the run that nobody disturbed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import sys
from contextlib import closing
from multiprocessing import forkserver

import pytest

from tests.runs import fake_worker
from tests.runs.run_fakes import make_settings, register_pair, spec, wait_for
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import RunStatus
from wfgy_triage.store.runs import RunRepository

QUESTIONS = 8


@pytest.fixture(scope="module")
def processes():
    """Worker processes forked from a server that has everything imported: a start takes milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.runs.fake_worker"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the server does not inherit sys.path itself
        forkserver.ensure_running()
    return context


class Home:
    """A home folder, its store, and at most one worker process."""

    def __init__(self, path, processes, database_url=""):
        self.path = path
        self.settings = make_settings(path, database_url)
        register_pair(self.settings)
        self.database = open_database(self.settings.database_url)
        self.repo = RunRepository(self.database)
        self.arguments = (path, database_url)
        self._processes = processes
        self.worker = None

    def start_worker(self):
        self.worker = self._processes.Process(target=fake_worker.main, args=self.arguments, daemon=True)
        self.worker.start()

    def kill_worker(self, number=signal.SIGKILL):
        os.kill(self.worker.pid, number)
        self.worker.join(30)
        assert self.worker.exitcode is not None

    def ended(self, run_id):
        record = self.repo.get(run_id)
        return record if record.status not in (RunStatus.QUEUED, RunStatus.RUNNING) else None

    def said(self, words):
        """The first line of the workers' logs with these words; empty where there is none."""
        log = self.path / fake_worker.LOG
        lines = log.read_text().splitlines() if log.exists() else []
        return next((line for line in lines if words in line), "")

    def measured(self):
        log = self.path / "measured.log"
        return [tuple(line.split()) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def home(tmp_path, processes):
    home = Home(tmp_path, processes)
    yield home
    if home.worker is not None and home.worker.is_alive():
        home.kill_worker()
    home.database.close()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, processes):
    home = Home(tmp_path_factory.mktemp("uninterrupted"), processes)
    run = home.repo.create(spec(QUESTIONS))
    home.start_worker()
    record = wait_for(lambda: home.ended(run.id))
    home.kill_worker(signal.SIGTERM)
    assert home.worker.exitcode == 0
    samples = home.repo.samples(run.id)
    home.database.close()
    return record, samples


def assert_same(home, record, uninterrupted):
    """Result, samples and log are those of the run that nobody disturbed; the file is sound."""
    whole, samples = uninterrupted
    assert record.status == RunStatus.DONE, record.error_message
    for part in ("state", "metrics", "diagnosis", "charts", "headline", "pair", "workload"):
        assert record.result[part] == whole.result[part]
    assert home.repo.samples(record.id) == samples
    assert [e.seq for e in home.repo.events(record.id)] == list(
        range(1, len(home.repo.events(record.id)) + 1)
    )
    if home.database.engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(home.path / "triage.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
