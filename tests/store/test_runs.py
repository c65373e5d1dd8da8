"""The life of a run in the store: leases, events, samples, ends."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, func, select

from wfgy_triage.errors import InputError
from wfgy_triage.store import leases, rows
from wfgy_triage.store.database import Database
from wfgy_triage.store.descriptions import described
from wfgy_triage.store.leases import MAX_BARREN_LEASES
from wfgy_triage.store.models import RunRow
from wfgy_triage.store.records import RunSpec, RunStatus, Sample, SampleKey
from wfgy_triage.store.rows import LeaseLostError, new_run_id
from wfgy_triage.store.runs import RunRepository

SPEC = RunSpec("json_breaks", "demo")


def sample(question="q", side="fp16", **payload):
    return Sample(SampleKey("json_breaks", question, 0, 0, side), payload)


def test_ids_are_url_safe_unique_and_sort_by_time(monkeypatch):
    ids = [new_run_id() for _ in range(5000)]
    assert len(set(ids)) == 5000
    assert all(re.fullmatch(r"[0-9a-z]{18}", i) for i in ids)
    seconds = iter([1_800_000_000, 1_800_000_001, 1_800_100_000, 1_900_000_000])
    monkeypatch.setattr("wfgy_triage.store.rows.time.time", lambda: next(seconds))
    later = [new_run_id() for _ in range(4)]
    assert later == sorted(later)


def test_runs_are_leased_oldest_first_and_once(repo):
    runs = [repo.create(SPEC) for _ in range(3)]
    assert [repo.lease(f"w.{i}", 60).id for i in range(3)] == [r.id for r in runs]
    assert repo.lease("w.9", 60) is None


def test_a_stale_run_is_leased_again_and_its_old_holder_can_write_nothing(repo):
    run = repo.create(SPEC)
    started = repo.lease("old.1", 60).started_at
    assert repo.lease("new.1", 60) is None
    again = repo.lease("new.1", stale_after_s=-1)
    assert (again.id, again.started_at) == (run.id, started)
    assert not repo.heartbeat(run.id, "old.1")
    assert not repo.release(run.id, "old.1")
    assert not repo.finish(run.id, "old.1", RunStatus.FAILED, error_message="late")
    with pytest.raises(LeaseLostError):
        repo.add_samples(run.id, [sample()], "old.1")
    with pytest.raises(LeaseLostError):
        repo.add_event(run.id, "note", {"text": "late"}, "old.1")
    assert repo.samples(run.id) == ()
    assert repo.get(run.id).error_message == ""
    assert repo.heartbeat(run.id, "new.1")


def test_a_fresh_heartbeat_keeps_the_lease(repo, monkeypatch):
    run = repo.create(SPEC)
    repo.lease("a.1", 60)
    real = rows.now
    monkeypatch.setattr(leases, "now", lambda: real() + timedelta(seconds=100))
    assert repo.heartbeat(run.id, "a.1")
    assert repo.lease("b.1", 60) is None
    monkeypatch.setattr(leases, "now", lambda: real() + timedelta(seconds=161))
    assert repo.lease("b.1", 60).id == run.id


def test_the_holder_of_a_lane_takes_over_the_runs_of_that_lane_only(repo):
    mine, other = repo.create(SPEC), repo.create(SPEC)
    repo.lease("lane_a.1", 60)
    repo.lease("laneXa.1", 60)
    assert repo.lease("lane_a.2", 60, lane="lane_a").id == mine.id
    repo.finish(mine.id, "lane_a.2", RunStatus.DONE, {"state": "PASS"})
    assert repo.lease("lane_a.2", 60, lane="lane_a") is None
    assert repo.heartbeat(other.id, "laneXa.1")


def test_a_run_leased_at_its_creation_never_waits_in_the_queue(repo):
    run = repo.create(SPEC, worker_id="cli.1")
    assert run.status == RunStatus.RUNNING
    assert repo.lease("w.1", 60) is None


def test_a_run_that_makes_no_progress_is_given_up_and_one_that_does_is_not(repo):
    barren, fruitful = repo.create(SPEC), repo.create(SPEC)
    for turn in range(MAX_BARREN_LEASES):
        assert repo.lease(f"a.{turn}", stale_after_s=-1).id == barren.id
    after = repo.lease("a.9", stale_after_s=-1)
    assert after.id == fruitful.id
    assert repo.get(barren.id).status == RunStatus.FAILED
    for turn in range(3 * MAX_BARREN_LEASES):
        repo.add_samples(fruitful.id, [sample(f"q{turn}")])
        assert repo.lease(f"b.{turn}", stale_after_s=-1).id == fruitful.id


def test_a_sample_is_stored_exactly_once_and_the_first_value_stays(repo):
    run = repo.create(SPEC)
    assert repo.add_samples(run.id, [sample("a", n=1), sample("b", n=2), sample("a", n=3)]) == 2
    assert repo.add_samples(run.id, [sample("b", n=4), sample("a", "exl2", n=5)]) == 1
    stored = repo.samples(run.id)
    assert [(s.key.question, s.key.side, s.payload["n"]) for s in stored] == [
        ("a", "fp16", 1),
        ("b", "fp16", 2),
        ("a", "exl2", 5),
    ]
    assert repo.done_keys(run.id) == {s.key for s in stored}


def test_equal_keys_of_two_runs_do_not_meet(repo):
    one, two = repo.create(SPEC), repo.create(SPEC)
    assert repo.add_samples(one.id, [sample(n=1)]) == repo.add_samples(two.id, [sample(n=2)]) == 1
    assert [s.payload["n"] for s in repo.samples(two.id)] == [2]


@pytest.mark.parametrize(
    "text",
    ["", "日本語 🎉", "nul \x00 inside", "lone \ud800 surrogate", "'; DROP TABLE runs; --", "\u2028<b>"],
)
def test_any_text_a_model_writes_comes_back_unchanged(text, repo):
    run = repo.create(SPEC)
    repo.add_samples(run.id, [sample(text=text)])
    repo.add_event(run.id, "note", {"text": text})
    assert repo.samples(run.id)[0].payload == {"text": text}
    assert repo.last_event(run.id, "note").payload == {"text": text}


def test_events_are_numbered_without_gaps_and_read_from_a_point(repo):
    run = repo.create(SPEC)
    for i in range(5):
        repo.add_event(run.id, "note", {"i": i})
    assert [e.seq for e in repo.events(run.id)] == [1, 2, 3, 4, 5, 6]
    assert [e.payload["i"] for e in repo.events(run.id, after=4)] == [3, 4]
    assert repo.events(run.id, after=6) == ()
    assert repo.last_event(run.id, "note").payload == {"i": 4}
    assert repo.last_event(run.id, "context") is None


def test_the_result_round_trips_and_lists_leave_it_out(repo):
    result = {"state": "NOT MEASURED", "metrics": [{"x": 0.1, "y": None}], "nested": {"a": [1, [2]]}}
    run = repo.create(SPEC, worker_id="w.1")
    assert repo.finish(run.id, "w.1", RunStatus.DONE, result, timings={"load": 1.5})
    record = repo.get(run.id)
    assert json.dumps(record.result) == json.dumps(result)
    assert (record.state, record.timings) == ("NOT MEASURED", {"load": 1.5})
    assert record.finished_at >= record.started_at >= record.created_at
    (listed,) = repo.list()
    assert (listed.result, listed.state) == (None, "NOT MEASURED")


def test_a_number_that_is_not_finite_never_reaches_the_store(repo):
    run = repo.create(SPEC)
    with pytest.raises(Exception, match="Out of range float"):
        repo.add_samples(run.id, [sample(value=float("nan"))])
    assert repo.samples(run.id) == ()


def test_writing_to_an_unknown_run_is_refused(repo):
    for call in (
        lambda: repo.add_samples("nobody", [sample()]),
        lambda: repo.add_event("nobody", "note", {}),
        lambda: repo.request_cancel("nobody"),
        lambda: repo.requeue("nobody"),
    ):
        with pytest.raises(InputError, match="no session"):
            call()


class RunLife(RuleBasedStateMachine):
    """Two workers, one user and one run in any order of moves, against a model in a few lines."""

    database: Database

    @initialize()
    def begin(self):
        with self.database.write() as session:
            session.execute(delete(RunRow))
        self.repo = RunRepository(self.database)
        self.id = self.repo.create(SPEC).id
        self.status, self.holder, self.samples, self.cancel = RunStatus.QUEUED, None, set(), False

    worker = st.sampled_from(["a.1", "b.1"])

    @rule(worker=worker)
    def lease(self, worker):
        record = self.repo.lease(worker, stale_after_s=3600)
        assert (record is not None) == (self.status == RunStatus.QUEUED)
        if record is not None:
            self.status, self.holder = RunStatus.RUNNING, worker

    @rule(worker=worker, question=st.integers(0, 3))
    def store(self, worker, question):
        if self.holder == worker:
            self.repo.add_samples(self.id, [sample(f"q{question}")], worker)
            self.samples.add(f"q{question}")
        else:
            with pytest.raises(LeaseLostError):
                self.repo.add_samples(self.id, [sample(f"q{question}")], worker)

    @rule(worker=worker)
    def release(self, worker):
        assert self.repo.release(self.id, worker) == (self.holder == worker)
        if self.holder == worker:
            self.status, self.holder = RunStatus.QUEUED, None

    @rule(worker=worker, end=st.sampled_from([RunStatus.DONE, RunStatus.FAILED, RunStatus.CANCELLED]))
    def finish(self, worker, end):
        assert self.repo.finish(self.id, worker, end, {"state": "PASS"}) == (self.holder == worker)
        if self.holder == worker:
            self.status, self.holder = end, None

    @rule()
    def cancel_it(self):
        self.repo.request_cancel(self.id)
        if self.status == RunStatus.QUEUED and not self.samples and not self.cancel:
            self.status = RunStatus.CANCELLED
        self.cancel = self.cancel or self.status in (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELLED)

    @precondition(lambda self: self.status in (RunStatus.FAILED, RunStatus.CANCELLED))
    @rule()
    def requeue(self):
        self.repo.requeue(self.id)
        self.status, self.cancel = RunStatus.QUEUED, False

    @invariant()
    def the_store_agrees(self):
        if not hasattr(self, "repo"):
            return
        assert self.repo.get(self.id).status == self.status
        assert {s.key.question for s in self.repo.samples(self.id)} == self.samples
        events = self.repo.events(self.id)
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        assert [e.payload["status"] for e in events if e.kind == "status"][-1] == self.status


def test_any_order_of_moves_leaves_the_store_as_the_model_says(database):
    life = type("Life", (RunLife,), {"database": database})
    run_state_machine_as_test(life, settings=settings(max_examples=15, stateful_step_count=15, deadline=None))


def test_the_same_start_key_at_the_same_time_starts_one_run(repo):
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: repo.create(SPEC, start_key="double click").id, range(8)))
    assert len(made) == 1
    assert repo.count() == 1


def test_text_that_a_database_cannot_hold_is_kept_as_near_as_it_can_be(repo):
    run = repo.create(SPEC, worker_id="w.1")
    repo.add_samples(run.id, [sample("nul \x00 and \ud800")])
    repo.describe(run.id, described("a\x00b", "lone \udfff surrogate", ""))
    assert repo.finish(run.id, "w.1", RunStatus.FAILED, error_message="said \x00", error_hint="\ud800")
    record = repo.get(run.id)
    assert (record.title, record.note) == ("a\ufffdb", "lone \ufffd surrogate")
    assert (record.error_message, record.error_hint) == ("said \ufffd", "\ufffd")
    assert [s.key.question for s in repo.samples(run.id)] == ["nul \ufffd and \ufffd"]
    assert repo.list(text="\x00", symptom="json_breaks") == (repo.list()[0],)
    assert repo.list(text="\ud800\x00") == ()


def test_reads_in_one_block_see_one_moment(database, repo):
    run = repo.create(SPEC)
    with database.read() as session:
        before = session.scalar(select(func.count()).select_from(RunRow))
        repo.create(SPEC)
        assert session.scalar(select(func.count()).select_from(RunRow)) == before == 1
    assert repo.count() == 2
    assert repo.get(run.id).status == RunStatus.QUEUED
