"""Counts over the store, on both databases."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from wfgy_triage.store.answers import AnswerCache
from wfgy_triage.store.figures import RunGroup, read_figures
from wfgy_triage.store.models import EventRow, RunRow
from wfgy_triage.store.records import RunSpec, RunStatus, Sample, SampleKey
from wfgy_triage.store.rows import IMPORT_KEY, now
from wfgy_triage.store.shares import ShareRepository
from wfgy_triage.store.workers import WorkerRepository

SPEC = RunSpec("json_breaks", "demo")


def test_an_empty_store_has_nothing(database):
    found = read_figures(database, 15)
    assert (found.runs, found.waiting, found.oldest_waiting_s, found.workers) == ((), 0, 0.0, 0)
    assert (found.stage_seconds, found.samples, found.oldest, found.sessions) == ({}, 0, None, 0)


def test_sessions_seconds_and_the_rest_are_counted(database, repo):
    for state, timings in (
        ("PASS", {"load": 1.5, "total": 1.5}),
        ("FAIL", {"load": 2, "measure_fp16": 0.25}),
    ):
        run = repo.create(SPEC, worker_id="w.1")
        repo.add_samples(run.id, [Sample(SampleKey("p", "q", 0, 0, "fp16"), {})])
        repo.finish(run.id, "w.1", RunStatus.DONE, {"state": state}, timings=timings)
    failed = repo.create(RunSpec("long_chain", "demo"), worker_id="w.1")
    repo.finish(failed.id, "w.1", RunStatus.FAILED)
    ShareRepository(database).create(run.id, 1)
    ShareRepository(database).revoke(ShareRepository(database).create(run.id, 1)[0].id)
    WorkerRepository(database).beat("w.1")
    AnswerCache(database).put_many({"k": {}})
    found = read_figures(database, 15)
    assert set(found.runs) == {
        RunGroup("done", "json_breaks", "FAIL", 1),
        RunGroup("done", "json_breaks", "PASS", 1),
        RunGroup("failed", "long_chain", "", 1),
    }
    assert found.stage_seconds == {"load": 3.5, "measure_fp16": 0.25}
    assert (found.samples, found.open_links, found.workers, found.cached_answers) == (2, 1, 1, 1)
    assert read_figures(database, -1).workers == 0


def test_seconds_of_runs_that_are_open_or_were_measured_elsewhere_do_not_count(database, repo):
    going = repo.create(SPEC, worker_id="w.1")
    repo.heartbeat(going.id, "w.1", {"load": 100.0})
    elsewhere = repo.create(SPEC, worker_id="w.1")
    repo.finish(elsewhere.id, "w.1", RunStatus.DONE, {"state": "PASS"}, timings={"load": 50.0})
    with database.write() as session:
        imported = update(RunRow).where(RunRow.id == elsewhere.id)
        session.execute(imported.values(start_key=f"{IMPORT_KEY}x"))
    assert read_figures(database, 15).stage_seconds == {}


def test_waiting_counts_from_when_a_run_came_into_the_queue(database, repo):
    old, resumed = repo.create(SPEC), repo.create(SPEC, worker_id="w.1")
    with database.write() as session:
        session.execute(update(EventRow).values(at=now() - timedelta(hours=2)))
    repo.finish(resumed.id, "w.1", RunStatus.FAILED)
    repo.requeue(resumed.id)
    found = read_figures(database, 15)
    assert found.waiting == 2
    assert 7200 <= found.oldest_waiting_s < 7260
    repo.request_cancel(old.id)
    assert read_figures(database, 15).oldest_waiting_s < 60
