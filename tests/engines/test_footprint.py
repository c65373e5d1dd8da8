"""What models take, reckoned from their files, held against what loaded engines say and against sizes by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines import footprint
from wfgy_triage.engines.exllamav2_loading import BATCH_TOKENS
from wfgy_triage.engines.footprint import needs_of
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.headers import folder_tensors
from wfgy_triage.pairs import NO_FOLDER, Pair
from wfgy_triage.server_settings import ServerSettings

SIZES = {"hidden_size": 96, "num_attention_heads": 6, "intermediate_size": 160}
HEADS, HEAD_DIM, LAYERS = 2, 16, 3
SERVER = ServerSettings("http://localhost:1/v1")
LIBRARY = EngineSettings("cuda:0", "exllamav2", context=512)


@pytest.fixture(scope="module", params=["llama", "mistral"])
def pair(request, make_folder, tmp_path_factory) -> Pair:
    """With a tied head, and with one of its own."""
    source = make_folder(request.param, **SIZES)
    target = tmp_path_factory.mktemp("quantized") / "exl2"
    quantize_folder(source, target, bpw=4.5, method="rtn")
    return Pair("p", "P", source, target)


@pytest.fixture(autouse=True)
def without_flash_attention(monkeypatch):
    monkeypatch.setattr(footprint, "find_spec", lambda name: None)


def test_it_is_what_the_loaded_models_hold(pair):
    fp16, exl2, twin = needs_of(pair, EngineSettings(), twin=True)
    assert [n.devices for n in (fp16, exl2, twin)] == [("cpu",)] * 3
    engines = (
        open_engine(pair.fp16, side="fp16"),
        open_engine(pair.exl2, side="exl2"),
        open_engine(pair.fp16, side="fp16", mode="fast"),
    )
    for need, engine in zip((fp16, exl2, twin), engines, strict=True):
        assert need.bytes == pytest.approx(engine.info.memory_bytes, rel=0.01), need.name
        engine.close()


def test_the_twin_is_loaded_last_and_spared_on_a_gpu_only(pair, monkeypatch):
    monkeypatch.setattr(footprint, "compute_dtype", lambda mode, device: torch.float32)
    on_gpu = needs_of(pair, EngineSettings("cuda:1", "reference"), twin=True)
    assert [(n.name, n.devices, n.spare) for n in on_gpu] == [
        ("FP16", ("cuda:1",), False),
        ("EXL2", ("cuda:1",), False),
        ("FP16 for the noise", ("cuda:1",), True),
    ]
    assert not any(n.spare for n in needs_of(pair, EngineSettings(), twin=True))
    beside = needs_of(pair, EngineSettings("cuda:1", "reference", baseline_device="cpu"), twin=True)
    assert [(n.devices, n.spare) for n in beside] == [
        (("cpu",), False),
        (("cuda:1",), False),
        (("cpu",), False),
    ]


def test_only_what_is_still_to_come_counts(pair):
    assert len(needs_of(pair, EngineSettings(), twin=False)) == 2
    assert [n.name for n in needs_of(pair, EngineSettings(), twin=True, loaded=True)] == [
        "FP16 for the noise"
    ]
    assert needs_of(pair, EngineSettings(), twin=False, loaded=True) == ()


def test_a_side_on_a_server_takes_nothing_here(pair):
    asked = Pair("p", "P", pair.fp16, NO_FOLDER)
    assert [n.name for n in needs_of(asked, EngineSettings(server=SERVER), twin=False)] == ["FP16"]
    both = EngineSettings(server=SERVER, baseline_server=SERVER)
    assert needs_of(asked, both, twin=True) == ()


def library_bytes(pair, **settings) -> int:
    chosen = EngineSettings("cuda:0", "exllamav2", **settings)
    [found] = [n for n in needs_of(pair, chosen, twin=False) if n.name == "EXL2"]
    return found.bytes


def test_exllamav2_holds_packed_weights_and_two_caches(pair):
    tensors = folder_tensors(pair.exl2)
    stored = sum(m.nbytes for m in tensors.values())
    embedding = tensors["model.embed_tokens.weight"].nbytes
    token = LAYERS * HEADS * HEAD_DIM * 2 * 2
    assert library_bytes(pair, context=512) == stored - embedding + 2 * 512 * token
    assert library_bytes(pair, context=300) == library_bytes(pair, context=512), "whole pages"
    assert library_bytes(pair, context=256) == stored - embedding + 2 * 256 * token


@pytest.mark.parametrize(("kind", "bits"), [("Q8", 16), ("Q6", 12), ("Q4", 8)])
def test_a_quantized_cache_is_smaller_by_its_bits(pair, kind, bits):
    numbers = 512 * HEADS * HEAD_DIM
    exact, rounded = 2 * numbers * LAYERS * 2, numbers * LAYERS * (bits + 1) // 8
    one_layer = 2 * numbers * 2
    # The cache in which given texts are scored is of the same kind.
    assert library_bytes(pair, context=512) - library_bytes(pair, context=512, cache=kind) == 2 * (
        exact - rounded - one_layer
    )


def test_room_for_scoring_is_for_a_long_text_and_not_for_all_of_the_context(pair, monkeypatch):
    monkeypatch.setattr(footprint, "SCORED_TOKENS", 200)
    token = LAYERS * HEADS * HEAD_DIM * 2 * 2
    assert library_bytes(pair, context=512) - library_bytes(pair, context=256) == 256 * token


@pytest.mark.parametrize("kind", ["FP16", "Q4"])
def test_where_the_library_shares_layers_out_it_reserves_all_of_the_context_on_every_gpu(pair, kind):
    settings = EngineSettings("cuda", "exllamav2", "exllamav2", kind, 512)
    fp16, exl2 = needs_of(pair, settings, twin=False)
    alone = needs_of(pair, replace(settings, device="cuda:0"), twin=False)
    token = LAYERS * HEADS * HEAD_DIM * 2 * 2
    assert fp16.reserve == exl2.reserve == 512 * token
    assert fp16.bytes == alone[0].bytes - 512 * token
    assert exl2.bytes < alone[1].bytes
    assert {n.reserve for n in alone} == {0}


def test_batches_want_a_larger_cache(pair, monkeypatch):
    before = library_bytes(pair, context=512)
    monkeypatch.setattr(footprint, "find_spec", lambda name: object())
    token = LAYERS * HEADS * HEAD_DIM * 2 * 2
    assert library_bytes(pair, context=512) - before == (BATCH_TOKENS - 512) * token


def test_a_baseline_in_exllamav2_is_16_bits_with_an_exact_cache(pair):
    settings = EngineSettings("cuda:0", "exllamav2", "exllamav2", "Q4", 512)
    fp16 = needs_of(pair, settings, twin=False)[0]
    weights = sum(m.nbytes for m in folder_tensors(pair.fp16).values())
    own_head = "lm_head.weight" in folder_tensors(pair.fp16)
    embedding = folder_tensors(pair.fp16)["model.embed_tokens.weight"].nbytes
    caches = 2 * 512 * LAYERS * HEADS * HEAD_DIM * 2 * 2
    assert fp16.bytes == weights - (embedding if own_head else 0) + caches
