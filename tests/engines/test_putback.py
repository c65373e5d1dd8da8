"""FP16 weights put back part by part, against a model that was built with these weights in the first place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wfgy_triage.engines.base import GenerationRequest, ScoreRequest
from wfgy_triage.engines.block_states import BlockStates
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.putback import PutBackEngine, WeightPart, put_back, weight_parts
from wfgy_triage.engines.scoring import score_many, score_pair
from wfgy_triage.errors import ProbeError

REQUESTS = [ScoreRequest(f"s{i}", tuple((7 * j + 3 * i) % 256 for j in range(40)), 20) for i in range(3)]
PROMPT = GenerationRequest("p", tuple(range(60, 90)), 8)


@pytest.fixture(params=["llama", "olmo2"])
def pair(request, make_folder):
    """Two models of one shape with different linear weights; one family is fused, the other is not."""
    folders = [make_folder(request.param, seed=seed, tie_word_embeddings=False) for seed in (0, 1)]
    return [open_engine(f, side="fp16") for f in folders]


def logits(engine) -> torch.Tensor:
    return torch.cat([c.logits.clone() for c in engine.logits(REQUESTS)])


def test_parts_cover_every_linear_layer_once(pair):
    parts = weight_parts(pair[1], ranges=2)
    assert parts[0].id == "all"
    single = [path for part in parts[1:] for path in part.paths]
    assert sorted(single) == sorted(set(single)) == sorted(parts[0].paths)
    assert [p.id for p in parts[1:]] == ["head", "attn 0-1", "mlp 0-1", "attn 2-2", "mlp 2-2"]


def test_with_nothing_put_back_the_model_is_itself_and_between_steps_too(pair):
    reference, engine = pair
    plain = logits(engine)
    head = next(p for p in weight_parts(engine) if p.id == "head")
    changed = PutBackEngine(engine, reference, head)
    stream = changed.logits(REQUESTS)
    first = next(stream).logits.clone()
    torch.testing.assert_close(logits(engine), plain, rtol=0, atol=0)
    assert not torch.allclose(first, plain[: len(first)])
    assert len(list(stream)) > 0
    torch.testing.assert_close(logits(engine), plain, rtol=0, atol=0)


def test_putting_the_head_back_applies_the_reference_head_to_the_engines_states(pair):
    reference, engine = pair
    head = next(p for p in weight_parts(engine) if p.id == "head")
    states = engine.runner.prefill([REQUESTS[0].token_ids[:-1]], _cache(engine, 39))[0, 19:]
    expected = reference.runner.logits(states)
    ours = next(PutBackEngine(engine, reference, head).logits(REQUESTS[:1])).logits
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def _cache(engine, length: int):
    from wfgy_triage.engines.storage import SegmentedCache

    return SegmentedCache(engine.runner.kv_shape, [length], length)


def test_every_part_changes_something_and_differently(pair):
    reference, engine = pair
    seen = [logits(engine)]
    for part in weight_parts(engine, ranges=2):
        changed = logits(PutBackEngine(engine, reference, part))
        assert all(not torch.allclose(changed, other) for other in seen)
        seen.append(changed)


def test_all_weights_of_a_model_with_the_same_embeddings_give_the_reference_back(make_folder, tmp_path):
    folder = make_folder("llama", tie_word_embeddings=False)
    reference, engine = (open_engine(folder, side="fp16") for _ in range(2))
    for module in engine.runner.model.modules():
        if hasattr(module, "matrix") and not module.packed:
            module.matrix = torch.zeros_like(module.matrix)
    everything = weight_parts(engine)[0]
    torch.testing.assert_close(
        logits(PutBackEngine(engine, reference, everything)), logits(reference), rtol=0, atol=0
    )
    back = next(PutBackEngine(engine, reference, everything).generate([PROMPT]))
    assert back == next(reference.generate([PROMPT]))


def test_many_candidates_at_once_give_what_each_gives_alone(pair):
    reference, engine = pair
    candidates = [engine, *(PutBackEngine(engine, reference, p) for p in weight_parts(engine, ranges=1))]
    together = list(score_many(reference, candidates, REQUESTS, chunk=7))
    for column, candidate in enumerate(candidates):
        for row, alone in zip(together, score_pair(reference, candidate, REQUESTS, chunk=7), strict=True):
            assert row[column].id == alone.id
            np.testing.assert_array_equal(row[column].kl, alone.kl)


def test_parts_that_take_turns_give_the_same_and_compute_their_lower_blocks_once(pair):
    reference, engine = pair
    parts, plain = weight_parts(engine, ranges=3), logits(engine)
    alone = [logits(PutBackEngine(engine, reference, part)) for part in parts]
    runs: list[int] = []
    for number, block in enumerate(engine.runner.base.layers):
        block.register_forward_hook(lambda *_, number=number: runs.append(number))
    streams = [e.logits(REQUESTS, chunk=7) for e in put_back(engine, reference, parts).values()]
    rounds = [[c.logits.clone() for c in chunks] for chunks in zip(*streams, strict=True)]
    for column, expected in enumerate(alone):
        torch.testing.assert_close(torch.cat([r[column] for r in rounds]), expected, rtol=0, atol=0)
    # All weights, the head and the two parts of the first block run every block; those above begin at their own.
    assert [runs.count(block) / runs.count(0) for block in range(3)] == [1, 6 / 4, 8 / 4]
    torch.testing.assert_close(logits(engine), plain, rtol=0, atol=0)


def test_other_texts_in_between_are_not_mixed_up(pair):
    reference, engine = pair
    first, second = REQUESTS[:1], [ScoreRequest("other", tuple(range(9, 49)), 20)]
    engines = put_back(engine, reference, weight_parts(engine, ranges=3))
    for part in weight_parts(engine, ranges=3):
        for requests in (first, second, first):
            expected = next(PutBackEngine(engine, reference, part).logits(requests)).logits
            found = next(engines[part.id].logits(requests)).logits
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("starts", [0, 1, 2])
def test_of_long_texts_only_the_highest_states_are_kept(pair, monkeypatch, starts):
    reference, engine = pair
    # They begin alike, so that there are several passes, each of which builds on the ones before.
    same = tuple(range(40, 64))
    texts = [
        ScoreRequest(f"s{i}", same + tuple((7 * j + 3 * i) % 256 for j in range(20)), 30) for i in range(3)
    ]
    tokens = sum(len(t.token_ids) for t in texts)
    monkeypatch.setattr("wfgy_triage.engines.block_states.BUDGET_BYTES", starts * tokens * 96 * 4)
    parts = weight_parts(engine, ranges=3)
    alone = [list(PutBackEngine(engine, reference, part).logits(texts, chunk=7)) for part in parts]
    runs: list[int] = []
    for number, block in enumerate(engine.runner.base.layers):
        block.register_forward_hook(lambda *_, number=number: runs.append(number))
    streams = [e.logits(texts, chunk=7) for e in put_back(engine, reference, parts).values()]
    rounds = [[c.logits.clone() for c in chunks] for chunks in zip(*streams, strict=True)]
    for column, expected in enumerate(alone):
        for found, chunk in zip([r[column] for r in rounds], expected, strict=True):
            torch.testing.assert_close(found, chunk.logits, rtol=0, atol=0)
    saved = {0: [1, 1, 1], 1: [6, 6, 8], 2: [4, 6, 8]}[starts]
    assert [runs.count(block) / runs.count(0) for block in range(3)] == [n / saved[0] for n in saved]


def test_a_run_that_overtakes_the_one_that_keeps_is_a_fault_and_no_wrong_number(pair):
    _, engine = pair
    states = BlockStates(engine.runner, [1])
    keeps, builds = states.over(REQUESTS, 3), states.over(REQUESTS, 1)
    ids = torch.tensor([REQUESTS[0].token_ids[:9]])

    def run() -> None:
        engine.runner.forward(ids, _cache(engine, 9))

    keeps(run)
    builds(run)
    with pytest.raises(ProbeError, match="overtaken"):
        builds(run)


def test_other_engines_are_refused(pair):
    class Other:
        pass

    with pytest.raises(ProbeError):
        PutBackEngine(pair[0], Other(), WeightPart("head", ("lm_head",), 2))
    assert weight_parts(Other()) == ()
