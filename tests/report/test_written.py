"""What people wrote about a session, in its exports and in its file."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.report.sessions_made import HOSTILE, made_session, written
from wfgy_triage.errors import InputError
from wfgy_triage.report.export.redact import redacted
from wfgy_triage.report.export.scrub import Scrubber, scrubbed
from wfgy_triage.report.export.session import Session
from wfgy_triage.report.export.session_file import read_session_file
from wfgy_triage.report.export.written import content_hash
from wfgy_triage.store.comments import Comment

AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def said(*texts: str, title: str = "After the update", tags: tuple[str, ...] = ("prod", "llama")) -> Session:
    session = made_session(answers=4)
    comments = tuple(Comment("Chief", AT, text) for text in texts)
    return replace(session, record=replace(session.record, title=title, tags=tags), comments=comments)


def test_comments_are_in_the_report_and_in_markdown():
    session = said("Looks like\nthe head bits.")
    for form in ("html", "markdown"):
        text = written(session, form)
        assert "Comments" in text
        assert "the head bits." in text
        assert "24 Nov 2026, 09:30 UTC" in text
    assert "After the update" in written(session, "html")
    assert "Comments" not in written(made_session(answers=4), "html")


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_nothing_in_a_comment_is_markup(form: str):
    session = said(HOSTILE, title=HOSTILE[:100])
    session = replace(session, comments=(replace(session.comments[0], who=HOSTILE[:50]),))
    text = written(session, form)
    if form == "html":
        assert "<script>boom" not in text
        assert "<img src=x" not in text
    else:
        fences = [line for line in text.splitlines() if line.startswith("````")]
        assert len(fences) % 2 == 0
        assert '**"><img' not in text


def test_the_session_file_brings_it_back():
    session = said("first", "second\nline")
    back, content = read_session_file(written(session, "session").encode())
    assert (back.record.title, back.record.tags) == ("After the update", ("prod", "llama"))
    assert back.comments == session.comments
    plain = read_session_file(written(made_session(answers=4), "session").encode())
    assert plain[1] == content, "a comment does not make another session of it"
    assert (plain[0].record.title, plain[0].comments) == ("", ())


def test_a_file_without_it_has_no_such_part():
    assert set(json.loads(written(made_session(answers=4), "session"))) == {"schema", "sha256", "content"}


def changed(**changes) -> bytes:
    data = json.loads(written(said("first"), "session"))
    part = data["written"]
    part.update(changes)
    part["sha256"] = content_hash({k: v for k, v in part.items() if k != "sha256"})
    return json.dumps(data).encode()


def comment(**changes) -> list[dict[str, str]]:
    return [{"who": "Chief", "at": AT.isoformat(), "text": "x", **changes}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": "x" * 121}, "damaged"),
        ({"tags": ["<b>"]}, "cannot be a tag"),
        ({"comments": comment(text="x" * 2001)}, "damaged"),
        ({"comments": comment(text="red \x1b[31m")}, "control characters"),
        ({"comments": comment(at="yesterday")}, "is no time"),
        ({"comments": comment(at="2026-11-24T09:30:00")}, "has no zone"),
        ({"comments": comment(more="x")}, "damaged"),
        ({"note": "x"}, "damaged"),
    ],
)
def test_what_nobody_can_write_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        read_session_file(changed(**changes))


def test_a_comment_that_was_changed_in_the_file_is_noticed():
    data = written(said("first"), "session").replace('"first"', '"fjrst"')
    with pytest.raises(InputError, match="its comments does not fit"):
        read_session_file(data.encode())


def test_comments_are_left_out_with_the_texts():
    session = said("The answer was secret.")
    question = next(iter(session.texts.values()))
    session = replace(session, record=replace(session.record, title=f"About {question}"[:120]))
    bare = redacted(session)
    for form in ("html", "markdown", "session", "json"):
        assert "secret" not in written(bare, form)
    assert bare.comments == ()


def test_paths_of_this_machine_are_taken_out():
    session = said("It lies in /home/chief/models/exl2 of box7-example", title="See /home/chief/models/exl2")
    clean = scrubbed(session, Scrubber(["/home/chief/models"], ["box7-example"]))
    assert "chief" not in clean.comments[0].text.replace("Chief", "")
    assert "box7" not in clean.comments[0].text
    assert "/home" not in clean.record.title
