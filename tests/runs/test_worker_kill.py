"""kill -9 at every kind of moment: the next worker goes on, nothing is lost, repeated or doubled."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import sys
from contextlib import closing
from multiprocessing import forkserver

import pytest

from tests.runs import fake_worker
from tests.runs.run_fakes import SIDES, make_settings, register_pair, spec, wait_for
from wfgy_triage.store.database import open_database
from wfgy_triage.store.leases import MAX_BARREN_LEASES
from wfgy_triage.store.records import RunStatus
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.store.workers import WorkerRepository

QUESTIONS = 8
POINTS = ("load", "checks", "before_save", "after_save", "evaluate")


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


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(point, home, uninterrupted):
    run = home.repo.create(spec(QUESTIONS))
    (home.path / f"die-{point}").touch()
    home.start_worker()
    home.worker.join(30)
    assert home.worker.exitcode == -signal.SIGKILL
    assert home.repo.get(run.id).status == RunStatus.RUNNING
    stored = {(s.key.question, s.key.side) for s in home.repo.samples(run.id)}
    measured_before = len(home.measured())
    home.start_worker()
    assert_same(home, wait_for(lambda: home.ended(run.id)), uninterrupted)
    assert not stored & set(home.measured()[measured_before:])


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again_at_random_moments(seed, home, uninterrupted):
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    run = home.repo.create(spec(QUESTIONS, pause=0.02))
    kills = 0
    for _ in range(8):
        stored = {(s.key.question, s.key.side) for s in home.repo.samples(run.id)}
        assert len(stored) == len(home.repo.samples(run.id))
        if len(stored) + 4 > QUESTIONS * len(SIDES):
            break  # a slow machine got further between two kills; there is no question left to be killed at
        begun = len(home.measured())
        target = len(stored) + chance.choice([0, 1, 1, 2, 3])
        home.start_worker()
        wait_for(lambda target=target: len(home.repo.done_keys(run.id)) >= target)
        wait_for(lambda: chance.random() < 0.3)
        home.kill_worker()
        kills += 1
        assert not stored & set(home.measured()[begun:]), "a stored question was measured again"
    assert kills >= 3
    home.start_worker()
    record = wait_for(lambda: home.ended(run.id))
    assert_same(home, record, uninterrupted)


def test_a_run_that_always_kills_its_worker_is_given_up_and_the_next_one_is_served(home):
    deadly = home.repo.create(spec(QUESTIONS))
    for _ in range(MAX_BARREN_LEASES):
        (home.path / "die-load").touch()
        home.start_worker()
        home.worker.join(30)
        assert home.worker.exitcode == -signal.SIGKILL
    healthy = home.repo.create(spec(QUESTIONS))
    home.start_worker()
    assert wait_for(lambda: home.ended(healthy.id)).status == RunStatus.DONE
    given_up = home.repo.get(deadly.id)
    assert given_up.status == RunStatus.FAILED
    assert f"died {MAX_BARREN_LEASES} times" in given_up.error_message


def test_sigterm_puts_the_run_back_and_ends_in_order(home, uninterrupted):
    run = home.repo.create(spec(QUESTIONS, pause=0.05))
    home.start_worker()
    wait_for(lambda: home.repo.samples(run.id))
    assert WorkerRepository(home.database).alive(within_s=60)
    home.kill_worker(signal.SIGTERM)
    assert home.worker.exitcode == 0
    assert home.repo.get(run.id).status == RunStatus.QUEUED
    assert not WorkerRepository(home.database).alive(within_s=60)
    home.start_worker()
    assert_same(home, wait_for(lambda: home.ended(run.id)), uninterrupted)


def test_runs_are_served_in_order_and_a_second_worker_stands_by(home, processes):
    runs = [home.repo.create(spec(2)) for _ in range(3)]
    home.start_worker()
    second = processes.Process(target=fake_worker.main, args=(home.path,), daemon=True)
    second.start()
    records = [wait_for(lambda run=run: home.ended(run.id)) for run in runs]
    starts = [record.started_at for record in records]
    assert starts == sorted(starts)
    assert all(a.finished_at <= b.started_at for a, b in zip(records, records[1:], strict=False))
    home.kill_worker()
    taken_over = home.repo.create(spec(2))
    assert wait_for(lambda: home.ended(taken_over.id)).status == RunStatus.DONE
    second.terminate()
    second.join(30)
    assert second.exitcode == 0
