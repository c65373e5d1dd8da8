"""Prompts that a server cuts without a word: seen by its own count, and its answers are not used."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engines import stub_server as say
from tests.engines.stub_server import Stub, ask, opened
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.engines.openai_prompts import (
    FORGETS,
    NO_COUNT,
    OTHER_TOKENS,
    PromptCheck,
    PromptCount,
    prompt_check,
)
from wfgy_triage.errors import ProbeError

LONG = "a prompt that is far longer than the server reads of any of them, " * 3
READS = 150
"""Tokens of a prompt that the server reads: more than it is sent on trial."""
CUT = rf"gave no answer to long\. It counts {READS} tokens of the prompt, and at least (\d+) were sent"
NOT_SEEN = "Whether the server cuts long prompts is not seen"


def tabby(stub: Stub) -> None:
    stub.models = {"data": [{"id": "tiny", "owned_by": "tabbyAPI"}]}
    stub.loaded = {"id": "tiny"}


def both(engine: Any, stub: Stub, **more: Any) -> tuple[list[str], ProbeError]:
    """What is kept of a short and a long prompt, and the error about the long one."""
    stub.otherwise = say.says("an answer", reads=READS, **more)
    requests = [
        GenerationRequest(name, engine.encode(text), 8, messages=(("user", text),))
        for name, text in (("long", LONG), ("short", "short"))
    ]
    kept: list[str] = []
    with pytest.raises(ProbeError, match=CUT) as caught:
        kept.extend(c.id for c in engine.generate(requests))
    return kept, caught.value


@pytest.mark.parametrize("settings", [{"token_ids": True}, {}, {"endpoint": "chat"}])
def test_a_cut_prompt_is_named_and_its_answer_not_used_while_the_others_are_kept(
    stub, tokenizer_folder, settings
):
    engine = opened(stub, tokenizer_folder, **settings)
    assert not any(NOT_SEEN in note for note in engine.info.notes)
    kept, error = both(engine, stub)
    assert kept == ["short"]
    assert f"at least {len(LONG.strip()) if settings.get('endpoint') else len(LONG)} were sent" in str(error)
    assert "context" in error.hint
    assert "Resume" in error.hint
    assert len(stub.bodies) == 2, "another try would be cut alike"


@pytest.mark.parametrize("settings", [{"token_ids": True}, {}, {"endpoint": "chat"}])
def test_what_a_cache_still_held_of_a_prompt_counts_as_read(stub, tokenizer_folder, settings):
    engine = opened(stub, tokenizer_folder, **settings)
    stub.otherwise = say.says("an answer", prompt_tokens_details={"cached_tokens": 190})
    asked = GenerationRequest("q", engine.encode(LONG), 8, messages=(("user", LONG),))
    assert [c.text for c in engine.generate([asked])] == ["an answer"]


def test_the_new_tokens_that_llama_cpp_times_are_not_the_prompt(stub, tokenizer_folder):
    stub.models = {"data": [{"id": "tiny", "owned_by": "llamacpp"}]}
    engine = opened(stub, tokenizer_folder)
    last = say.event(
        end="stop", usage={"prompt_tokens": len(LONG), "completion_tokens": 1}, timings={"prompt_n": 1}
    )
    stub.otherwise = say.stream(say.event("fine"), last)
    assert ask(engine, LONG)[0].text == "fine"
    assert isinstance(stub.bodies[0]["prompt"], list)


def test_the_servers_own_tokenizer_says_how_long_a_text_is_where_it_can_be_asked(stub, tokenizer_folder):
    tabby(stub)
    stub.encode = lambda text: list(text.encode())
    engine = opened(stub, tokenizer_folder)
    kept, _ = both(engine, stub)
    assert kept == ["short"]
    # One whose tokens are longer counts fewer, and has cut nothing: that the tokenizers differ is the doctor's finding.
    stub.encode = lambda text: list(text.encode())[: len(text) // 2]
    stub.otherwise = say.says("an answer", prompt_tokens=len(LONG) // 2)
    assert ask(engine, LONG)[0].text == "an answer"
    asked = stub.visits.count("/v1/token/encode")
    stub.otherwise = say.says("an answer")
    ask(engine, LONG)
    assert stub.visits.count("/v1/token/encode") == asked, "a prompt that was read is no reason to ask"


def test_a_server_whose_tokens_are_others_and_cannot_be_asked_for_is_not_accused(stub, tokenizer_folder):
    def halved(body: dict[str, Any]) -> Any:
        return say.says("an answer", prompt_tokens=say.prompt_tokens(body) // 2)(body)

    stub.otherwise = halved
    engine = opened(stub, tokenizer_folder)
    assert any(f"{NOT_SEEN}: {OTHER_TOKENS}." == note for note in engine.info.notes)
    assert ask(engine, LONG)[0].text == "an answer"


def test_a_server_that_leaves_remembered_tokens_out_of_its_count_is_not_accused(stub, tokenizer_folder):
    seen: set[str] = set()

    def forgetful(body: dict[str, Any]) -> Any:
        known = str(body["prompt"]) in seen
        seen.add(str(body["prompt"]))
        return say.says("an answer", prompt_tokens=1 if known else say.prompt_tokens(body))(body)

    stub.otherwise = forgetful
    engine = opened(stub, tokenizer_folder, token_ids=True)
    assert any(f"{NOT_SEEN}: {FORGETS}." == note for note in engine.info.notes)
    for _ in range(2):
        assert ask(engine, LONG)[0].text == "an answer"


def test_a_server_that_counts_no_prompts_says_so_in_the_notes(stub, tokenizer_folder):
    stub.otherwise = say.stream(say.event("fine"), say.event(end="stop"))
    engine = opened(stub, tokenizer_folder, token_ids=True)
    assert any(f"{NOT_SEEN}: {NO_COUNT}." == note for note in engine.info.notes)
    assert ask(engine, LONG)[0].text == "fine"


@pytest.mark.parametrize(
    ("longer", "as_ids", "tokenizes", "found"),
    [
        (
            [(60, 62), (60, 62)],
            False,
            False,
            PromptCheck("ours"),
        ),  # two tokens of a template, or a start token
        ([(60, 61), (60, 61)], False, False, PromptCheck(None, OTHER_TOKENS)),
        ([(60, 61), (60, 61)], False, True, PromptCheck("theirs")),
        ([(60, 61), (60, 61)], True, True, PromptCheck("ours")),
        ([(60, 62), (60, 2)], True, True, PromptCheck(None, FORGETS)),
        ([(60, 62), (60, None)], True, True, PromptCheck(None, NO_COUNT)),
        ([(60, 62), (60, 0)], True, True, PromptCheck(None, NO_COUNT)),
        ([], False, False, PromptCheck(None, OTHER_TOKENS)),
        ([], False, True, PromptCheck("theirs")),
        ([], True, False, PromptCheck("ours")),
    ],
)
def test_what_a_servers_counts_are_good_for(longer, as_ids, tokenizes, found):
    counts = [PromptCount(*pair) for pair in longer]
    assert prompt_check(PromptCount(10, 12), counts, as_ids=as_ids, tokenizes=tokenizes) == found
