"""What is sent to a server and made of its words: prompts, forms, kinds of servers; and streams cut anywhere."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.engines import stub_server as say
from tests.engines.stub_server import Stub, opened, request, sent
from tests.loops import finished
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines.base import GenerationRequest, Grammar, Sampler, ScoreRequest
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.openai_facts import ask_facts
from wfgy_triage.engines.openai_requests import added_start
from wfgy_triage.engines.openai_stream import read_answer
from wfgy_triage.errors import InputError, PrerequisiteError, ProbeError
from wfgy_triage.server_settings import ServerSettings

CHAT = [{"role": "user", "content": "Hé\n 🙂?"}]
SCHEMA = Grammar("json_schema", '{"type": "object"}')


def tabby(stub: Stub, **parameters: Any) -> None:
    stub.models = {"data": [{"id": n, "owned_by": "tabbyAPI"} for n in ("one", "two")]}
    stub.loaded = {"id": "two", "owned_by": "tabbyAPI", "parameters": parameters}


def test_both_sides_get_the_same_prompt_whatever_is_in_it(stub, tokenizer_folder):
    engine = opened(stub, tokenizer_folder)
    text = engine.render_chat(CHAT)
    assert sent(stub, engine, request(engine, text))["prompt"] == text
    ids = opened(stub, tokenizer_folder, token_ids=True)
    assert tuple(sent(stub, ids, request(ids, text))["prompt"]) == engine.encode(text)


def test_the_chat_endpoint_gets_messages_and_says_whose_template_frames_them(stub, tokenizer_folder):
    delta = {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    stub.otherwise = say.stream(f"data: {json.dumps(delta)}\n\n")
    engine = opened(stub, tokenizer_folder, endpoint="chat")
    asked = request(engine, engine.render_chat(CHAT), messages=(("user", "Hello"),))
    body = sent(stub, engine, asked)
    assert (body["path"], body["messages"]) == (
        "/v1/chat/completions",
        [{"role": "user", "content": "Hello"}],
    )
    assert "prompt" not in body
    assert any("server's own chat template" in note for note in engine.info.notes)
    with pytest.raises(InputError, match="plain text to go on with"):
        list(engine.generate([request(engine)]))


def test_tabbyapi_is_known_by_its_list_and_told_to_add_nothing(stub, tokenizer_folder):
    tabby(stub, max_seq_len=4096, cache_mode="Q4")
    engine = opened(stub, tokenizer_folder)
    assert engine.info.architecture == "two"
    assert engine.info.max_context == 4096
    assert any("cache is Q4" in note for note in engine.info.notes)
    body = sent(stub, engine, request(engine, "<s>q", grammar=SCHEMA))
    assert (body["prompt"], body["add_bos_token"], body["repetition_penalty"]) == ("<s>q", False, 1.0)
    assert body["json_schema"] == {"type": "object"}
    assert engine.capabilities.grammars == ("json_schema",)


def test_tabbyapi_is_asked_for_probabilities_in_its_way_and_no_more_answers_at_a_time_than_it_works_on(
    stub, tokenizer_folder
):
    tabby(stub, max_batch_size=1)
    stub.otherwise = say.stream(
        say.event("a").replace('"index": 0', '"index": 0, "logprobs": {"token_logprobs": [-0.5]}'),
        say.event(end="stop"),
    )
    engine = opened(stub, tokenizer_folder, concurrency=4)
    assert sent(stub, engine, request(engine))["logprobs"] == 1  # it gives none with 0
    assert any(", 1 at a time" in note for note in engine.info.notes)
    assert any("takes no seed" in note for note in engine.info.notes)
    assert any("compatibility mode" in note for note in engine.info.notes)


def test_a_server_that_answers_with_another_model_than_the_one_asked_for_is_refused(stub, tokenizer_folder):
    tabby(stub)
    with pytest.raises(
        PrerequisiteError, match="model that it has loaded, whatever model is asked for"
    ) as caught:
        opened(stub, tokenizer_folder, model="one")
    assert "model:" in caught.value.hint


def test_a_server_that_loads_the_model_it_is_asked_for_is_told_by_that_model(stub, tokenizer_folder):
    tabby(stub, max_seq_len=4096)

    def load(body: dict[str, Any]) -> Any:
        stub.loaded = {"id": body["model"], "owned_by": "tabbyAPI", "parameters": {"max_seq_len": 512}}
        return say.says("Hi")(body)

    stub.otherwise = load
    engine = opened(stub, tokenizer_folder, model="one")
    assert (engine.info.architecture, engine.info.max_context) == ("one", 512)


@pytest.mark.parametrize(("asked", "context"), [(None, 300), (200, 200), (9000, 300)])
def test_a_text_is_never_longer_than_the_server_takes(stub, tokenizer_folder, asked, context):
    stub.models = {"data": [{"id": "tiny", "owned_by": "vllm", "max_model_len": 300}]}
    assert opened(stub, tokenizer_folder, context=asked).info.max_context == context


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/home/somebody/models/tiny-fp16", "tiny-fp16"),
        ("C:\\models\\tiny\\", "tiny"),
        ("./tiny", "tiny"),
        ("somebody/tiny", "somebody/tiny"),
    ],
)
def test_a_model_that_is_named_by_its_path_is_asked_by_it_and_shown_by_its_folder(
    stub, tokenizer_folder, name, shown
):
    stub.models = {"data": [{"id": name, "owned_by": "vllm"}]}
    engine = opened(stub, tokenizer_folder)
    assert sent(stub, engine, request(engine))["model"] == name
    assert engine.info.architecture == shown
    assert f"“{shown}”" in engine.info.notes[0]


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ('{"a": 1}', True),
        (' {"a": 1}\n', True),
        ('{"a": 1, "b": [1, 2', True),  # cut by a text that ends answers: it may have been on its way
        ("", True),
        ('{"a": "one"}', False),
        ('{"b": 2}', False),
        ('Sure! {"a": 1}', False),
        ("I cannot do that.", False),
        ('{"a": 1} and more', False),
    ],
)
def test_a_server_that_ignores_the_schema_is_found_out(stub, tokenizer_folder, text: str, held: bool):
    tabby(stub)
    engine = opened(stub, tokenizer_folder)
    stub.otherwise = say.says(text)
    schema = Grammar(
        "json_schema", '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
    )
    answers = engine.generate([request(engine, grammar=schema)])
    assert next(answers).text == text  # what came is kept
    if held:
        assert list(answers) == []
    else:
        with pytest.raises(ProbeError, match="breaks it .* ignores the option"):
            next(answers)


def test_vllm_takes_the_schema_in_its_own_option(stub, tokenizer_folder):
    stub.models = {"data": [{"id": "tiny", "owned_by": "vllm", "max_model_len": 300}]}
    engine = opened(stub, tokenizer_folder)
    body = sent(stub, engine, request(engine, grammar=SCHEMA))
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["add_special_tokens"] is False
    assert engine.info.max_context == 300


def test_a_server_of_an_unknown_kind_holds_no_form_and_puts_the_start_token_itself(
    stub, tokenizer_folder, tmp_path
):
    engine = opened(stub, tokenizer_folder)
    assert not engine.capabilities.grammar
    with pytest.raises(InputError, match="cannot be held to its form"):
        list(engine.generate([request(engine, grammar=SCHEMA)]))
    assert added_start(engine.tokenizer) is None
    assert sent(stub, engine, request(engine, "<s>q"))["prompt"] == "<s>q"
    adding: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(tokenizer_folder)
    adding.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 256)]
    )
    adding.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    other = opened(stub, tmp_path)
    assert sent(stub, other, request(other, "<s>q"))["prompt"] == "q"


def test_what_a_server_cannot_give_is_an_error_and_not_a_guess(stub, tokenizer_folder):
    engine = opened(stub, tokenizer_folder)
    assert (engine.capabilities.score, engine.capabilities.embed, engine.capabilities.served) == (
        False,
        False,
        True,
    )
    assert not engine.info.deterministic
    with pytest.raises(ProbeError, match="no probabilities of a given text"):
        list(engine.logits([ScoreRequest("s", (1, 2, 3), 1)]))
    with pytest.raises(ProbeError, match="no hidden states"):
        engine.embed(["text"], [0])
    with pytest.raises(InputError, match="context"):
        list(engine.generate([GenerationRequest("long", engine.encode("x" * 600), 8)]))
    engine.close()
    with pytest.raises(ProbeError, match="closed"):
        list(engine.generate([request(engine)]))


def test_a_server_with_several_models_is_asked_which_one_only_if_it_does_not_say(stub):
    stub.models = {"data": [{"id": "one"}, {"id": "two"}]}
    with pytest.raises(PrerequisiteError, match="which of its models") as caught:
        ask_facts(ServerSettings(stub.url), "No.")
    assert "one, two" in caught.value.hint
    assert ask_facts(ServerSettings(stub.url, model="two"), "No.").model == "two"


def test_models_that_are_named_by_their_paths_are_listed_by_their_folders(stub):
    stub.models = {
        "data": [{"id": "/home/somebody/models/tiny"}, {"id": "C:\\models\\small\\"}, {"id": "org/plain"}]
    }
    with pytest.raises(PrerequisiteError) as caught:
        ask_facts(ServerSettings(stub.url), "No.")
    assert "tiny, small, org/plain" in caught.value.hint
    assert "somebody" not in f"{caught.value}"
    facts = ask_facts(ServerSettings(stub.url, model="/home/somebody/models/tiny"), "No.")
    assert (facts.model, facts.models) == ("/home/somebody/models/tiny", ("tiny", "small", "org/plain"))


@pytest.mark.parametrize("models", [[], "x", {"data": "x"}, {"error": "x"}])
def test_something_else_than_a_model_server_is_told_as_such(stub, models):
    stub.models = models
    with pytest.raises(PrerequisiteError, match="no OpenAI-compatible server"):
        ask_facts(ServerSettings(stub.url), "No.")


def test_a_name_that_stands_for_a_link_local_address_is_refused(stub, monkeypatch):
    async def resolve(*args: Any, **more: Any) -> list[Any]:
        return [(2, 1, 6, "", ("169.254.169.254", 0))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    with pytest.raises(PrerequisiteError, match="link-local"):
        ask_facts(ServerSettings("http://inside.example/v1", retries=0), "No.")


def test_the_servers_own_tokenizer_can_be_asked_where_it_offers_it(stub, tokenizer_folder):
    assert opened(stub, tokenizer_folder).server_token_ids(["a"]) is None
    tabby(stub)
    stub.encode = lambda text: [1, 2, len(text)]
    assert opened(stub, tokenizer_folder).server_token_ids(["a", "abc"]) == [(1, 2, 1), (1, 2, 3)]


def test_a_served_side_takes_the_tokenizer_of_the_loaded_one(stub, make_folder):
    fp16 = open_engine(make_folder("llama"), side="fp16")
    served = open_engine(
        "no-tokenizer_folder",
        side="exl2",
        share_with=fp16,
        settings=EngineSettings(server=ServerSettings(stub.url)),
    )
    assert served.encode("<s>Hé") == fp16.encode("<s>Hé")
    assert served.render_chat(CHAT) == fp16.render_chat(CHAT)
    assert served.info.vocab_size == fp16.info.vocab_size
    assert served.info.max_context == fp16.info.max_context


PARTS = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=8).map(lambda t: ("text", t)),
        st.sampled_from([("raw", ": ping\n\n"), ("raw", "\n"), ("raw", "event: x\ndata:\n\n")]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(PARTS, st.data())
def test_an_answer_is_the_same_wherever_the_network_cuts_the_stream(parts, data):
    whole = "".join(say.event(p[1]) if p[0] == "text" else p[1] for p in parts) + say.event(end="stop")
    raw = whole.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

    async def read() -> str:
        response = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream())
        return (await read_answer(response, time.monotonic(), (), str)).text

    assert finished(read()) == "".join(t for kind, t in parts if kind == "text")


def test_sampling_that_is_left_to_the_server_is_not_sent(stub, tokenizer_folder):
    tabby(stub)
    engine = opened(stub, tokenizer_folder)
    neutral = sent(stub, engine, request(engine))
    body = sent(stub, engine, request(engine, sampler=Sampler(server_own=True), seed=7))
    gone = set(neutral) - set(body)
    assert gone == {
        "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
        "token_healing",
    }  # fmt: skip
    assert body["seed"] == 7
    cool = sent(stub, engine, request(engine, sampler=Sampler(server_own=True), temperature=0.3))
    assert set(cool) - set(body) == {"temperature"}
    with pytest.raises(InputError, match="no common names"):
        list(engine.generate([request(engine, sampler=Sampler(top_k=5))]))
