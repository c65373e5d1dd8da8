"""What a model server can do wrong, against a real HTTP server: each fault has its words, and nothing else is lost."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from tests.engines import stub_server as say
from tests.engines.stub_server import Stub, ask, opened, serving
from wfgy_triage.engines import openai_client
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.engines.openai_loading import open_served
from wfgy_triage.errors import PrerequisiteError, ProbeError
from wfgy_triage.server_settings import ServerSettings

KEY = "sk-very-secret-4711"
BREAKS = ConnectionError
WHOLE = (say.event("all"), say.event(end="stop"))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits between tries are noted instead of waited."""
    noted: list[float] = []

    async def pause(seconds: float) -> None:
        noted.append(seconds)

    monkeypatch.setattr(openai_client, "pause", pause)
    return noted


def test_an_answer_comes_with_what_the_server_counts_and_the_times_of_its_words(stub, tokenizer_folder):
    engine = opened(stub, tokenizer_folder)
    stub.script.append(say.says("one two three", tokens=3))
    (found,) = ask(engine, "q1", seed=7)
    assert (found.id, found.text, found.finish_reason) == ("q1", "one two three", "stop")
    assert (found.counted, found.token_ids, found.logprobs) == (3, (), ())
    assert found.timing is not None
    assert found.timing.first >= 0
    assert found.timing.further is not None
    body = stub.bodies[0]
    assert body["prompt"] == "q1"
    assert (body["temperature"], body["seed"], body["max_tokens"], body["stream"]) == (0.0, 7, 20, True)
    assert (body["presence_penalty"], body["frequency_penalty"], body["model"]) == (0.0, 0.0, "tiny")


def test_without_a_count_there_is_no_time_for_each_token(stub, tokenizer_folder):
    engine = opened(stub, tokenizer_folder)
    stub.script.append(say.stream(say.event("one "), say.event("two"), say.event(end="stop")))
    (found,) = ask(engine, "q1")
    assert found.counted is None
    assert found.timing is not None
    assert found.timing.further is None


@pytest.mark.parametrize(
    "parts",
    [
        (": keep-alive\n\n", *WHOLE, ": bye\n\n", "data: [DONE]\n\n"),
        WHOLE,
        ("\r\n", WHOLE[0].replace("\n", "\r\n"), WHOLE[1].replace("\n", "\r\n")),
        ("event: ping\ndata:\n\n", "id: 7\nretry: 10\n\n", *WHOLE, "data: [DONE]\n\n"),
        ('data: {"choices": []}\n\n', *WHOLE, 'data: {"choices": [], "usage": null}\n\n'),
        ("data:" + WHOLE[0].removeprefix("data: "), WHOLE[1]),
    ],
)
def test_comments_empty_events_other_line_ends_and_a_missing_end_mark_do_no_harm(
    stub, tokenizer_folder, parts
):
    engine = opened(stub, tokenizer_folder)
    stub.script.append(say.stream(*parts))
    assert ask(engine, "q1")[0].text == "all"
    assert len(stub.bodies) == 1


def test_length_is_truncation_and_a_stop_string_ends_the_answer_here_too(stub, tokenizer_folder):
    engine = opened(stub, tokenizer_folder)
    stub.script.append(say.says("on and on", end="length"))
    assert ask(engine, "q1")[0].finish_reason == "length"
    stub.script.append(say.says("right END and more, though it was asked to stop"))
    (found,) = ask(engine, "q2", stop_strings=("END",))
    assert (found.text, found.finish_reason, found.counted) == ("right ", "stop_string", None)


def test_logprobs_are_taken_where_they_are_offered(stub, tokenizer_folder):
    chosen = {"token_logprobs": [-0.5, None, -1.5], "tokens": ["a", "b", "c"]}
    part = say.stream(
        say.event("abc").replace('"index": 0', f'"index": 0, "logprobs": {json.dumps(chosen)}'), WHOLE[1]
    )
    stub.otherwise = part
    engine = opened(stub, tokenizer_folder)
    assert ask(engine, "q1")[0].logprobs == (-0.5, -1.5)
    assert stub.bodies[0]["logprobs"] == 0


def test_a_server_that_refuses_to_give_logprobs_is_asked_without(stub, tokenizer_folder):
    stub.script.append(say.status(400, body={"error": {"message": "logprobs are not supported"}}))
    engine = opened(stub, tokenizer_folder)
    ask(engine, "q1")
    assert "logprobs" not in stub.bodies[0]
    assert any("log-probabilities" in note for note in engine.info.notes)


def test_too_many_requests_are_waited_out_as_the_server_asks(stub, tokenizer_folder, waits):
    engine = opened(stub, tokenizer_folder)
    stub.script += [say.status(429, {"Retry-After": "7"}), say.status(503), say.says("at last")]
    assert ask(engine, "q1")[0].text == "at last"
    assert waits == [7.0, 1.0]


def test_a_wait_that_nobody_would_wait_ends_with_words(stub, tokenizer_folder, waits):
    engine = opened(stub, tokenizer_folder)
    stub.otherwise = say.status(429, {"Retry-After": "86400"})
    with pytest.raises(ProbeError, match="asks to wait 86400 seconds"):
        ask(engine, "q1")
    assert waits == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            say.status(500, body={"error": {"message": "CUDA out of memory"}}),
            "status 500.*CUDA out of memory",
        ),
        (say.stream(say.event("half"), BREAKS), "broke"),
        (say.stream(say.event("half")), "broke off before the answer was complete"),
        (say.stream("data: {oops\n\n"), "no JSON"),
        (say.stream("data: [1, 2]\n\n"), "unknown form"),
        (say.stream('data: {"choices": ["x"]}\n\n'), "unknown form"),
        (say.stream('data: {"error": {"message": "the model was unloaded"}}\n\n'), "model was unloaded"),
        (say.stream('data: {"error": "plain words"}\n\n'), "plain words"),
        (say.stream(b'data: {"choices": [{"text": "\xff\xfe"}]}\n\n', WHOLE[1]), "not valid UTF-8"),
    ],
)
def test_one_question_that_fails_is_tried_again_and_then_named_while_the_others_are_kept(
    stub, tokenizer_folder, waits, fault, words
):
    engine = opened(stub, tokenizer_folder)
    stub.by_prompt["bad"] = [fault, say.says("better")]
    assert {c.id: c.text for c in ask(engine, "q1", "bad", "q2")}["bad"] == "better"
    stub.by_prompt["bad"] = [fault]
    kept: list[str] = []
    requests = [GenerationRequest(t, engine.encode(t), 20) for t in ("bad", "q1", "q2", "q3")]
    with pytest.raises(ProbeError, match=f"gave no answer to bad, after 2 further tries.*{words}") as caught:
        kept.extend(c.id for c in engine.generate(requests))
    assert sorted(kept) == ["q1", "q2", "q3"]
    assert "Resume" in caught.value.hint


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (say.plain("<html>hello</html>", "text/html"), "does not stream"),
        (say.plain('{"choices": [{"text": "whole"}]}', "application/json"), "does not stream"),
        (say.status(404, body={"detail": "Not Found"}), "does not know this address or model"),
        (say.status(307, {"Location": "/elsewhere"}), "redirects to another address"),
    ],
)
def test_what_concerns_the_whole_server_ends_the_run_at_once(stub, tokenizer_folder, waits, fault, words):
    engine = opened(stub, tokenizer_folder, concurrency=1)
    stub.otherwise = fault
    with pytest.raises(ProbeError, match=f"cannot be asked any more.*{words}"):
        ask(engine, "q1", "q2", "q3")
    assert len(stub.bodies) == 1
    assert "/elsewhere" not in stub.visits


def refused_fields(*words: str) -> say.Answer:
    """As servers refuse a request whose fields have the wrong form: a record for each, with what was sent in it."""
    return say.status(
        422,
        body={
            "detail": [{"loc": ["body", "prompt", "str"], "msg": w, "input": "private words"} for w in words]
        },
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (say.status(400, body={"error": {"message": "too long"}}), "refuses the request.*400.*too long"),
        (refused_fields("No text", "No text", "No list"), r"422.*says: prompt: No text; prompt: No list"),
        (say.stream('data: {"error": {"message": "unknown token", "code": 400}}\n\n'), "unknown token"),
    ],
)
def test_a_request_that_a_server_refuses_is_not_asked_again_and_named_without_what_was_sent(
    stub, tokenizer_folder, waits, fault, words
):
    engine = opened(stub, tokenizer_folder)
    stub.by_prompt["bad"] = [fault]
    with pytest.raises(ProbeError, match=words) as caught:
        ask(engine, "q1", "bad")
    assert waits == []
    assert "further tries" not in caught.value.message
    assert "private words" not in str(caught.value)
    assert len(stub.bodies) == 2


def test_an_endless_answer_is_read_up_to_a_limit(stub, tokenizer_folder, waits, monkeypatch):
    engine = opened(stub, tokenizer_folder)
    monkeypatch.setattr(openai_client, "MOST_BYTES", 20_000)
    stub.otherwise = say.stream(*["data: " + "x" * 5000] * 50)
    with pytest.raises(ProbeError, match="sent more than"):
        ask(engine, "q1")
    assert len(stub.bodies) == 1


def test_a_refused_key_names_the_variable_and_never_the_key(stub, tokenizer_folder, monkeypatch, caplog):
    stub.key = "another"
    monkeypatch.setenv("TABBY_API_KEY", KEY)
    with caplog.at_level(logging.DEBUG), pytest.raises(PrerequisiteError) as caught:
        opened(stub, tokenizer_folder, key="TABBY_API_KEY")
    assert "refuses the key" in caught.value.message
    assert "TABBY_API_KEY" in caught.value.hint
    assert caught.value.cause == "server_unreachable"
    assert "[key]" in caught.value.message  # the server had repeated it
    assert KEY not in str(caught.value) + caplog.text


def test_the_key_reaches_the_server_and_nothing_else(stub, tokenizer_folder, monkeypatch, caplog):
    stub.key = KEY
    monkeypatch.setenv("TABBY_API_KEY", KEY)
    with caplog.at_level(logging.DEBUG):
        engine = opened(stub, tokenizer_folder, key="TABBY_API_KEY")
        ask(engine, "q1")
        stub.otherwise = say.status(418, body={"error": f"teapot {KEY}"})
        with pytest.raises(ProbeError, match=r"teapot \[key\]") as caught:
            ask(engine, "q1")
    seen = [caplog.text, str(caught.value), repr(engine.info), repr(vars(engine)), stub.url]
    assert not any(KEY in text for text in seen)
    assert all(h["authorization"] == f"Bearer {KEY}" for h in stub.headers)


@pytest.mark.parametrize("value", [None, "", "two words", "line\nend", "clé"])
def test_a_key_that_is_missing_or_cannot_be_one_is_told_before_anything_is_sent(
    stub, tokenizer_folder, monkeypatch, value
):
    monkeypatch.delenv("TABBY_API_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TABBY_API_KEY", value)
    with pytest.raises(PrerequisiteError, match="TABBY_API_KEY") as caught:
        opened(stub, tokenizer_folder, key="TABBY_API_KEY")
    assert not value or value not in str(caught.value)
    assert stub.visits == []


def test_a_server_that_is_not_there_is_a_cause_of_its_own(tokenizer_folder, waits):
    with pytest.raises(PrerequisiteError, match="does not answer") as caught:
        open_served(
            ServerSettings("http://127.0.0.1:9/v1", retries=1),
            tokenizer_folder,
            side="exl2",
            mode="reproducible",
        )
    assert caught.value.cause == "server_unreachable"
    assert len(waits) == 1


def test_a_server_that_dies_between_two_questions_is_told_as_such(tokenizer_folder, waits):
    with serving(Stub()) as short:
        engine = opened(short, tokenizer_folder, concurrency=1)
        kept = [c.id for c in engine.generate([GenerationRequest("q1", engine.encode("q1"), 5)])]
    with pytest.raises(ProbeError, match="cannot be asked any more"):
        ask(engine, "q2", "q3")
    assert kept == ["q1"]


def test_a_slow_answer_is_given_up_after_the_time_that_was_set(stub, tokenizer_folder, waits):
    engine = opened(stub, tokenizer_folder, timeout=1.0, retries=0)
    stub.otherwise = say.stalls()
    with pytest.raises(ProbeError, match="sent nothing for 1 seconds"):
        ask(engine, "q1")


def test_a_stop_hangs_up_on_answers_that_would_take_an_hour(stub, tokenizer_folder):
    engine = opened(stub, tokenizer_folder, timeout=3600.0, concurrency=4)
    stub.by_prompt["quick"] = [say.says("done")]
    stub.otherwise = say.stalls()
    seen: list[str] = []
    requests = [GenerationRequest(t, engine.encode(t), 5) for t in ("slow1", "quick", "slow2", "slow3")]
    for completion in engine.generate(requests, lambda: bool(seen)):
        seen.append(completion.id)
    assert seen == ["quick"]
    assert [c.id for c in engine.generate(requests, lambda: True)] == []


def test_a_stop_hangs_up_at_once_on_a_server_that_still_reads_the_prompt(stub, tokenizer_folder):
    engine = opened(stub, tokenizer_folder, timeout=3600.0)
    reading, left = threading.Event(), threading.Event()
    stub.otherwise = say.reads_on(reading, left)
    assert list(engine.generate([GenerationRequest("q", engine.encode("q"), 5)], reading.is_set)) == []
    assert left.wait(1.0)


def test_a_caller_that_looks_no_further_leaves_nothing_running(stub, tokenizer_folder):
    engine = opened(stub, tokenizer_folder, timeout=3600.0)
    stub.by_prompt["quick"] = [say.says("done")]
    stub.otherwise = say.stalls()
    answers = engine.generate([GenerationRequest(t, engine.encode(t), 5) for t in ("quick", "slow")])
    assert next(iter(answers)).id == "quick"
    answers.close()
