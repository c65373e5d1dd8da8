"""The texts of answers from recorded bytes."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guard.conftest import AS_JSON, ask
from tests.guard.stub import event, pieces, whole
from wfgy_triage.guard.answers import MAX_BYTES, Answer, Choice, read_answer
from wfgy_triage.guard.asked import read_request
from wfgy_triage.guard.checks import Guard
from wfgy_triage.guard.judging import Passage, judge
from wfgy_triage.guard.policy import Policy
from wfgy_triage.guard.watched import load_watched

FIELDS = load_watched().schema_fields


def test_an_object_and_a_stream_say_the_same():
    text = 'Caf\u00e9 \u20ac "x"\n'
    assert read_answer([whole(text)], "", False).choices == (Choice(text, "stop"),)
    assert read_answer(pieces(text), "", True).choices == (Choice(text, "stop"),)
    assert read_answer([whole(text, chat=False)], "", False).choices == (Choice(text, "stop"),)


@given(st.text(max_size=60), st.integers(1, 40))
def test_any_cutting_of_a_stream_gives_its_text(text, size):
    raw = b"".join(pieces(text, "length"))
    cut = [raw[i : i + size] for i in range(0, len(raw), size)]
    (choice,) = read_answer(cut, "identity", True).choices
    assert (choice.text or "", choice.finish) == (text, "length")


def test_usage_and_several_choices():
    raw = [
        event(
            {"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]}
        ),
        event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": True}}),
    ]
    answer = read_answer(raw, "", True)
    assert answer.choices == (Choice("a", "stop"), Choice("b", ""))
    assert (answer.prompt_tokens, answer.completion_tokens, answer.complete) == (3, None, False)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_packed_answers(pack):
    name = "gzip" if pack is gzip.compress else "deflate"
    assert read_answer([pack(whole("x"))], name, False).choices[0].text == "x"


def test_what_cannot_be_read_has_a_name():
    assert read_answer([b"x"], "br", False).problem == "unknown_encoding"
    assert read_answer([b"x"], "gzip", False).problem == "unreadable_answer"
    assert read_answer([b"[" * 100_000], "", False).problem == "unreadable_answer"
    assert read_answer([b'{"choices": 1}'], "", False).problem == "unreadable_answer"
    assert read_answer([event(b"{")], "", True).problem == "malformed_stream"
    assert read_answer([gzip.compress(b"0" * (MAX_BYTES + 2))], "gzip", False).problem == "too_long"
    odd = {"choices": [{"index": "x", "delta": 3}, 4, {"index": 999, "delta": {"content": "z"}}]}
    assert read_answer([event(odd)], "", True) == Answer((), None, None, False, "")
    tool = {"choices": [{"message": {"content": None, "tool_calls": []}, "finish_reason": "tool_calls"}]}
    assert read_answer([json.dumps(tool).encode()], "", False).choices == (Choice(None, "tool_calls"),)


def test_a_server_that_breaks_off_with_an_error_says_so_within_the_stream():
    begun = event({"choices": [{"index": 0, "delta": {"content": '{"a":'}, "finish_reason": None}]})
    fault = event({"error": {"message": "CUDA error", "type": "InternalServerError", "code": 500}})
    answer = read_answer([begun, fault, event(b"[DONE]")], "", True)
    assert (answer.choices, answer.problem) == ((), "upstream_error")
    assert read_answer([event({"choices": [], "error": None}), *pieces("x")], "", True).choices[0].text == "x"
    asked = read_request("chat", json.dumps(ask(response_format=AS_JSON)).encode(), Policy(), FIELDS)
    judged = judge(asked, Passage((begun, fault), 200, "", True, 1.0, 2.0), Guard(), "none")
    # Half of an answer fits no schema, and that says nothing of the model.
    assert (judged.worst.verdict, judged.worst.schema_ok) == ("unjudged", None)
    assert judged.worst.reason == "The server broke its answer off with an error."
