"""Each architecture against transformers' own forward and generate."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.engines.conftest import FAMILIES, FUSED, SIZES, own_model
from wfgy_triage.engines.base import GenerationRequest, ScoreRequest
from wfgy_triage.engines.fused import FusedLayer
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.errors import PrerequisiteError

PROMPTS = [tuple((7 * i + 3 * n) % 250 for i in range(n)) for n in (3, 9, 30, 41)]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_is_transformers_own(make_folder, family):
    folder = make_folder(family)
    engine, reference = open_engine(folder, side="fp16"), own_model(folder)
    requests = [GenerationRequest(str(i), p, 24) for i, p in enumerate(PROMPTS)]

    answers = {c.id: c.token_ids for c in engine.generate(requests)}

    for request in requests:
        output = reference.generate(
            torch.tensor([request.prompt_ids]),
            max_new_tokens=24,
            do_sample=False,
            suppress_tokens=list(range(engine.info.vocab_size, 272)),
        )
        expected = [t for t in output[0, len(request.prompt_ids) :].tolist() if t != 257]
        assert answers[request.id] == tuple(expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_transformers_own(make_folder, family):
    folder = make_folder(family)
    engine, reference = open_engine(folder, side="fp16"), own_model(folder)
    shared = tuple(range(40, 70))
    sequences = [shared + p for p in PROMPTS]
    requests = [ScoreRequest(str(i), s, 31) for i, s in enumerate(sequences)]

    chunks = list(engine.logits(requests, chunk=8))

    with torch.no_grad():
        for chunk in chunks:
            ids = sequences[int(chunk.id)]
            expected = reference(torch.tensor([ids])).logits[0, chunk.start - 1 :][
                : len(chunk.logits), : engine.info.vocab_size
            ]
            torch.testing.assert_close(chunk.logits, expected, rtol=1e-4, atol=1e-4)
    assert [(c.id, c.start, len(c.logits)) for c in chunks][-3:] == [("3", 47, 8), ("3", 55, 8), ("3", 63, 8)]


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_fused_where_they_are_plain(make_folder, family):
    engine = open_engine(make_folder(family), side="fp16")
    fused = [m for m in engine.runner.model.modules() if isinstance(m, FusedLayer)]
    assert len(fused) == (3 if family in FUSED else 0)


def test_fast_mode_is_close(make_folder):
    folder = make_folder("llama")
    engine, reference = open_engine(folder, side="fp16", mode="fast"), own_model(folder)
    ids = PROMPTS[3]
    [chunk] = engine.logits([ScoreRequest("a", ids, 1)])
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0, :-1, :258]
    assert float((chunk.logits - expected).abs().mean()) < 0.02 * float(expected.abs().max())
    assert engine.info.deterministic is False
    assert engine.info.notes


def test_an_architecture_with_scaled_logits_is_refused(make_folder):
    with pytest.raises(PrerequisiteError, match="GraniteForCausalLM"):
        open_engine(make_folder("granite", logits_scaling=7.0), side="fp16")


@pytest.mark.parametrize(
    ("family", "named", "settings"),
    [
        ("gpt2", "GPT2LMHeadModel", {}),
        ("gpt_neox", "GPTNeoXForCausalLM", {}),
        ("stablelm", "StableLmForCausalLM", {}),
        ("gemma2", "Gemma2ForCausalLM", {}),
        (
            "gemma3",
            "Gemma3ForConditionalGeneration",
            {
                **dict.fromkeys(SIZES),
                "text_config": SIZES,
                "vision_config": {
                    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                    "image_size": 28, "patch_size": 14,
                },
                "mm_tokens_per_image": 1,
            },
        ),
    ],
)  # fmt: skip
def test_a_class_that_is_built_otherwise_is_refused_by_its_name(make_folder, family, named, settings):
    with pytest.raises(PrerequisiteError, match=f"{named} needs something that this engine does not do"):
        open_engine(make_folder(family, **settings), side="fp16")


def test_sliding_window_bounds_the_context(make_folder):
    engine = open_engine(make_folder("mistral", sliding_window=64), side="fp16")
    assert engine.info.max_context == 64
    assert any("64" in note for note in engine.info.notes)


def test_length_dependent_rotary_scaling_is_not_called_deterministic(make_folder):
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    engine = open_engine(make_folder("llama", rope_parameters=rope), side="fp16")
    assert engine.info.deterministic is False
    assert any("dynamic" in note for note in engine.info.notes)


def test_info_states_what_is_loaded(engine):
    info = dataclasses.asdict(engine.info)
    assert info["architecture"] == "LlamaForCausalLM"
    assert (info["compute_dtype"], info["mode"], info["deterministic"]) == ("float32", "reproducible", True)
    assert (info["vocab_size"], info["max_context"]) == (258, 512)
    # fp32 products and norms, fp16 embedding of 272 rows.
    products = 3 * (96 * 96 + 96 * 32 * 2 + 96 * 96 + 3 * 96 * 160) + 272 * 96
    assert info["memory_bytes"] == 4 * (products + 7 * 96) + 2 * 272 * 96
