"""The real worker process on PostgreSQL: killed and resumed, told to stop, and two machines on one queue."""

from __future__ import annotations

import signal

import pytest

from tests.runs.homes import QUESTIONS, Home, assert_same
from tests.runs.run_fakes import spec, wait_for
from wfgy_triage.store.records import RunStatus
from wfgy_triage.store.workers import WorkerRepository

pytestmark = pytest.mark.postgres


@pytest.fixture
def machines(tmp_path_factory, processes, postgres):
    """Two home folders, as on two machines, with one database."""
    name = postgres.new_database()
    homes = [Home(tmp_path_factory.mktemp("machine"), processes, postgres.url(name)) for _ in range(2)]
    yield homes
    for home in homes:
        if home.worker is not None and home.worker.is_alive():
            home.kill_worker()
        home.database.close()
    postgres.drop(name)


def test_a_killed_worker_is_followed_by_one_that_goes_on(machines, uninterrupted):
    home = machines[0]
    run = home.repo.create(spec(QUESTIONS))
    (home.path / "die-after_save").touch()
    home.start_worker()
    home.worker.join(30)
    assert home.worker.exitcode == -signal.SIGKILL
    stored = {(s.key.question, s.key.side) for s in home.repo.samples(run.id)}
    assert stored
    before = len(home.measured())
    home.start_worker()
    assert_same(home, wait_for(lambda: home.ended(run.id)), uninterrupted)
    assert not stored & set(home.measured()[before:])


def test_a_worker_that_is_told_to_stop_puts_its_run_back(machines, uninterrupted):
    home = machines[0]
    run = home.repo.create(spec(QUESTIONS))
    hold = home.path / "hold"
    hold.touch()  # without it a run of seconds could end before this process has seen a second heartbeat
    home.start_worker()
    wait_for(lambda: home.repo.samples(run.id))
    first = home.repo.get(run.id).heartbeat_at
    wait_for(lambda: home.repo.get(run.id).heartbeat_at > first)
    assert WorkerRepository(home.database).alive(within_s=60)
    home.kill_worker(signal.SIGTERM)
    assert home.worker.exitcode == 0
    assert home.repo.get(run.id).status == RunStatus.QUEUED
    assert not WorkerRepository(home.database).alive(within_s=60)
    assert len(home.measured()) == 1
    hold.unlink()
    home.start_worker()
    assert_same(home, wait_for(lambda: home.ended(run.id)), uninterrupted)


def test_two_machines_share_one_queue_and_measure_nothing_twice(machines):
    runs = [machines[0].repo.create(spec(4, pause=0.02)) for _ in range(6)]
    for home in machines:
        home.start_worker()
    for run in runs:
        record = wait_for(lambda run=run: machines[0].ended(run.id))
        assert record.status == RunStatus.DONE, record.error_message
    shares = [len(home.measured()) for home in machines]
    assert sum(shares) == 6 * 4 * 3
    assert all(shares), "both machines took part"
