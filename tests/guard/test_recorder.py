"""The writer of the log: batches, a database that is locked or gone, and what a restart remembers."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.guard.recorder import Limits, Recorder
from wfgy_triage.guard.watched import load_watched
from wfgy_triage.store import database as database_module
from wfgy_triage.store.database import open_database
from wfgy_triage.store.guard import GuardedAnswer, GuardRepository, GuardServer

NOW = datetime.now(UTC)
SERVER = GuardServer("s1", "127.0.0.1:1", "up:2", "observe", "none", NOW, NOW, 0, 0, 50, 60)
FAST = Limits(every_s=0.05, buffer=20)


class Told:
    def __init__(self) -> None:
        self.events = []

    def tell(self, event, state) -> None:
        self.events.append((event.gate, event.change))


def answer(ok: bool = True, **more) -> GuardedAnswer:
    verdict = "ok" if ok else "failed"
    return GuardedAnswer(datetime.now(UTC), "m", "chat", "json", verdict, parse_ok=True, schema_ok=ok, **more)


def until(condition) -> None:
    for _ in range(400):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not happen")


@pytest.fixture
def url(settings):
    return settings.database_url


@pytest.fixture
def repository(url):
    database = open_database(url)
    yield GuardRepository(database)
    database.close()


def recorder(url, told=None, limits=FAST, open_it=None) -> Recorder:
    made = Recorder(open_it or partial(open_database, url), SERVER, load_watched(), told or Told(), limits)
    made.start()
    return made


def test_answers_are_stored_in_order_and_the_rest_when_it_stops(url, repository):
    writer = recorder(url, limits=Limits(every_s=5.0))
    writer.put(tuple(answer(prompt_chars=i) for i in range(3)))
    writer.stop()
    assert [a.prompt_chars for a in repository.latest(9)] == [2, 1, 0]
    (server,) = repository.servers()
    assert (server.answers, server.dropped) == (3, 0)


def test_a_database_that_is_locked_costs_rows_and_nothing_else(url, repository, settings, monkeypatch):
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    blocker = sqlite3.connect(settings.home / "triage.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    writer = recorder(url)
    for _ in range(50):
        writer.put((answer(),))
    until(lambda: writer.dropped == 30)
    blocker.execute("ROLLBACK")
    blocker.close()
    until(lambda: writer.waiting == 0)
    writer.stop()
    assert len(repository.latest(100)) == 20
    assert repository.servers()[0].dropped == 30


def test_a_database_that_cannot_be_opened_is_tried_again(url, repository):
    tries = []

    def open_it():
        tries.append(1)
        if len(tries) < 3:
            raise PrerequisiteError("not there")
        return open_database(url)

    writer = recorder(url, open_it=open_it)
    writer.put((answer(),))
    until(lambda: len(repository.latest(9)) == 1)
    writer.stop()
    assert len(tries) == 3


def test_alerts_come_even_while_nothing_can_be_written():
    told = Told()

    def never():
        raise PrerequisiteError("not there")

    writer = recorder("", told, open_it=never)
    writer.put(tuple(answer(ok=False) for _ in range(20)))
    until(lambda: told.events == [("json_schema_valid", "left")])
    writer.stop()


def test_a_gate_that_is_left_is_stored_once_and_remembered(url, repository):
    told = Told()
    writer = recorder(url, told)
    writer.put(tuple(answer(ok=False) for _ in range(20)))
    until(lambda: repository.last_change("json_schema_valid") == "left")
    writer.stop()
    again = recorder(url, told)
    until(lambda: len(again._window) == 20)
    again.put((answer(ok=False),))
    again.put(tuple(answer() for _ in range(50)))  # the window holds fifty
    until(lambda: repository.last_change("json_schema_valid") == "returned")
    again.stop()
    assert [e.change for e in repository.events(9)] == ["returned", "left"]
    assert [c for _, c in told.events] == ["left", "returned"]


def test_answers_that_nothing_was_asked_of_push_none_out_of_the_window(url):
    told = Told()
    writer = recorder(url, told)
    nothing = GuardedAnswer(datetime.now(UTC), "m", "chat", "none", "unchecked")
    for _ in range(20):
        writer.put((answer(ok=False), *[nothing] * 9))
    until(lambda: told.events == [("json_schema_valid", "left")])
    writer.stop()


def test_old_answers_leave_the_window(url):
    told = Told()
    writer = recorder(url, told)
    old = datetime.now(UTC) - timedelta(hours=2)
    writer.put(tuple(GuardedAnswer(old, "m", "chat", "json", "failed", parse_ok=False) for _ in range(20)))
    until(lambda: writer.waiting == 0)
    writer.stop()
    assert told.events == []


def test_pruning_keeps_the_newest(url, repository):
    repository.add([answer(prompt_chars=i) for i in range(40)], (), SERVER)
    assert repository.prune(15) == 25
    assert [a.prompt_chars for a in repository.latest(99)] == list(range(39, 24, -1))
    assert repository.prune(15) == 0


def test_a_database_that_is_locked_at_first_is_remembered_from_later(url, repository, monkeypatch):
    told = Told()
    writer = recorder(url, told)
    writer.put(tuple(answer(ok=False) for _ in range(20)))
    until(lambda: repository.last_change("json_schema_valid") == "left")
    writer.stop()
    tries, latest = [], GuardRepository.latest

    def locked_once(self, *args, **more):
        tries.append(1)
        if len(tries) == 1:
            raise PrerequisiteError("The database is locked.")
        return latest(self, *args, **more)

    monkeypatch.setattr(GuardRepository, "latest", locked_once)
    again = recorder(url, told)
    until(lambda: len(tries) == 2)
    until(lambda: len(again._window) == 20)
    again.put((answer(ok=False),))
    until(lambda: again.waiting == 0)
    again.stop()
    assert [c for _, c in told.events] == ["left"], "the gate was left already"
