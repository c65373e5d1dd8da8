"""What a server is asked before a run: whether a drawn answer comes again with its seed, seen and not believed."""

from __future__ import annotations

import pytest

from tests.engines import stub_server as say
from tests.engines.stub_server import Stub, opened
from wfgy_triage.engines.openai_loading import open_served
from wfgy_triage.engines.openai_trial import DRAWN_TOKENS, HEAT, OTHER_SEED, SEED
from wfgy_triage.server_settings import ServerSettings


def notes(stub: Stub, folder, **settings) -> str:
    return " ".join(opened(stub, folder, **settings).info.notes)


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_a_server_that_follows_the_seed_draws_the_same_text_twice(stub, tokenizer_folder, endpoint):
    stub.otherwise = say.draws()
    assert "with one seed at temperature 1.5, the server drew the same text." in notes(
        stub, tokenizer_folder, endpoint=endpoint
    )


def test_a_server_that_ignores_the_seed_is_found_out(stub, tokenizer_folder):
    stub.otherwise = say.draws(seeds=False)
    said = notes(stub, tokenizer_folder)
    assert "the server drew two different texts, so an answer that is drawn may not come again" in said
    assert "the same text" not in said


def test_a_server_that_draws_nothing_is_not_said_to_follow_seeds(stub, tokenizer_folder):
    stub.otherwise = say.says("always this")
    said = notes(stub, tokenizer_folder)
    assert "the same text with two different seeds" in said
    assert "drew the same text" not in said


def test_a_server_that_refuses_to_draw_is_used_and_the_note_says_why_nothing_is_known(stub, tokenizer_folder):
    def greedy_only(body):
        refused = say.status(400, body={"error": {"message": "temperature is fixed"}})
        return (refused if body["temperature"] else say.says("fine"))(body)

    stub.otherwise = greedy_only
    said = notes(stub, tokenizer_folder)
    assert "comes again with its seed is not known. The server refuses the request (status 400)" in said
    assert "temperature is fixed" in said


def test_a_kind_of_server_that_takes_no_seed_is_not_asked_to_draw(stub, tokenizer_folder):
    stub.models = {"data": [{"id": "tiny", "owned_by": "tabbyAPI"}]}
    stub.loaded = {"id": "tiny"}
    stub.otherwise = say.draws(seeds=False)
    said = trial(stub, tokenizer_folder)
    assert "takes no seed" in said
    assert "Asked twice" not in said
    assert [b["temperature"] for b in stub.bodies] == [0.0]


def test_the_draws_are_a_few_tokens_each_and_a_third_is_asked_for_only_when_it_tells_something(
    stub, tokenizer_folder
):
    stub.otherwise = say.draws()
    trial(stub, tokenizer_folder)
    drawn = [b for b in stub.bodies if b["temperature"]]
    assert [b["seed"] for b in drawn] == [SEED, SEED, OTHER_SEED]
    assert {(b["temperature"], b["max_tokens"]) for b in drawn} == {(HEAT, DRAWN_TOKENS)}
    assert len({b["prompt"] for b in drawn}) == 1
    stub.bodies.clear()
    stub.otherwise = say.draws(seeds=False)
    trial(stub, tokenizer_folder)
    assert len([b for b in stub.bodies if b["temperature"]]) == 2


def trial(stub: Stub, folder) -> str:
    """The notes, with what was sent for them still in the stub's book."""
    settings = ServerSettings(stub.url, retries=0)
    return " ".join(open_served(settings, folder, side="exl2", mode="reproducible").info.notes)
