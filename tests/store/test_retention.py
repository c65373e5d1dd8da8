"""Deleting old sessions: what goes, what stays in any case, and that nothing goes without being asked for."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from wfgy_triage.runs import retention as daily
from wfgy_triage.runs.retention import Tidier
from wfgy_triage.store import retention
from wfgy_triage.store.answers import AnswerCache
from wfgy_triage.store.descriptions import described
from wfgy_triage.store.models import CachedAnswerRow, EventRow, RunRow, SampleRow, ShareRow
from wfgy_triage.store.records import RunSpec, RunStatus, Sample, SampleKey
from wfgy_triage.store.rows import now
from wfgy_triage.store.shares import ShareRepository

SPEC = RunSpec("json_breaks", "demo")
OLD = timedelta(days=40)


@pytest.fixture
def make(database, repo):
    """Makes sessions that ended `age` ago."""

    def made(age=OLD, status=RunStatus.DONE, spec=SPEC, tags=""):
        run = repo.create(spec, worker_id="w.1")
        repo.add_samples(run.id, [Sample(SampleKey("p", "q", 0, 0, "fp16"), {"text": "x"})])
        repo.describe(run.id, described("", "", tags))
        if status not in (RunStatus.RUNNING, RunStatus.QUEUED):
            repo.finish(run.id, "w.1", status, {"state": "PASS"} if status == RunStatus.DONE else None)
        elif status == RunStatus.QUEUED:
            repo.release(run.id, "w.1")
        moment = now() - age
        with database.write() as session:
            session.execute(update(RunRow).where(RunRow.id == run.id).values(created_at=moment))
            session.execute(update(EventRow).where(EventRow.run_id == run.id).values(at=moment))
        return run.id

    return made


def left(repo):
    return {r.id for r in repo.list()}


def test_old_ended_sessions_go_with_all_that_is_theirs(database, repo, make):
    gone = [make(status=s) for s in (RunStatus.DONE, RunStatus.FAILED, RunStatus.CANCELLED)]
    young = make(age=timedelta(days=29))
    ShareRepository(database).create(young, 7)
    assert [r.id for r in retention.expired(database, 30)] == gone
    assert left(repo) == {*gone, young}, "looking deletes nothing"
    assert retention.prune(database, 30).sessions == 3
    assert left(repo) == {young}
    with database.read() as session:
        for table in (SampleRow, EventRow, ShareRow):
            assert set(session.scalars(select(table.run_id))) == {young}


def test_what_waits_runs_is_kept_or_is_shared_stays(database, repo, make, monkeypatch):
    kept = {make(status=RunStatus.QUEUED), make(status=RunStatus.RUNNING), make(tags="prod keep")}
    kept |= {make(tags="Keep")}
    shared, over, back = make(), make(), make()
    links = ShareRepository(database)
    links.create(shared, 365)
    links.revoke(links.create(back, 365)[0].id)
    share, _ = links.create(over, 1)
    with database.write() as session:
        session.execute(
            update(ShareRow).where(ShareRow.id == share.id).values(expires_at=now() - timedelta(1))
        )
    named = make()
    also = make(tags="keeper")  # another tag
    assert retention.prune(database, 30, also_keep={named}).sessions == 3
    assert left(repo) == kept | {shared, named}
    assert also not in left(repo)


def test_a_session_is_as_old_as_its_last_line(database, repo, make):
    resumed = make(status=RunStatus.FAILED)
    repo.requeue(resumed)
    repo.lease("w.2", 60)
    repo.finish(resumed, "w.2", RunStatus.FAILED)
    assert retention.prune(database, 30).sessions == 0
    assert left(repo) == {resumed}


def test_many_go_in_small_steps(database, repo, make, monkeypatch):
    monkeypatch.setattr(retention, "_AT_ONCE", 2)
    for _ in range(5):
        make()
    assert retention.prune(database, 30).sessions == 5
    assert repo.count() == 0


def test_cached_answers_that_nobody_used_go_too(database, monkeypatch):
    cache = AnswerCache(database)
    cache.put_many({"old": {"n": 1}, "new": {"n": 2}})
    with database.write() as session:
        aged = update(CachedAnswerRow).where(CachedAnswerRow.key == "old")
        session.execute(aged.values(used_at=now() - OLD))
    assert retention.prune(database, 30).answers == 1
    assert set(cache.get_many({"old", "new"})) == {"new"}


def test_a_session_that_a_waiting_check_is_compared_with_stays(database, repo, make, tmp_path):
    earlier = make()
    repo.create(RunSpec("json_breaks", "demo", options={"recheck_of": earlier}))
    tidier = Tidier(database, tmp_path, 30)
    assert tidier.expired() == ()
    assert tidier.tidy().sessions == 0
    assert earlier in left(repo)


def test_question_sets_go_when_the_last_session_that_names_them_goes(database, repo, make, tmp_path):
    folder = tmp_path / "workloads"
    folder.mkdir()
    unused, asked, passages, option, fresh, inner = (c * 64 for c in "abcdef")
    make(age=timedelta(days=1), spec=RunSpec("json_breaks", "demo", workload_id=asked))
    make(age=timedelta(days=1), spec=RunSpec("wrong_snippet", "demo", options={"chunks": option}))
    make(age=timedelta(days=1), spec=RunSpec("wrong_snippet", "demo", workload_id=passages))
    make(spec=RunSpec("json_breaks", "demo", workload_id=unused))
    texts = {f"{unused}.json": "{}", f"{asked}.json": "{}", f"{option}.json": "{}", f"{fresh}.json": "{}"}
    texts |= {f"{passages}.json": f'{{"raw": "{inner}"}}', f"{inner}.jsonl": "{}", "notes.txt": "mine"}
    for name, text in texts.items():
        (folder / name).write_text(text)
        moment = (now() - OLD).timestamp()
        os.utime(folder / name, (moment, moment))
    (folder / f"{fresh}.json").touch()
    found = Tidier(database, tmp_path, 30).tidy()
    assert (found.sessions, found.files) == (1, 1)
    assert {f.name for f in folder.iterdir()} == texts.keys() - {f"{unused}.json"}


def test_it_is_done_once_a_day(database, repo, make, tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(daily.time, "monotonic", lambda: clock[0])
    tidier = Tidier(database, tmp_path, 30)
    make()
    tidier.when_due()
    assert repo.count() == 0
    make()
    clock[0] += daily.EVERY_S - 1
    tidier.when_due()
    assert repo.count() == 1
    clock[0] += 1
    tidier.when_due()
    assert repo.count() == 0
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(EventRow)) == 0


def test_a_file_that_cannot_be_deleted_or_read_does_not_end_the_worker(database, tmp_path, caplog):
    folder = tmp_path / "workloads"
    folder.mkdir()
    stuck, free = (c * 64 for c in "ab")
    (folder / f"{stuck}.jsonl").mkdir()  # unlinking it fails for everybody, root too
    (folder / f"{free}.jsonl").write_text("{}")
    for path in folder.iterdir():
        os.utime(path, ((now() - OLD).timestamp(),) * 2)
    assert Tidier(database, tmp_path, 30).tidy().files == 1
    assert [f.stem for f in folder.iterdir()] == [stuck]
    assert "cannot be deleted" in caplog.text


def test_nothing_is_deleted_while_a_manifest_that_is_named_cannot_be_read(database, make, tmp_path):
    folder = tmp_path / "workloads"
    folder.mkdir()
    named, perhaps = (c * 64 for c in "ab")
    make(age=timedelta(days=1), spec=RunSpec("wrong_snippet", "demo", workload_id=named))
    (folder / f"{named}.json").mkdir()
    (folder / f"{perhaps}.jsonl").write_text("{}")
    for path in folder.iterdir():
        os.utime(path, ((now() - OLD).timestamp(),) * 2)
    assert Tidier(database, tmp_path, 30).tidy().files == 0
    assert (folder / f"{perhaps}.jsonl").exists()
