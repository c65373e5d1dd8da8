"""The exllamav2 engine on a stand-in that computes what the library is meant to: it equals the baseline's engine."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engines import fake_exllamav2 as fake
from tests.engines.conftest import check_same
from tests.engines.fake_exllamav2 import fake_library
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines import exllamav2_loading
from wfgy_triage.engines.base import Engine, GenerationRequest, Grammar, Sampler, ScoreRequest
from wfgy_triage.engines.exllamav2_engine import ExLlamaV2Engine
from wfgy_triage.engines.exllamav2_filter import TokenChooser
from wfgy_triage.engines.exllamav2_forward import PROMPT_CHUNK
from wfgy_triage.engines.exllamav2_generation import STARTING_JOBS, finish_reason
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.scoring import score_pair
from wfgy_triage.errors import InputError, ProbeError

GPU = EngineSettings(device="cuda", backend="exllamav2", baseline="exllamav2")
DIGITS = Grammar("regex", "[0-9]{3}")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ExLlamaV2Engine]]:
    """Open a folder on the stand-in; as on a machine with a GPU, but for the arithmetic."""
    made: list[ExLlamaV2Engine] = []

    def make(
        folder: Path, settings: EngineSettings = GPU, flash: bool = False, side: str = "fp16"
    ) -> ExLlamaV2Engine:
        with monkeypatch.context() as patch:
            patch.setattr(exllamav2_loading, "check_gpu", lambda: None)
            patch.setattr(exllamav2_loading, "load_library", lambda: fake_library(flash))
            made.append(open_engine(folder, side=side, settings=settings))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def ask(engine: Engine, count: int = 4, **how: object) -> list[GenerationRequest]:
    prompts = [engine.encode(f"<s>Once upon a time, story number {n} of many,") for n in range(count)]
    return [GenerationRequest(str(n), p, **{"max_new_tokens": 12, **how}) for n, p in enumerate(prompts)]


def by_id(completions):
    return {c.id: c for c in completions}


def equal(ours, theirs) -> None:
    check_same(ours, theirs, logprobs=1e-3)


@pytest.mark.parametrize("flash", [False, True])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"temperature": 0.8, "seed": 5},
        {"temperature": 1.1, "top_p": 0.7, "seed": 6},
        {"temperature": 1.2, "sampler": Sampler(top_k=20, repetition_penalty=1.3), "seed": 7},
        {"sampler": Sampler(repetition_penalty=1.5)},
        {"grammar": DIGITS},
        {"grammar": DIGITS, "temperature": 0.9, "max_new_tokens": 3},
        {"grammar": DIGITS, "max_new_tokens": 2},
    ],
    ids=str,
)
def test_answers_are_the_baselines(engine, opened, make_folder, how, flash):
    requests = ask(engine, **how)
    mine = opened(make_folder("llama"), flash=flash)
    equal(by_id(mine.generate(requests)), by_id(engine.generate(requests)))


def test_every_end_token_ends_an_answer_and_is_no_part_of_it(engine, opened, make_folder, tmp_path):
    source = make_folder("llama")
    (usual,) = engine.generate(ask(engine, 1))
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = json.loads((source / "generation_config.json").read_text())
    ends = {"eos_token_id": [257, usual.token_ids[3]]}
    (tmp_path / "generation_config.json").write_text(json.dumps({**data, **ends}))
    mine = opened(tmp_path)
    assert mine.end_ids == {257, usual.token_ids[3]}
    (short,) = mine.generate(ask(engine, 1))
    first = usual.token_ids.index(usual.token_ids[3])
    assert (short.token_ids, short.finish_reason) == (usual.token_ids[:first], "stop")
    assert len(short.logprobs) == first


def test_stop_strings_cut_the_text_wherever_they_end(engine, opened, make_folder):
    (usual,) = engine.generate(ask(engine, 1, max_new_tokens=40))
    mine = opened(make_folder("llama"))
    whole = [t for t in (usual.text[4:7], usual.text[9:10]) if t.isascii()] or [usual.text[4:7]]
    for stop in whole:
        requests = ask(engine, 1, max_new_tokens=40, stop_strings=(stop, ""))
        equal(by_id(mine.generate(requests)), by_id(engine.generate(requests)))


def test_a_stop_string_in_the_last_token_counts(engine, opened, make_folder):
    (usual,) = engine.generate(ask(engine, 1))
    mine = opened(make_folder("llama"))
    at = len(usual.token_ids)
    stop = next(
        (usual.text[i:] for i in range(len(usual.text) - 1, 0, -1) if usual.text.find(usual.text[i:]) == i),
        None,
    )
    assert stop is not None
    requests = ask(engine, 1, max_new_tokens=at, stop_strings=(stop,))
    (mine_first,), (theirs,) = mine.generate(requests), engine.generate(requests)
    assert mine_first.finish_reason == theirs.finish_reason == "stop_string"
    assert mine_first.text == theirs.text


@pytest.mark.parametrize("chunk", [1, 7, 128])
def test_logits_come_in_the_same_pieces(engine, opened, make_folder, chunk):
    long = engine.encode("<s>The same long beginning of both sequences, and then it ends in two ways: ")
    requests = [ScoreRequest(n, (*long, *engine.encode(n)), len(long) - 9) for n in ("first", "second way")]
    mine = opened(make_folder("llama"))
    for ours, theirs in zip(mine.logits(requests, chunk), engine.logits(requests, chunk), strict=True):
        assert (ours.id, ours.start, ours.logits.shape) == (theirs.id, theirs.start, theirs.logits.shape)
        assert ours.logits.dtype == torch.float32
        torch.testing.assert_close(ours.logits, theirs.logits, atol=2e-3, rtol=1e-3)
    widest = max(n for _, n, without_head in mine.loaded.model.passes if not without_head)
    assert widest <= max(chunk, 60)


def test_a_shared_beginning_is_computed_once_unless_the_cache_rounds_it(engine, opened, make_folder):
    long = engine.encode("<s>The same long beginning of both sequences, and then it ends in two ways: ")
    requests = [ScoreRequest(n, (*long, *engine.encode(n)), len(long)) for n in ("first", "second")]
    for cache, computed in (("FP16", 1), ("Q8", 2)):
        settings = EngineSettings("cuda", "exllamav2", "exllamav2", cache)
        mine = opened(make_folder("llama"), settings, side="exl2")
        mine.loaded.model.passes.clear()
        kls = [float(s.kl.max()) for s in score_pair(engine, mine, requests)]
        assert max(kls) < 1e-5
        from_start = [p for p in mine.loaded.model.passes if p[0] == 0]
        assert len(from_start) == computed


def test_hidden_states_are_the_baselines(engine, opened, make_folder):
    mine = opened(make_folder("llama"))
    texts = ["One short text.", "Another one, which is a good deal longer than the first." * 6]
    for layers in ((0, 1, 2), (3,), (2, 0, 3)):
        np.testing.assert_allclose(mine.embed(texts, layers), engine.embed(texts, layers), atol=2e-3)
    with pytest.raises(InputError, match="no layer 4"):
        mine.embed(texts, (4,))


def test_a_stop_ends_it_within_a_step_and_the_engine_goes_on(engine, opened, make_folder):
    mine = opened(make_folder("llama"), flash=True)
    requests, generator = ask(engine, 6), mine.loaded.generator
    asked = []
    assert list(mine.generate(requests, lambda: asked.append(1) or len(asked) > 3)) == []
    assert generator.steps == 3
    assert generator.active_jobs == generator.pending_jobs == []
    assert len(list(mine.generate(requests))) == 6


def test_a_stop_ends_scoring_within_a_piece_of_a_long_prompt(engine, opened, make_folder):
    mine = opened(make_folder("llama", max_position_embeddings=4096))
    ids = engine.encode("<s>" + "A long beginning that nobody scores. " * 60)
    requests = [ScoreRequest("long", ids, len(ids) - 3), ScoreRequest("next", ids[:20], 1)]
    mine.loaded.model.passes.clear()
    whole = [(c.start, c.logits) for c in mine.logits(requests)]
    passes = list(mine.loaded.model.passes)
    assert max(n for _, n, _ in passes) == PROMPT_CHUNK < len(ids) - 4
    for wanted in range(len(passes)):
        mine.loaded.model.passes.clear()
        found = list(mine.logits(requests, should_stop=lambda n=wanted: len(mine.loaded.model.passes) >= n))
        assert mine.loaded.model.passes == passes[:wanted]
        assert len(found) == sum(not without_head for _, _, without_head in passes[:wanted])
    again = [(c.start, c.logits) for c in mine.logits(requests)]
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in zip(whole, again, strict=True))


def test_an_abandoned_call_frees_the_generator_and_two_at_a_time_are_refused(engine, opened, make_folder):
    mine = opened(make_folder("llama"), flash=True)
    first = mine.generate(ask(engine, 3))
    next(first)
    with pytest.raises(ProbeError, match="earlier call"):
        next(mine.generate(ask(engine, 1)))
    first.close()
    assert mine.loaded.generator.active_jobs == []
    assert len(list(mine.generate(ask(engine, 1)))) == 1


def test_prompts_are_read_a_few_at_a_time(engine, opened, make_folder, monkeypatch):
    mine = opened(make_folder("llama"), flash=True)
    starts = []
    step = fake.ExLlamaV2DynamicGenerator.iterate

    def watched(self):
        starts.append(sum(job.new_tokens == 0 for job in self.pending_jobs))
        return step(self)

    monkeypatch.setattr(fake.ExLlamaV2DynamicGenerator, "iterate", watched)
    list(mine.generate(ask(engine, 7)))
    assert max(starts) <= STARTING_JOBS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_new_tokens": 0}, "no new tokens"),
        ({"max_new_tokens": 10_000}, "context"),
        ({"top_p": 0.0}, "top_p"),
        ({"grammar": Grammar("regex", "(")}, "grammar"),
    ],
)
def test_requests_that_cannot_be_run_are_refused_before_anything_is(
    engine, opened, make_folder, change, said
):
    mine = opened(make_folder("llama"))
    with pytest.raises(InputError, match=said):
        mine.generate(ask(engine, 2, **change))
    assert mine.loaded.generator.pending_jobs == []


def test_logits_that_are_no_numbers_end_the_call(engine, opened, make_folder, monkeypatch):
    mine = opened(make_folder("llama"))
    forward = fake.ExLlamaV2.forward

    def broken(self, *given, **how):
        out = forward(self, *given, **how)
        return None if out is None else out * math.nan

    monkeypatch.setattr(fake.ExLlamaV2, "forward", broken)
    with pytest.raises(ProbeError, match="not finite"):
        list(mine.generate(ask(engine, 1)))
    assert mine.loaded.generator.active_jobs == []


def test_words_for_the_end_of_an_answer():
    assert finish_reason("stop_token", False) == finish_reason("end_filter", True) == "stop"
    assert finish_reason("max_new_tokens", False) == "length"
    assert finish_reason("max_new_tokens", True) == "stop"
    assert finish_reason("stop_string", True) == "stop_string"
    with pytest.raises(ProbeError, match="boredom"):
        finish_reason("boredom", False)


def test_a_closed_engine_has_given_its_memory_back(opened, make_folder):
    mine = opened(make_folder("llama"))
    fake.STOPPED.clear()
    mine.close()
    mine.close()
    assert fake.STOPPED == ["pool", "pool", "model"]
    for use in (lambda: mine.generate([]), lambda: mine.logits([]), lambda: mine.embed(["x"], [0])):
        with pytest.raises(ProbeError, match="closed"):
            use()
    assert mine.decode(mine.encode("Hé")) == "Hé", "what the tokenizer knows takes no weights"


def test_masks_are_the_same_from_several_threads(engine):
    """The library samples in a pool of threads, and prepares masks in another."""
    compiler = engine._grammars()
    requests = [GenerationRequest(str(n), (1,), 4, grammar=Grammar("regex", f"[{n}-9]x*")) for n in range(8)]

    def mask(request: GenerationRequest) -> torch.Tensor:
        chooser = TokenChooser(request, lambda: compiler, engine.end_ids, engine.info.vocab_size)
        return chooser.narrowed(torch.zeros(288))

    alone = [mask(r) for r in requests]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(mask, requests * 20))
    assert all(torch.equal(t, alone[i % 8]) for i, t in enumerate(together))
    assert [int((a == 0).sum()) for a in alone] == [10 - n for n in range(8)]


def test_a_mask_leaves_the_logits_as_they_were(engine):
    compiler = engine._grammars()
    request = GenerationRequest("a", (1,), 4, temperature=0.7, seed=3, grammar=Grammar("regex", "[0-9]{2}"))
    chooser = TokenChooser(request, lambda: compiler, engine.end_ids, engine.info.vocab_size)
    logits = torch.linspace(-3, 3, 288)
    kept = logits.clone()
    for step in range(2):
        narrowed = chooser.narrowed(logits)
        assert torch.equal(logits, kept)
        (chosen,) = torch.isfinite(narrowed).nonzero().flatten().tolist()
        assert narrowed[chosen] == logits[chosen]
        assert engine.decode([chosen]).isdigit()
        assert not chooser.complete, step
        chooser.feed(chosen)
    assert chooser.complete
    assert set(torch.isfinite(chooser.narrowed(logits)).nonzero().flatten().tolist()) <= engine.end_ids
    chooser.feed(257)
    chooser.prepare()


def test_a_grammar_needs_a_token_to_end_with(engine):
    request = GenerationRequest("a", (1,), 4, grammar=DIGITS)
    with pytest.raises(InputError, match="no token that ends"):
        TokenChooser(request, engine._grammars, frozenset(), engine.info.vocab_size)


def test_its_speed_tells_and_it_forgets_prompts_before_a_call_is_timed(engine, opened, make_folder):
    mine = opened(make_folder("llama"), side="exl2")
    assert mine.capabilities.speed_tells
    assert mine.with_cache("Q8").capabilities.speed_tells
    before = by_id(mine.generate(ask(engine, 1)))
    fake.STOPPED.clear()
    mine.forget_prompts()
    assert fake.STOPPED == ["pages"]
    equal(by_id(mine.generate(ask(engine, 1))), before)
