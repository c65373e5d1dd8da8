"""kill -9 at every kind of moment: the next worker goes on, nothing is lost, repeated or doubled."""

from __future__ import annotations

import random
import signal

import pytest

from tests.runs import fake_worker
from tests.runs.homes import QUESTIONS, assert_same
from tests.runs.run_fakes import SIDES, spec, wait_for
from wfgy_triage.store.leases import MAX_BARREN_LEASES
from wfgy_triage.store.records import RunStatus
from wfgy_triage.store.workers import WorkerRepository

POINTS = ("load", "checks", "before_save", "after_save", "evaluate")


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
