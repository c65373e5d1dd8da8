"""A database that is locked, a disk that is full, a clock that jumps, during a run: nothing is lost or doubled."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing

import pytest

from tests.runs import fake_worker
from tests.runs.homes import QUESTIONS, assert_same
from tests.runs.run_fakes import SIDES, spec, wait_for
from wfgy_triage.store.records import RunStatus

HOURS = 3600
MANY = 60


def begun(home, at_least=2):
    """The id of a run that a worker has stored some samples of."""
    run = home.repo.create(spec(QUESTIONS, pause=0.05))
    home.start_worker()
    wait_for(lambda: len(home.repo.done_keys(run.id)) >= at_least)
    return run.id


def hold_the_lock(home, seconds):
    """Another program writes to the file all the while."""
    with closing(sqlite3.connect(home.path / "triage.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        stored = other.execute("SELECT count(*) FROM samples").fetchone()[0]
        other.execute("ROLLBACK")
    return stored


def test_a_database_that_is_locked_for_a_while_is_waited_for(home, uninterrupted):
    run_id = begun(home)
    stored = hold_the_lock(home, 1.5)
    assert stored < QUESTIONS * len(SIDES)
    assert_same(home, wait_for(lambda: home.ended(run_id)), uninterrupted)


def test_a_database_that_stays_locked_is_tried_again_until_it_opens(home, uninterrupted):
    (home.path / "patience").write_text("0.1")
    run_id = begun(home)
    hold_the_lock(home, 1.5)
    # The worker could not even store that it failed; it comes back to the run by itself.
    record = wait_for(lambda: home.ended(run_id), 60)
    if record.status == RunStatus.FAILED:
        assert "locked for too long" in record.error_message
        home.repo.requeue(run_id)
        record = wait_for(lambda: home.ended(run_id))
    assert_same(home, record, uninterrupted)


def test_a_full_disk_keeps_what_was_stored_and_the_run_goes_on_once_there_is_room(home):
    whole = home.repo.create(spec(MANY))
    home.start_worker()
    undisturbed = wait_for(lambda: home.ended(whole.id)), home.repo.samples(whole.id)
    home.kill_worker(signal.SIGTERM)

    with closing(sqlite3.connect(home.path / "triage.db")) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    full = home.path / "disk"
    full.write_text(str(pages + 2))
    run = home.repo.create(spec(MANY))
    home.start_worker()
    said = wait_for(lambda: home.said("is full"), 60)
    assert run.id in said
    assert "Everything stored before is kept" in said
    # Whether there is room for the failure itself is chance. Where there is none, the worker tries again and again.
    wait_for(lambda: home.ended(run.id) or home.said("trying again"))
    home.kill_worker(signal.SIGKILL)
    record = home.repo.get(run.id)
    if record.status == RunStatus.FAILED:
        assert "is full" in record.error_message
        assert "kept" in record.error_hint
    else:
        assert record.status == RunStatus.RUNNING
        assert "is full" in home.said("trying again")
    stored = home.repo.samples(run.id)
    assert 0 < len(stored) < MANY * len(SIDES)

    full.unlink()
    measured = len(home.measured())
    if record.status == RunStatus.FAILED:
        home.repo.requeue(run.id)
    home.start_worker()
    assert_same(home, wait_for(lambda: home.ended(run.id)), undisturbed)
    assert not set(home.measured()[measured:]) & {(s.key.question, s.key.side) for s in stored}


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_jumps_ends_no_run_and_doubles_none(hours, home, processes, uninterrupted):
    run_id = begun(home)
    other = processes.Process(target=fake_worker.main, args=home.arguments, daemon=True)
    other.start()
    (home.path / "clock").write_text(str(hours * HOURS))
    record = wait_for(lambda: home.ended(run_id))
    other.kill()
    other.join(30)
    assert_same(home, record, uninterrupted)
    asked = home.measured()
    assert len(asked) == len(set(asked)) == QUESTIONS * len(SIDES)
    assert record.finished_at is not None
    assert all(seconds >= 0 for seconds in record.result["timings"].values())
