"""A stop within a long text: nothing is computed after it, and nothing of it is left behind."""

from __future__ import annotations

import pytest
import torch

from wfgy_triage.engines.base import Engine, GenerationRequest, ScoreRequest
from wfgy_triage.engines.interrupting import LONG_PASS
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.putback import PutBackEngine, weight_parts

LONG = tuple((13 * i) % 256 for i in range(480))
OTHER = (*LONG[:400], *range(60, 120))
CALLS = {
    "a prompt": lambda engine, stop: engine.generate([GenerationRequest("a", LONG, 4)], stop),
    "what prompts share": lambda engine, stop: engine.generate(
        [GenerationRequest("a", LONG, 4), GenerationRequest("b", OTHER, 4)], stop
    ),
    "a text": lambda engine, stop: engine.logits([ScoreRequest("a", LONG, 470)], 4, stop),
    "what texts share": lambda engine, stop: engine.logits(
        [ScoreRequest("a", LONG, 450), ScoreRequest("b", OTHER, 450)], 4, stop
    ),
}


def read(engine: Engine, name: str, stop=None) -> list:
    """What a call gives, with nothing known of its tokens before."""
    engine.forget_prompts()
    found = CALLS[name](engine, stop)
    if "prompt" in name:
        return sorted((c.id, c.token_ids, c.logprobs) for c in found)
    return [(c.id, c.start, c.logits.clone()) for c in found]


def same(mine: list, theirs: list) -> bool:
    """Whether two results are the same to the last bit."""
    return len(mine) == len(theirs) and all(
        a[:2] == b[:2] and (torch.equal(a[2], b[2]) if isinstance(a[2], torch.Tensor) else a[2] == b[2])
        for a, b in zip(mine, theirs, strict=True)
    )


@pytest.fixture(params=["llama", "olmo2"])
def engine(request, make_folder) -> Engine:
    """With the layers of this program, and with the model class's own."""
    return open_engine(make_folder(request.param), side="fp16")


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_computed_once_it_is_to_stop_and_the_engine_stays_itself(name, engine):
    whole, parts = read(engine, name), []
    assert whole
    blocks = list(engine.runner.base.layers)
    watched = [part for block in blocks for part in (block, *block.children())]
    hooks = [part.register_forward_hook(lambda *_: parts.append("computed")) for part in watched]

    def stop_after(count: int):
        def stop() -> bool:
            parts.append("asked")
            return parts.count("asked") > count

        return stop

    assert same(read(engine, name, stop_after(10_000)), whole)
    asked = parts.count("asked")
    assert asked > 3 * len(blocks), "also within a block"
    for count in range(0, asked, 5):
        parts.clear()
        found = read(engine, name, stop_after(count))
        yes = [n for n, what in enumerate(parts) if what == "asked"][count]
        assert "computed" not in parts[yes:]
        assert same(found, whole[: len(found)]) or "prompt" in name
    for hook in hooks:
        hook.remove()
    assert not any(part._forward_pre_hooks for part in watched)
    assert same(read(engine, name), whole)


def test_a_short_pass_is_not_held_up_by_questions(engine):
    asked = []
    request = ScoreRequest("a", LONG[: LONG_PASS // 2], LONG_PASS // 2 - 4)
    engine.forget_prompts()
    assert list(engine.logits([request], 4, lambda: bool(asked.append(1))))
    assert len(asked) <= 3


def test_weights_that_were_put_back_are_exchanged_again_after_a_stop(make_folder):
    mine, theirs = (open_engine(make_folder("llama", seed=seed), side="fp16") for seed in (0, 1))
    (request,) = [ScoreRequest("a", LONG, 470)]

    def logits(engine: Engine, stop=None) -> list[torch.Tensor]:
        mine.forget_prompts()
        return [chunk.logits.clone() for chunk in engine.logits([request], 128, stop)]

    (before,) = logits(mine)
    back = PutBackEngine(mine, theirs, weight_parts(mine)[0])
    (other,) = logits(back)
    assert not torch.equal(before, other)
    asked = []
    assert logits(back, lambda: asked.append(1) or len(asked) > 4) == []
    assert torch.equal(logits(mine)[0], before)
    assert torch.equal(logits(back)[0], other)
