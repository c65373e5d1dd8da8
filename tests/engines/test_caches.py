"""A quantized KV cache without the library: what is generated through it, and what exchanging it leaves alone."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from tests.engines.conftest import own_model
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines.base import GenerationRequest, ScoreRequest
from wfgy_triage.engines.cache_rounding import cache_rounding
from wfgy_triage.engines.caches import exact_cache, finer_caches, with_cache
from wfgy_triage.engines.exl2_reference import open_exl2_reference
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.convert import quantize_folder

WIDE = {"num_key_value_heads": 2, "head_dim": 64}
PROMPTS = [tuple((13 * i + 7 * n) % 250 for i in range(20 + 9 * n)) for n in range(4)]
REQUESTS = [GenerationRequest(str(n), ids, 24) for n, ids in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def plain(make_folder):
    return open_engine(make_folder("llama", **WIDE), side="fp16")


def answers(engine, requests=REQUESTS) -> dict[str, tuple[int, ...]]:
    return {c.id: c.token_ids for c in engine.generate(requests)}


def by_hand(folder, ids, tokens, rounding) -> list[float]:
    """Log-probabilities of `tokens` from the model class and its own cache, one row, rounded after every pass."""
    model = own_model(folder)
    past, found, begin = DynamicCache(), [], 0
    # As the library reads it: the prompt but for its last token, then a token at a time.
    passes = [
        (list(ids[:-1]), None),
        *(([read], token) for read, token in zip(ids[-1:] + tokens, tokens, strict=False)),
    ]
    with torch.no_grad():
        for given, token in passes:
            out = model(torch.tensor([given]), past_key_values=past, use_cache=True)
            for layer in past.layers if rounding else ():
                for stored, how in ((layer.keys, rounding.keys), (layer.values, rounding.values)):
                    stored[0, :, begin:] = how(stored[0, :, begin:])
            begin = past.get_seq_length()
            if token is not None:
                found.append(float(out.logits[0, -1, :258].double().log_softmax(-1)[token]))
    return found


@pytest.mark.parametrize("kind", ["Q8", "Q6", "Q4"])
def test_answers_are_those_of_a_cache_that_is_rounded_after_every_pass(plain, make_folder, kind):
    [answer] = plain.with_cache(kind).generate(REQUESTS[2:3])
    assert len(answer.token_ids) > 8
    folder = make_folder("llama", **WIDE)
    rounded, exact = (
        by_hand(folder, PROMPTS[2], answer.token_ids, how) for how in (cache_rounding(kind, 2, 64), None)
    )
    ours = torch.tensor(answer.logprobs)
    away = {name: (ours - torch.tensor(x)).abs().mean() for name, x in (("r", rounded), ("e", exact))}
    # A number between two steps falls with the last bit of a sum, so single steps differ by a little.
    assert away["r"] < 0.25 * away["e"]
    assert ours[:2].tolist() == pytest.approx(rounded[:2], abs=2e-3)


def test_coarser_caches_move_more_and_the_full_one_nothing_from_the_first_word_on(plain):
    many = [
        GenerationRequest(str(n), tuple((17 * i + 5 * n) % 250 for i in range(24 + n)), 24) for n in range(24)
    ]
    own = {c.id: c for c in plain.generate(many)}
    kept, moved = {}, {}
    for kind in ("FP16", "Q8", "Q4"):
        found = {c.id: c for c in plain.with_cache(kind).generate(many)}
        same = [n for n in own if found[n].token_ids[:1] == own[n].token_ids[:1]]
        moved[kind] = sum(abs(found[n].logprobs[0] - own[n].logprobs[0]) for n in same) / len(same)
        kept[kind] = sum(found[n].token_ids == own[n].token_ids for n in own)
    assert kept["FP16"] == len(own) > kept["Q8"] > kept["Q4"]
    # The prompt's last token reads the others from the cache.
    assert moved["FP16"] < 1e-4 < moved["Q8"] < moved["Q4"]


def test_what_prompts_share_is_rounded_like_what_they_do_not(plain):
    beginning = tuple((11 * i + 3) % 250 for i in range(60))
    requests = [GenerationRequest(str(n), (*beginning, 5 + n, 9, 40), 12) for n in range(4)]
    together = plain.with_cache("Q4")
    alone = plain.with_cache("Q4")
    alone.set_prefix_sharing(False)
    plain.forget_prompts()
    for one, other in zip(
        sorted(together.generate(requests), key=lambda c: c.id),
        sorted(alone.generate(requests), key=lambda c: c.id),
        strict=True,
    ):
        assert one.token_ids == other.token_ids
        # One step of a rounding that fell the other way moves a little, a prefix left unrounded very much.
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-2)


def test_exchanging_the_cache_leaves_the_engine_and_its_memory_of_prompts_alone(plain):
    before = answers(plain)
    coarse = plain.with_cache("Q4")
    assert answers(coarse) != before
    assert answers(plain) == before
    sequence = [ScoreRequest("s", (*PROMPTS[3], 9, 9), 30)]
    scored = [torch.cat([c.logits.clone() for c in e.logits(sequence)]) for e in (plain, coarse)]
    assert torch.equal(*scored)
    coarse.close()
    assert answers(plain) == before


def test_the_cache_is_said(plain):
    coarse = plain.with_cache("Q6")
    assert (plain.info.cache, coarse.info.cache, coarse.with_cache("FP16").info) == ("FP16", "Q6", plain.info)
    assert not coarse.info.deterministic
    assert "Q6 cache of exllamav2" in coarse.info.notes[-2]
    assert finer_caches(plain) == ()
    assert finer_caches(coarse) == ("Q8", "FP16")
    assert exact_cache(plain) is None
    assert exact_cache(coarse).info.cache == "FP16"
    assert with_cache(object(), "Q8") is None


@pytest.mark.parametrize(("heads", "times"), [(2, 4), (3, 8), (4, 2), (8, 1)])
def test_a_token_that_the_library_rounds_more_than_once_is_told_of(make_folder, heads, times):
    """It rounds blocks of 512 numbers: 128 and 192 are parts of one that 4 and 8 tokens fill, 512 are one."""
    folder = make_folder("llama", num_attention_heads=heads, num_key_value_heads=heads, head_dim=64)
    engine = open_engine(folder, side="fp16")
    said = [n for n in engine.with_cache("Q4").info.notes if "as its neighbours follow" in n]
    assert [f"up to {times} times" in n for n in said] == ([True] if times > 1 else [])
    engine.close()


def test_the_exl2_side_of_a_pair_has_the_cache_that_is_asked_for(make_folder, tmp_path):
    fp16 = make_folder("llama", **WIDE)
    quantize_folder(fp16, tmp_path / "q", bpw=6.0, method="rtn")
    settings = EngineSettings(cache="Q4")
    exl2 = open_engine(tmp_path / "q", side="exl2", settings=settings)
    assert exl2.info.cache == "Q4"
    assert answers(exl2) == answers(open_exl2_reference(tmp_path / "q").with_cache("Q4"))
    assert open_engine(fp16, side="fp16", settings=settings).info.cache == "FP16"


def test_rounding_that_the_library_does_over_several_tokens_is_refused(make_folder):
    engine = open_engine(make_folder("llama"), side="fp16")
    with pytest.raises(PrerequisiteError, match="32 key numbers") as refused:
        engine.with_cache("Q8")
    assert "cache: FP16" in refused.value.hint
