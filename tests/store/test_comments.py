"""Comments on sessions: added, in order, never more or longer than allowed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from wfgy_triage.errors import InputError
from wfgy_triage.store.comments import (
    LONGEST_COMMENT,
    LONGEST_NAME,
    MOST_COMMENTS,
    Comment,
    CommentRepository,
)
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import RunSpec
from wfgy_triage.store.runs import RunRepository


@pytest.fixture
def database(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path / 'triage.db'}")
    yield opened
    opened.close()


@pytest.fixture
def comments(database):
    return CommentRepository(database)


@pytest.fixture
def run_id(database):
    return RunRepository(database).create(RunSpec("json_breaks", "demo")).id


def test_comments_stand_in_the_order_in_which_they_were_made(comments, run_id):
    for number in range(5):
        comments.add(run_id, "  Chief\n L. ", f"  line one\r\nline {number}\n")
    found = comments.of_run(run_id)
    assert [c.text for c in found] == [f"line one\nline {n}" for n in range(5)]
    assert {c.who for c in found} == {"Chief L."}
    assert all(c.at.tzinfo for c in found)


@pytest.mark.parametrize(
    ("who", "text", "said"),
    [
        ("", "", "no text"),
        ("", " \n\t ", "no text"),
        ("", "x" * (LONGEST_COMMENT + 1), "2,001 characters"),
        ("n" * (LONGEST_NAME + 1), "x", "The name has 61"),
        ("", "red \x1b[31m", "control characters"),
        ("\x00", "x", "control characters"),
        ("", "half a \ud83d pair", "control characters"),
    ],
)
def test_what_is_no_comment(comments, run_id, who, text, said):
    with pytest.raises(InputError, match=said):
        comments.add(run_id, who, text)
    assert comments.of_run(run_id) == ()


def test_the_longest_is_kept_whole(comments, run_id):
    text = "ä" * LONGEST_COMMENT
    comments.add(run_id, "n" * LONGEST_NAME, text)
    assert comments.of_run(run_id)[0].text == text


def test_a_session_has_at_most_so_many(comments, run_id):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    comments.merge(run_id, [Comment("", at, str(n)) for n in range(MOST_COMMENTS + 5)])
    assert len(comments.of_run(run_id)) == MOST_COMMENTS
    with pytest.raises(InputError, match="200 comments"):
        comments.add(run_id, "", "one more")


def test_what_was_merged_once_is_not_there_twice(comments, run_id):
    said = [Comment("Chief", datetime(2026, 1, d, tzinfo=UTC), "the same") for d in (2, 1)]
    comments.merge(run_id, said)
    comments.merge(run_id, [*said, Comment("Ben", said[0].at, "new")])
    assert [(c.who, c.at.day) for c in comments.of_run(run_id)] == [("Chief", 1), ("Chief", 2), ("Ben", 2)]


@pytest.mark.parametrize("call", ["add", "merge"])
def test_no_such_session(comments, call):
    with pytest.raises(InputError, match="no session"):
        comments.add("nope", "", "x") if call == "add" else comments.merge("nope", [])
