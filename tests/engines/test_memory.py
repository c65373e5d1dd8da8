"""What is remembered of prompts: it saves computing, stays within its bound, and changes no answer and no score."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.engines.test_reproducible import answers, few_shot_requests
from wfgy_triage.engines.base import GenerationRequest, ScoreRequest
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.memory import PromptMemory
from wfgy_triage.engines.putback import PutBackEngine, weight_parts
from wfgy_triage.engines.storage import PrefixKV

TOKEN_BYTES = 2 * 4
"""Keys and values of one layer and head with one number each."""


def kv(*numbers: float) -> PrefixKV:
    tensor = torch.tensor(numbers, dtype=torch.float32).reshape(1, -1, 1)
    return PrefixKV((tensor,), (-tensor,), len(numbers))


def numbers(part: PrefixKV) -> list[float]:
    assert torch.equal(part.keys[0], -part.values[0])
    return part.keys[0].flatten().tolist()


def memory(tokens: int = 100) -> PromptMemory:
    return PromptMemory(TOKEN_BYTES, tokens * TOKEN_BYTES)


@pytest.fixture
def computed(engine, monkeypatch) -> list[int]:
    """How many columns of how many rows each pass computes, added up by the caller; nothing is remembered yet."""
    engine.forget_prompts()
    passes: list[int] = []
    forward = engine.runner.forward

    def counted(ids, cache):
        passes.append(ids.numel())
        return forward(ids, cache)

    monkeypatch.setattr(engine.runner, "forward", counted)
    return passes


def test_the_longest_common_beginning_counts():
    kept, shared = memory(), kv(1, 2)
    kept.keep((1, 2, 3, 4), shared, kv(3, 4))
    kept.keep((1, 2, 9), shared, kv(9))
    kept.keep((7, 8), None, kv(7, 8))
    assert [kept.known(t) for t in [(1, 2, 3, 5), (1, 2, 9, 9), (1, 5), (7, 8), (7,), (0,), (8,)]] == [
        3, 3, 1, 2, 1, 0, 0,
    ]  # fmt: skip
    assert numbers(kept.part((1, 2, 3, 5), 0, 3)) == [1, 2, 3]
    assert numbers(kept.part((1, 2, 3, 5), 2, 3)) == [3]
    assert numbers(kept.part((1, 2, 9, 9), 1, 2)) == [2]


def test_what_was_used_longest_ago_goes_first():
    kept = memory(8)
    for first in (1, 2, 3):
        kept.keep((first, 0, 0), None, kv(first, 0, 0))
        assert kept.known((1, 0, 0)) == 3
        kept.part((1, 0, 0), 0, 1)
    assert [kept.known((first, 0, 0)) for first in (1, 2, 3)] == [3, 0, 3]
    kept.forget()
    assert kept.known((1, 0, 0)) == 0


def test_what_prompts_share_counts_once_against_the_bound():
    kept, shared = memory(10), kv(*range(6))
    for last in range(6, 10):
        kept.keep((*range(6), last), shared, kv(last))
    assert all(kept.known((*range(6), last)) == 7 for last in range(6, 10))
    kept.keep((*range(6), 99), kv(*range(6)), kv(99))
    assert kept.known((*range(6), 99)) == 6, "one new token is not worth its beginning a second time"
    kept.keep((*range(6), 10), shared, kv(10))
    assert [kept.known((*range(6), last)) for last in (6, 7, 10)] == [6, 7, 7]


def test_too_large_a_prompt_and_no_budget():
    kept = memory(2)
    kept.keep((1, 2, 3), None, kv(1, 2, 3))
    assert kept.known((1, 2, 3)) == 0
    nothing = PromptMemory.none()
    nothing.keep((1,), None, kv(1))
    assert nothing.known((1,)) == 0


def test_prompts_asked_again_are_not_computed_again(engine, computed):
    requests = few_shot_requests(engine, 12, max_new_tokens=1)
    first = answers(engine, requests)
    whole = sum(computed)
    computed.clear()
    assert answers(engine, requests) == first
    assert sum(computed) == 12, "the last token of each gives the logits"
    assert whole > 20 * 12


def test_other_words_behind_the_same_beginning_compute_the_words(engine, computed):
    requests = few_shot_requests(engine, 6, max_new_tokens=1)
    answers(engine, requests)
    computed.clear()
    longer = [dataclasses.replace(r, prompt_ids=r.prompt_ids + engine.encode(" and")) for r in requests]
    again = answers(engine, longer)
    assert sum(computed) == 6 * 4
    engine.forget_prompts()
    assert answers(engine, longer) == again


def test_new_prompts_behind_a_remembered_beginning_are_remembered_too(engine, computed):
    requests = few_shot_requests(engine, 12, max_new_tokens=1)
    answers(engine, requests[:6])
    answers(engine, requests[6:])
    computed.clear()
    answers(engine, requests[6:])
    assert sum(computed) == 6


@pytest.mark.parametrize("family", ["llama", "olmo2"])
def test_answers_are_the_same_whatever_was_asked_before(make_folder, family):
    folder = make_folder(family)
    warm, cold = open_engine(folder, side="fp16"), open_engine(folder, side="fp16")
    asked = few_shot_requests(cold, 16, max_new_tokens=20, temperature=1.1)
    answers(warm, asked[::3])
    answers(warm, [dataclasses.replace(r, prompt_ids=r.prompt_ids[:-7]) for r in asked[1::4]])
    answers(warm, [GenerationRequest("other", cold.encode("Something else entirely."), 3)])
    assert answers(warm, asked) == answers(cold, asked)
    assert answers(warm, asked[5:9]) == answers(cold, asked[5:9])


def test_scores_are_the_same_after_the_prompts_were_asked(make_folder):
    folder = make_folder("llama")
    warm, cold = open_engine(folder, side="fp16"), open_engine(folder, side="fp16")
    asked = few_shot_requests(cold, 9, max_new_tokens=12)
    said = answers(warm, asked)
    requests = [ScoreRequest(r.id, r.prompt_ids + said[r.id][0] + (5,), len(r.prompt_ids)) for r in asked]
    requests[0] = dataclasses.replace(requests[0], first=3)  # wants states of what is remembered too
    mine, plain = ([(c.id, c.start, c.logits.clone()) for c in e.logits(requests)] for e in (warm, cold))
    assert [c[:2] for c in mine] == [c[:2] for c in plain]
    for (_, _, ours), (_, _, theirs) in zip(mine, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_weights_that_are_put_back_use_and_leave_no_memory(make_folder):
    folders = [make_folder("llama", seed=seed, tie_word_embeddings=False) for seed in (0, 1)]
    reference, engine, fresh = (open_engine(f, side="fp16") for f in (folders[0], folders[1], folders[1]))
    asked = few_shot_requests(engine, 5, max_new_tokens=10)
    own = answers(engine, asked)
    part = weight_parts(engine)[0]
    swapped = answers(PutBackEngine(engine, reference, part), asked)
    assert swapped == answers(PutBackEngine(fresh, reference, part), asked)
    assert swapped != own
    assert answers(engine, asked) == own
