"""The cache of FP16 answers: what comes back, what goes, what a damaged row does, two processes."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa

from tests.store.test_concurrency import hammer
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.store import sqlite_files
from wfgy_triage.store.answers import AnswerCache
from wfgy_triage.store.database import Database, open_database
from wfgy_triage.store.models import CachedAnswerRow


@pytest.fixture
def cache(database):
    return AnswerCache(database)


def key(number):
    return f"{number:064x}"


def test_rows_come_back_as_they_were(cache):
    rows = {key(i): {"text": "ü\u0000\ud800", "n": [i, -0.333333, 1e-6]} for i in range(1200)}
    cache.put_many(rows)
    assert cache.get_many({*rows, key(5000)}) == rows
    assert cache.get_many(()) == {}
    cache.put_many({})


def test_a_new_row_takes_the_place_of_an_old_one(cache):
    cache.put_many({key(1): {"n": 1}})
    cache.put_many({key(1): {"n": 2}, key(2): {"n": 3}})
    assert cache.get_many({key(1), key(2)}) == {key(1): {"n": 2}, key(2): {"n": 3}}


def test_numbers_that_are_none_are_refused_and_nothing_is_stored(cache):
    with pytest.raises(ValueError, match="JSON"):
        cache.put_many({key(1): {"n": 1}, key(2): {"n": float("nan")}})
    assert cache.get_many({key(1)}) == {}


def test_the_rows_used_last_are_those_that_stay(cache):
    for i in range(6):
        cache.put_many({key(i): {}})
    cache.touch({key(0), key(2)})
    assert cache.prune(3) == 3
    assert set(cache.get_many({key(i) for i in range(6)})) == {key(0), key(2), key(5)}
    assert cache.prune(3) == 0
    assert cache.prune(0) == 3


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"n": 1'])
def test_a_damaged_row_is_logged_and_spoils_no_other(database, cache, caplog, text):
    cache.put_many({key(1): {"n": 1}, key(2): {"n": 2}})
    with database.write() as session:
        session.get(CachedAnswerRow, key(1)).body = text
    assert cache.get_many({key(1), key(2)}) == {key(2): {"n": 2}}
    assert f"{key(1)} is damaged" in caplog.text


def test_two_processes_write_the_same_rows(url, cache):
    counts = hammer("answers", url)
    assert len(counts) == 2 * 4
    assert set(counts) == {"50"}
    assert len(cache.get_many({key(i) for i in range(50)})) == 50


def test_a_lock_held_by_another_program_is_explained(tmp_path):
    url = f"sqlite:///{tmp_path / 'triage.db'}"
    open_database(url).close()
    engine = sa.create_engine(url, connect_args={"timeout": 0})
    sa.event.listen(engine, "connect", sqlite_files.on_connect)
    sa.event.listen(engine, "begin", sqlite_files.on_begin)
    with closing(sqlite3.connect(tmp_path / "triage.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(PrerequisiteError, match="locked for too long"):
            AnswerCache(Database(engine)).put_many({key(1): {}})
    engine.dispose()
