"""How many runs may wait, in all and of one owner: counted by the store, whoever asks and from wherever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.people import ADMIN, MAKER, READER
from wfgy_triage.errors import InputError
from wfgy_triage.store.audit import AuditRepository
from wfgy_triage.store.database import open_database
from wfgy_triage.store.guarded import GuardedRuns
from wfgy_triage.store.queue import QueueLimits
from wfgy_triage.store.records import RunSpec, RunStatus

SPEC = RunSpec("json_breaks", "demo")
TWO = QueueLimits(20, 2)
AT_ONCE = 10


def start(database, actor=MAKER, limits=TWO, **more):
    return GuardedRuns(database, actor).create(SPEC, limits=limits, **more)


def test_each_has_a_limit_of_their_own(database, repo):
    start(database)
    start(database)
    with pytest.raises(InputError, match="2 of your runs are waiting already"):
        start(database)
    start(database, READER)
    start(database, ADMIN, QueueLimits(20))
    assert repo.lease("w.1", 60).owner == "maker"
    start(database)
    assert repo.count() == 5


def test_runs_of_nobody_in_particular_count_in_all_only(repo):
    limits = QueueLimits(3, 1)
    for _ in range(3):
        repo.create(SPEC, limits=limits)
    with pytest.raises(InputError, match="3 runs are waiting already"):
        repo.create(SPEC, limits=limits)


def test_a_resent_form_is_no_further_run_at_the_limit(database):
    first = start(database, start_key="form")
    start(database)
    assert start(database, start_key="form") == first


def test_what_is_refused_leaves_nothing(database, repo):
    start(database)
    start(database)
    before = AuditRepository(database).last(10)
    with pytest.raises(InputError):
        start(database)
    assert repo.count() == 2
    assert AuditRepository(database).last(10) == before


def test_a_run_that_goes_on_waits_like_a_new_one(database, repo):
    stopped = start(database).id
    repo.request_cancel(stopped)
    waiting = [start(database).id for _ in range(2)]
    makers = GuardedRuns(database, MAKER)
    for limits in (TWO, QueueLimits(queued=2)):
        with pytest.raises(InputError, match="2 (of your )?runs are waiting already"):
            makers.requeue(stopped, limits)
    assert repo.get(stopped).status == RunStatus.CANCELLED
    repo.request_cancel(waiting[0])
    assert makers.requeue(stopped, TWO).status == RunStatus.QUEUED


@pytest.mark.parametrize("limits", [QueueLimits(50, 4), QueueLimits(4, 50), QueueLimits(4, 4)])
def test_starts_at_once_from_two_processes_cannot_both_be_the_last(url, repo, limits):
    """Each thread begins when all are there; every second one has connections of its own."""
    databases = [open_database(url) for _ in range(2)]
    together = threading.Barrier(AT_ONCE)

    def ask(number):
        together.wait()
        try:
            return start(databases[number % 2], limits=limits).id
        except InputError:
            return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = [found for found in pool.map(ask, range(AT_ONCE)) if found]
    assert len(set(made)) == repo.count(status=RunStatus.QUEUED) == 4
    for database in databases:
        database.close()


def test_starts_and_resumes_at_once_share_the_limit(database, repo):
    stopped = [start(database, limits=QueueLimits()).id for _ in range(AT_ONCE // 2)]
    for run_id in stopped:
        repo.request_cancel(run_id)
    together = threading.Barrier(AT_ONCE)

    def ask(number):
        together.wait()
        try:
            if number % 2:
                return start(database).id
            return GuardedRuns(database, MAKER).requeue(stopped[number // 2], TWO).id
        except InputError:
            return None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        made = [found for found in pool.map(ask, range(AT_ONCE)) if found]
    assert len(set(made)) == repo.count(status=RunStatus.QUEUED) == 2


def test_the_limit_outlives_who_started(url):
    before = open_database(url)
    start(before)
    start(before)
    before.close()
    after = open_database(url)
    with pytest.raises(InputError, match="2 of your runs"):
        start(after)
    after.close()
