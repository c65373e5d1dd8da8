"""The comparison of two engines against a plain computation in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import entr, log_softmax, rel_entr

from tests.engines.conftest import own_model
from wfgy_triage.engines.base import LogitChunk, ScoreRequest
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.scoring import score_each, score_pair, score_text
from wfgy_triage.errors import InputError, ProbeError

SHARED = tuple(range(60, 100))
REQUESTS = [
    ScoreRequest(f"s{i}", SHARED + tuple((11 * j + 5 * i) % 256 for j in range(n)), first)
    for i, (n, first) in enumerate([(5, 42), (60, 41), (1, 40), (33, 50), (33, 44)])
]


@pytest.fixture(scope="module")
def pair(make_folder):
    """Two models of one shape with different weights."""
    folders = make_folder("llama"), make_folder("llama", seed=1)
    return folders, [open_engine(f, side="fp16") for f in folders]


def test_every_number_against_scipy(pair):
    folders, (reference, candidate) = pair
    models = [own_model(f) for f in folders]
    scores = list(score_pair(reference, candidate, REQUESTS, chunk=16))
    assert [s.id for s in scores] == [r.id for r in REQUESTS]
    for score, request in zip(scores, REQUESTS, strict=True):
        with torch.no_grad():
            logits = [
                m(torch.tensor([request.token_ids])).logits[0, request.first - 1 : -1, :258] for m in models
            ]
        ref, cand = (log_softmax(x.double().numpy(), axis=-1) for x in logits)
        actual = list(request.token_ids[request.first :])
        rows = np.arange(len(actual))
        assert score.kl.dtype == np.float64
        np.testing.assert_allclose(score.kl, rel_entr(np.exp(ref), np.exp(cand)).sum(-1), rtol=1e-4)
        np.testing.assert_allclose(score.ref_top_p, np.exp(ref.max(-1)), rtol=1e-4)
        np.testing.assert_array_equal(score.same_top, ref.argmax(-1) == cand.argmax(-1))
        for found, logs in ((score.ref_entropy, ref), (score.cand_entropy, cand)):
            np.testing.assert_allclose(found, entr(np.exp(logs)).sum(-1), rtol=1e-4)
        np.testing.assert_allclose(score.ref_logprob, ref[rows, actual], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(score.cand_logprob, cand[rows, actual], rtol=1e-4, atol=1e-5)


def test_the_chunk_size_does_not_matter(pair):
    _, (reference, candidate) = pair
    whole = list(score_pair(reference, candidate, REQUESTS, chunk=128))
    for chunk in (1, 7):
        for a, b in zip(whole, score_pair(reference, candidate, REQUESTS, chunk=chunk), strict=True):
            np.testing.assert_allclose(a.kl, b.kl, rtol=1e-5)


def test_a_model_does_not_differ_from_itself(pair):
    _, (reference, _candidate) = pair
    for score in score_pair(reference, reference, REQUESTS):
        assert not score.kl.any()
        assert score.same_top.all()


def test_damaged_weights_are_reported_not_averaged(make_folder, pair):
    _, (reference, _candidate) = pair
    broken = open_engine(make_folder("llama", seed=1), side="fp16")
    broken.runner.base.norm.weight.data[0] = math.inf
    with pytest.raises(ProbeError, match="not finite numbers for 's0'"):
        list(score_pair(reference, broken, REQUESTS))


def test_a_stop_ends_a_comparison_wherever_the_engines_are(pair):
    _, (reference, candidate) = pair
    whole = list(score_each(reference, [candidate], [REQUESTS], 16))
    for after in range(0, 60, 3):
        asked = []
        found = list(
            score_each(
                reference, [candidate], [REQUESTS], 16, lambda n=after, a=asked: a.append(1) or len(a) > n
            )
        )
        assert [s.id for _, s in found] == [s.id for _, s in whole[: len(found)]]
        for (_, ours), (_, theirs) in zip(found, whole, strict=False):
            np.testing.assert_array_equal(ours.kl, theirs.kl)
    assert len(found) > 0
    assert list(score_text(candidate, REQUESTS, 16, lambda: True)) == []


def test_an_engine_that_ends_early_unasked_is_a_fault(pair):
    _, (reference, candidate) = pair

    class Short:
        info, capabilities = candidate.info, candidate.capabilities

        def logits(self, requests, chunk=128, should_stop=None):
            yield from list(candidate.logits(requests, chunk))[:-1]

    with pytest.raises(ProbeError, match="before it had read every sequence"):
        list(score_pair(reference, Short(), REQUESTS))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_logit_is_enough(pair, bad):
    _, (reference, candidate) = pair

    class Damaged:
        info = candidate.info

        def logits(self, requests, chunk=128, should_stop=None):
            for part in candidate.logits(requests, chunk):
                logits = part.logits.clone()
                logits[-1, 7] = bad
                yield LogitChunk(part.id, part.start, logits)

    with pytest.raises(ProbeError, match="not finite"):
        list(score_pair(reference, Damaged(), REQUESTS))


def test_other_vocabularies_are_refused(make_folder, pair):
    _, (reference, _candidate) = pair
    with pytest.raises(InputError, match="vocabularies differ"):
        score_pair(reference, open_engine(make_folder("qwen2"), side="fp16"), REQUESTS)


@pytest.mark.parametrize(
    ("request_", "chunk", "message"),
    [
        (ScoreRequest("a", (1, 2, 3), 0), 128, "position 0 of 3"),
        (ScoreRequest("a", (1, 2, 3), 3), 128, "position 3 of 3"),
        (ScoreRequest("a", (1, 2, 999), 1), 128, "outside the vocabulary"),
        (ScoreRequest("a", (1,) * 600, 1), 128, "600 tokens"),
        (ScoreRequest("a", (), 1), 128, "no tokens"),
        (ScoreRequest("a", (1, 2), 1), 0, "chunk of 0"),
    ],
)
def test_what_cannot_be_scored_is_refused_at_once(engine, request_, chunk, message):
    with pytest.raises(InputError, match=message):
        score_pair(engine, engine, [REQUESTS[0], request_], chunk=chunk)


def test_nothing_asked_nothing_scored(engine):
    assert list(score_pair(engine, engine, [])) == []


def test_embedding_is_the_mean_of_hidden_states(engine, make_folder):
    texts = ["one", "a longer text than the first", "Ünïcode"]
    model = own_model(make_folder("llama"))
    assert engine.info.layers == 3
    every = engine.embed(texts, range(4))
    assert every.shape == (4, 3, 96)
    assert every.dtype == np.float32
    for number, text in enumerate(texts):
        with torch.no_grad():
            states = model(torch.tensor([engine.encode(text)]), output_hidden_states=True).hidden_states
        for layer in range(4):
            expected = states[layer][0].mean(0).numpy()
            np.testing.assert_allclose(every[layer, number], expected, rtol=1e-3, atol=1e-4)
    for layers in ([2], [0, 2], [3, 1]):
        np.testing.assert_allclose(engine.embed(texts, layers), every[list(layers)], rtol=1e-5, atol=1e-6)
    assert engine.embed([], [1]).shape == (1, 0, 96)
    with pytest.raises(InputError, match="no layer 4"):
        engine.embed(texts, [4])
    with pytest.raises(InputError, match="Text 1 has 0 tokens"):
        engine.embed(["x", ""], [1])


def test_embedding_leaves_the_model_as_it_was(engine):
    ids = engine.encode("Nothing is left out afterwards.")
    request = ScoreRequest("a", ids, 1)
    before = torch.cat([c.logits.clone() for c in engine.logits([request])])
    engine.embed(["a text"], [1])
    after = torch.cat([c.logits.clone() for c in engine.logits([request])])
    assert torch.equal(before, after)
