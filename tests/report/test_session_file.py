"""The session file: what comes back, and what is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.sessions_made import made_session, written
from wfgy_triage.errors import InputError
from wfgy_triage.report.export.redact import redacted
from wfgy_triage.report.export.session_file import LARGEST, content_hash, read_session_file, session_file

FILE = written(made_session(answers=4), "session")


def changed(**more) -> bytes:
    """The file with something else in its content, and the hash that fits."""
    data = json.loads(FILE)
    for path, value in more.items():
        part = data["content"]
        *steps, last = path.split("__")
        for step in steps:
            part = part[int(step) if step.isdigit() else step]
        part[last] = value
    data["sha256"] = content_hash(data["content"])
    return json.dumps(data).encode()


def test_what_comes_back_is_what_was_written():
    session = made_session(answers=4)
    back, content = read_session_file(FILE.encode())
    assert back.result == session.result
    assert [s.key for s in back.samples] == [s.key for s in session.samples]
    assert back.record.spec == session.record.spec
    assert (back.record.created_at, back.record.timings) == (
        session.record.created_at,
        session.record.timings,
    )
    assert [r.question for r in back.rows] == [r.question for r in session.rows]  # without the question set
    assert session_file(back)["sha256"] == content
    assert content_hash(json.loads(FILE)["content"]) == content


def test_a_redacted_session_can_be_read_and_says_so():
    back, content = read_session_file(written(redacted(made_session(answers=4)), "session").encode())
    assert back.redacted
    assert content != read_session_file(FILE.encode())[1]
    assert back.result.metrics == made_session().result.metrics


@given(st.integers(0, len(FILE.encode()) - 1), st.integers(1, 255))
def test_no_changed_byte_gets_through(place: int, by: int):
    data = bytearray(FILE.encode())
    data[place] = (data[place] + by) % 256
    try:
        back, _ = read_session_file(bytes(data))
    except InputError:
        return
    assert session_file(back) == json.loads(FILE)  # white space, or another way to write the same


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (FILE.encode()[: len(FILE) // 2], "cut off"),
        (b"[" * 200_000, "not JSON"),
        (b"[]", "not a session file"),
        (b'{"schema": "wfgy-triage/session-9"}', "It says 'wfgy-triage/session-9'"),
        (b'{"schema": "wfgy-triage/result-1"}', "not a session file"),
        (b'{"schema": "wfgy-triage/session-1", "n": NaN}', "not JSON"),
        (b'{"schema": "wfgy-triage/session-1"}', "damaged"),
        (b" " * (LARGEST + 1), "up to 67 MB"),
    ],
    ids=["empty", "bytes", "half", "deep", "list", "newer", "result", "nan", "bare", "large"],
)
def test_what_is_no_session_file_is_refused_in_words(data: bytes, said: str):
    with pytest.raises(InputError, match=said) as caught:
        read_session_file(data)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"session__id": "../../etc/passwd"}, "content.session.id"),
        ({"session__status": "running"}, "content.session.status"),
        ({"session__created_at": "yesterday"}, "no time"),
        ({"session__created_at": "2026-11-23T07:41:00"}, "no zone"),
        ({"session__more": 1}, "content.session"),
        ({"spec__symptom": "nope"}, "another session"),
        ({"spec__options": {"x": {"y": 1}}}, "content.spec.options"),
        ({"result": {}}, "required"),
        ({"result__run_id": "another"}, "another session"),
        ({"result__headline": "\x1b]8;;http://evil.example\x07"}, "control characters"),
        ({"result__state": "GREAT"}, "state"),
        ({"samples__0__side": ""}, "content.samples.0.side"),
    ],
)
def test_what_does_not_fit_is_named(more: dict, said: str):
    with pytest.raises(InputError, match=said):
        read_session_file(changed(**more))


def test_a_measurement_twice_is_refused():
    data = json.loads(FILE)["content"]["samples"]
    with pytest.raises(InputError, match="twice"):
        read_session_file(changed(samples=[*data, copy.deepcopy(data[0])]))


def test_the_hash_does_not_depend_on_where_or_how_it_is_written():
    data = json.loads(FILE)
    again = json.dumps({k: data[k] for k in reversed(data)}, indent=3, ensure_ascii=True).encode()
    assert read_session_file(again) == read_session_file(FILE.encode())
    other = replace(made_session(answers=4), kinds=())
    assert session_file(other)["sha256"] == data["sha256"]
