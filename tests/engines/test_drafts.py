"""Guesses make an answer faster or do nothing: what comes out is what comes out without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.engines.conftest import check_same, own_model
from tests.engines.test_reproducible import few_shot_requests
from wfgy_triage.engines.base import Completion, Engine, GenerationRequest, Grammar
from wfgy_triage.engines.decoding import Decoder, DecodingOptions
from wfgy_triage.engines.drafts import MOST_POSITIONS, WIDTHS, Follower, pass_width
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.storage import PrefixGroup, SegmentedCache

SAMPLED = {"temperature": 1.3, "top_p": 0.9}


def answers(engine: Engine, requests) -> dict[str, Completion]:
    return {c.id: c for c in engine.generate(requests)}


def with_drafts(requests, found: dict[str, Completion], spoil) -> list[GenerationRequest]:
    """The requests with what was answered to them, spoiled in some way, as drafts."""
    return [dataclasses.replace(r, drafts=(spoil(found[r.id].token_ids, i),)) for i, r in enumerate(requests)]


def same(left: dict[str, Completion], right: dict[str, Completion]) -> None:
    check_same(left, right, logprobs=1e-4)


@contextmanager
def passes(engine) -> Iterator[list[int]]:
    """Counts the passes behind the prompts, by how many tokens of a row each one reads."""
    seen: list[int] = []
    plain = engine.runner.forward

    def counted(ids: torch.Tensor, cache: SegmentedCache) -> torch.Tensor:
        seen.append(ids.shape[1])
        return plain(ids, cache)

    engine.runner.forward = counted
    try:
        yield seen
    finally:
        del engine.runner.forward


SPOILED = {
    "right": lambda ids, i: ids,
    "a token replaced": lambda ids, i: (*ids[: i % 9], 7, *ids[i % 9 + 1 :]),
    "tokens left out": lambda ids, i: ids[: i % 7] + ids[i % 7 + 2 :],
    "tokens put in": lambda ids, i: (*ids[: i % 7], 1, 2, 3, *ids[i % 7 :]),
    "cut": lambda ids, i: ids[: i % 11],
    "goes on": lambda ids, i: ids + ids,
    "another text": lambda ids, i: tuple((i + 3 * t) % 256 for t in ids),
    "nothing": lambda ids, i: (),
    "unknown tokens": lambda ids, i: (*ids[:4], 100_000, -1, *ids[4:]),
}


@pytest.mark.parametrize("settings", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_the_answer_does_not_depend_on_the_drafts(engine, spoil, settings):
    grammars = (None, Grammar("regex", "(?s:.){3,30}"), Grammar("regex", "[ -~]{3,20}"))
    asked = few_shot_requests(engine, 21, stop_strings=("e",), **{"max_new_tokens": 1, **settings})
    asked = [
        dataclasses.replace(r, seed=i, max_new_tokens=8 + 5 * (i % 7), grammar=grammars[i % 3])
        for i, r in enumerate(asked)
    ]
    plain = answers(engine, asked)
    assert len({c.finish_reason for c in plain.values()}) == 3
    same(answers(engine, with_drafts(asked, plain, spoil)), plain)
    for request in with_drafts(asked[:4], plain, spoil):
        same(answers(engine, [request]), {request.id: plain[request.id]})


@pytest.mark.parametrize("family", ["qwen3", "olmo2"])
def test_families_with_another_attention(make_folder, family):
    engine = open_engine(make_folder(family), side="fp16")
    asked = few_shot_requests(engine, 9, max_new_tokens=60)
    plain = answers(engine, asked)
    same(answers(engine, with_drafts(asked, plain, SPOILED["tokens put in"])), plain)


def test_rows_that_follow_and_rows_that_do_not(engine):
    """Storage gets gaps of every size, closes them, and loses rows on the way."""
    asked = [
        dataclasses.replace(r, max_new_tokens=40 + 17 * (i % 5))
        for i, r in enumerate(few_shot_requests(engine, 10, max_new_tokens=1))
    ]
    plain = answers(engine, asked)
    kinds = list(SPOILED.values())
    same(answers(engine, with_drafts(asked, plain, lambda ids, i: kinds[i % len(kinds)](ids, i))), plain)


def test_a_right_draft_saves_most_passes(engine):
    asked = few_shot_requests(engine, 3, max_new_tokens=90)
    with passes(engine) as without:
        plain = answers(engine, asked)
    with passes(engine) as with_them:
        found = answers(engine, with_drafts(asked, plain, SPOILED["right"]))
    same(found, plain)
    prompts = sum(n > max(WIDTHS) for n in with_them)
    assert len(with_them) - prompts < (len(without) - prompts) / 4


def test_a_wrong_draft_is_given_up(engine):
    asked = few_shot_requests(engine, 3, max_new_tokens=90)
    plain = answers(engine, asked)
    with passes(engine) as seen:
        same(answers(engine, with_drafts(asked, plain, SPOILED["another text"])), plain)
    assert set(seen[-30:]) == {1}


def test_no_guesses_where_rounding_may_decide(engine):
    """Without ties being settled a pass of another shape could choose another token."""
    asked = few_shot_requests(engine, 3, max_new_tokens=20)
    decoder = Decoder(engine.runner, engine.decode, engine.end_ids, 512, DecodingOptions("x", False))
    plain = {c.id: c for c in decoder.run(asked)}
    with passes(engine) as seen:
        found = {c.id: c for c in decoder.run(with_drafts(asked, plain, SPOILED["right"]))}
    same(found, plain)
    assert seen.count(1) >= 19


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=12), st.booleans())
def test_storage_without_what_was_taken_back(make_folder, engine, taken, keep):
    """Rows read at random and taken back in part end in the states that the model class computes for what is left."""
    model = own_model(make_folder("llama"))
    shared = tuple(range(40, 60))
    prefix = PrefixGroup(3, engine.runner.prefix(shared))
    rows = [[1, 2, 3, 4], [9, 8], [5, 6, 7]]
    cache = SegmentedCache(engine.runner.kv_shape, [len(r) for r in rows], 6, [prefix])
    with torch.inference_mode():
        engine.runner.prefill([tuple(r) for r in rows], cache)
        for number, back in enumerate(taken):
            read = [[(31 * number + 7 * row + n) % 256 for n in range(4)] for row in range(len(rows))]
            states = engine.runner.forward(torch.tensor(read), cache)
            cache.forget(back[: len(rows)])
            for row, (ids, gone) in enumerate(zip(read, back, strict=False)):
                rows[row] += ids[: 4 - gone]
            if keep and number == 2:
                cache.keep([0, 2])
                rows = [rows[0], rows[2]]
        newest = [[11], [12], [13]][: len(rows)]
        states = engine.runner.forward(torch.tensor(newest), cache)
        found = engine.runner.logits(states[:, -1]).float()
        for row, ids in enumerate(rows):
            whole = torch.tensor([[*shared, *ids, *newest[row]]])
            expected = model(whole).logits[0, -1, : engine.runner.vocab_size]
            torch.testing.assert_close(found[row], expected, atol=1e-3, rtol=1e-3)
    assert cache.length <= (max(map(len, rows)) + 1) * 8 / 7 + 4


def followed(drafts, text: str) -> list[str]:
    """What is guessed, four letters, before each letter of a text."""
    follower = Follower([[ord(c) for c in d] for d in drafts])
    ids = [ord(c) for c in text]
    return ["".join(map(chr, follower.guess(ids[:n], 4))) for n in range(len(ids) + 1)]


def test_a_draft_is_followed_to_its_end():
    assert followed(["abcdef"], "abcdef") == ["abcd", "bcde", "cdef", "def", "ef", "f", ""]


def test_after_a_replaced_token_the_draft_goes_on():
    assert followed(["abcdefgh"], "abX") == ["abcd", "bcde", "cdef", "defg"]


def test_after_an_inserted_token_the_place_is_found_again():
    guessed = followed(["say 1234 and 5678"], "say 12 and")
    assert guessed[-1] == " 567"


def test_another_draft_is_taken_up_where_it_fits():
    assert followed(["abcdefgh", "xyz1234567"], "abxyz")[-1] == "1234"
    # The nearest place of several.
    assert followed(["the cat. the dog. the cow."], "the dog. t")[-1] == "he c"


def test_trust_follows_what_was_right():
    follower = Follower([[1, 2, 3, 4]])
    start = follower.trust
    follower.told(3, 3)
    assert start < follower.trust < 1
    for _ in range(20):
        follower.told(3, 0)
    assert follower.trust < 0.15
    assert Follower([]).trust == Follower([()]).trust == 0


def test_width_of_a_pass():
    assert pass_width([0.0] * 5) == 1
    assert pass_width([0.1] * 5) == 1
    assert pass_width([0.99]) == max(WIDTHS)
    assert pass_width([0.95] * 4) >= 8
    # Many rows keep the cores busy by themselves; a half-trusted draft is not worth reading then.
    assert pass_width([0.5] * 40) < pass_width([0.5])
    widths = [pass_width([t / 20] * 8) for t in range(20)]
    assert widths == sorted(widths)
    assert all(rows * pass_width([1.0] * rows) <= max(MOST_POSITIONS, rows) for rows in range(1, 200))
