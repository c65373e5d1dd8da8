"""Read-only links: only the hash is kept, they end and can be taken back, and an old one looks like a wrong one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wfgy_triage.errors import InputError
from wfgy_triage.store import shares as module
from wfgy_triage.store.database import Database
from wfgy_triage.store.models import Base
from wfgy_triage.store.records import RunSpec
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.store.shares import LONGEST_DAYS, MOST_OPEN, ShareRepository


@pytest.fixture
def shares(database: Database) -> ShareRepository:
    return ShareRepository(database)


@pytest.fixture
def run_id(database: Database) -> str:
    return RunRepository(database).create(RunSpec("json_breaks", "demo")).id


def test_a_token_opens_its_session_and_is_nowhere_in_the_database(database, shares, run_id):
    share, token = shares.create(run_id, 7, redacted=True)
    assert shares.find(token) == share
    assert (share.run_id, share.redacted) == (run_id, True)
    assert share.expires_at - share.created_at == timedelta(days=7)
    with database.read() as session:
        rows = [row for table in Base.metadata.sorted_tables for row in session.execute(table.select())]
    assert run_id in str(rows)
    assert token not in str(rows)


def test_tokens_are_long_and_never_the_same(shares, run_id):
    tokens = {shares.create(run_id, 1)[1] for _ in range(40)}
    assert len(tokens) == 40
    assert all(len(t) == 43 for t in tokens)


@pytest.mark.parametrize("wrong", ["", "x", "A" * 43, "A" * 44, "../../etc/passwd", "ü" * 43, "%00" * 20])
def test_what_is_no_token_opens_nothing(shares, run_id, wrong):
    shares.create(run_id, 1)
    assert shares.find(wrong) is None


def test_a_link_that_was_taken_back_opens_nothing_and_stays_so(shares, run_id):
    share, token = shares.create(run_id, 7)
    back = shares.revoke(share.id)
    assert back.revoked_at is not None
    assert shares.find(token) is None
    assert shares.revoke(share.id) == back
    assert shares.of_run(run_id) == (back,)


def test_a_link_ends(shares, run_id, monkeypatch):
    share, token = shares.create(run_id, 1)
    monkeypatch.setattr(module, "now", lambda: share.expires_at - timedelta(seconds=1))
    assert shares.find(token) is not None
    monkeypatch.setattr(module, "now", lambda: share.expires_at)
    assert shares.find(token) is None


def test_the_newest_link_comes_first(shares, run_id, monkeypatch):
    start = datetime(2026, 11, 25, tzinfo=UTC)
    made = []
    for day in range(3):
        monkeypatch.setattr(module, "now", lambda day=day: start + timedelta(days=day))
        made.append(shares.create(run_id, 30)[0].id)
    assert [s.id for s in shares.of_run(run_id)] == made[::-1]


def test_wrong_requests_are_refused_in_words(shares, run_id):
    for days in (0, -1, LONGEST_DAYS + 1):
        with pytest.raises(InputError, match="days was asked for"):
            shares.create(run_id, days)
    with pytest.raises(InputError, match="no session"):
        shares.create("nothing", 1)
    with pytest.raises(InputError, match="no such link"):
        shares.revoke("nothing")


def test_links_of_one_session_are_limited_until_some_are_taken_back(shares, run_id):
    made = [shares.create(run_id, 1)[0] for _ in range(MOST_OPEN)]
    with pytest.raises(InputError, match="open links already"):
        shares.create(run_id, 1)
    shares.revoke(made[0].id)
    shares.create(run_id, 1)
