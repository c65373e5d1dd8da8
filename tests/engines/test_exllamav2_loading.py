"""From settings to the library's calls: attention, cache, devices, positions; and errors in plain words."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path

import pytest
import torch

from tests.engines import fake_exllamav2 as fake
from tests.engines.fake_exllamav2 import fake_library
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines import exllamav2_library, exllamav2_loading
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.engines.caches import exact_cache
from wfgy_triage.engines.causality import future_effect, sees_the_future
from wfgy_triage.engines.exllamav2_library import CACHES, explained, load_library
from wfgy_triage.engines.exllamav2_loading import BATCH_TOKENS, LOGITS_BYTES, configure, open_exllamav2
from wfgy_triage.errors import PrerequisiteError

CUDA = EngineSettings(device="cuda", backend="exllamav2")


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch):
    """A machine with a GPU and the stand-in; returns how to choose its library."""
    chosen = {"library": fake_library()}
    monkeypatch.setattr(exllamav2_loading, "check_gpu", lambda: None)
    monkeypatch.setattr(exllamav2_loading, "load_library", lambda: chosen["library"])
    return chosen


def opened(folder: Path, settings: EngineSettings = CUDA, side: str = "exl2"):
    return open_exllamav2(folder, side=side, mode="reproducible", settings=settings)


@pytest.mark.parametrize(
    ("library", "attention", "backend", "no_sdpa", "paged"),
    [
        ({}, "causal", "matmul", True, False),
        ({}, "installed", "sdpa", False, False),
        ({"flash": True}, "causal", "flash-attn", False, True),
        ({"flash_attention": True}, "causal", "flash-attn", False, False),
        ({"xformers": True}, "causal", "xformers", False, False),
    ],
)
def test_attention_keeps_its_mask(make_folder, library, attention, backend, no_sdpa, paged):
    settings = EngineSettings("cuda", "exllamav2", attention=attention)
    found = configure(fake_library(**library), make_folder("llama"), "exl2", settings)
    assert (found.attention, found.config.no_sdpa, found.paged) == (backend, no_sdpa, paged)
    assert any("one answer at a time" in note for note in found.notes) is not paged


def test_flash_attention_that_the_architecture_switches_off_does_not_count(make_folder, monkeypatch):
    def off(self, quiet=False, warn_only=False):
        self.no_flash_attn = True

    monkeypatch.setattr(fake.ExLlamaV2Config, "arch_compat_overrides", off)
    found = configure(fake_library(flash=True), make_folder("llama"), "exl2", CUDA)
    assert (found.attention, found.paged, found.config.no_sdpa) == ("matmul", False, True)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """A machine with GPUs of these compute capabilities."""

    def make(*capabilities: tuple[int, int]) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: capabilities[i])

    return make


@pytest.mark.parametrize(
    ("capabilities", "device", "used"),
    [
        ([(8, 0)], "cuda", True),
        ([(9, 0), (7, 5)], "cuda", False),
        ([(9, 0), (7, 5)], "cuda:0", True),
        ([(9, 0), (7, 5)], "cuda:1", False),
    ],
)
def test_flash_attention_is_kept_from_gpus_that_it_does_not_run_on(
    make_folder, gpus, capabilities, device, used
):
    gpus(*capabilities)
    found = configure(
        fake_library(flash=True), make_folder("llama"), "exl2", EngineSettings(device, "exllamav2")
    )
    assert found.config.no_flash_attn is not used
    assert (found.attention, found.paged) == (("flash-attn", True) if used else ("matmul", False))
    assert any("older than it needs" in note for note in found.notes) is not used


def test_an_older_gpu_goes_on_to_xformers_and_hears_nothing_of_what_is_not_installed(make_folder, gpus):
    gpus((7, 5))
    both = configure(fake_library(flash=True, xformers=True), make_folder("llama"), "exl2", CUDA)
    assert (both.attention, both.config.no_sdpa) == ("xformers", False)
    neither = configure(fake_library(), make_folder("llama"), "exl2", CUDA)
    assert not any("older than it needs" in note for note in neither.notes)


@pytest.mark.parametrize("kind", CACHES)
def test_the_cache_is_the_one_asked_for_and_said(make_folder, on_gpu, kind):
    engine = opened(make_folder("llama"), EngineSettings("cuda", "exllamav2", cache=kind))
    assert type(engine.loaded.cache).__name__ == CACHES[kind]
    assert type(engine.loaded.make_cache(300)).__name__ == CACHES[kind]
    assert engine.loaded.make_cache(300).max_seq_len == 512
    assert engine.loaded.exact_cache is (kind == "FP16")
    assert f"{kind} cache" in engine.info.engine_version
    assert engine.loaded.generator.warm
    engine.close()


def test_devices_context_and_room_for_a_batch(make_folder, on_gpu):
    one = opened(make_folder("llama"), EngineSettings("cuda:2", "exllamav2", context=300))
    assert one.loaded.model.gpu_split == [0, 0, 99999]
    assert (one.info.max_context, one.loaded.cache.max_seq_len) == (300, 512)
    on_gpu["library"] = fake_library(flash=True)
    every = opened(make_folder("llama"))
    assert every.loaded.model.gpu_split is None
    assert (every.info.max_context, every.loaded.cache.max_seq_len) == (512, BATCH_TOKENS)
    for engine in (one, every):
        engine.close()


def test_room_for_a_second_cache_and_for_logits_is_kept_on_every_gpu(make_folder, on_gpu):
    kept = []

    class Recording(fake.ExLlamaV2):
        def load_autosplit(self, cache, reserve_vram=None):
            kept.append(reserve_vram)
            super().load_autosplit(cache)

    on_gpu["library"] = fake_library(model=Recording)
    engine = opened(make_folder("llama"), EngineSettings("cuda", "exllamav2", cache="Q4", context=300))
    # Keys and values of 3 layers, 2 heads of 16 numbers, 2 bytes each, for two pages of 256 tokens.
    assert kept == [2 * 3 * 2 * 16 * 2 * 512 + LOGITS_BYTES]
    engine.close()


def test_what_is_loaded_is_said_and_called_not_deterministic(make_folder, on_gpu):
    engine = opened(make_folder("llama"))
    info = engine.info
    assert (info.engine, info.deterministic, info.compute_dtype) == ("exllamav2", False, "float16")
    assert (info.architecture, info.layers, info.vocab_size) == ("LlamaForCausalLM", 3, 258)
    assert "matmul" in info.engine_version
    assert "from run to run" in info.notes[0]
    engine.close()


def test_attention_that_sees_the_future_is_refused_unless_asked_for(make_folder, on_gpu):
    class Unmasked(fake.ExLlamaV2):
        def forward_chunk(self, input_ids, *given, **how):
            found = super().forward_chunk(input_ids, *given, **how)
            return found | {k: v + input_ids.sum() % 97 for k, v in found.items() if k == "logits"}

    on_gpu["library"] = fake_library(model=Unmasked)
    fake.STOPPED.clear()
    with pytest.raises(PrerequisiteError, match="sees the future") as refused:
        opened(make_folder("llama"))
    assert refused.value.cause == "noncausal_prefill"
    assert "model" in fake.STOPPED
    engine = opened(make_folder("llama"), EngineSettings("cuda", "exllamav2", attention="installed"))
    assert "sdpa" in engine.info.engine_version
    engine.close()


@pytest.mark.parametrize(
    ("error", "cause", "said"),
    [
        (ImportError("ext.so: undefined symbol: _ZN3c104cuda"), "kernel_version_skew", "another version"),
        (OSError("CUDA_HOME environment variable is not set."), "extension_missing", "no CUDA toolkit"),
        (RuntimeError("Error building extension 'exllamav2_ext'"), "extension_missing", "Building the extension"),
        (ModuleNotFoundError("No module named 'tokenizers'"), "extension_missing", "tokenizers"),
        (ValueError(" ## Could not find lm_head.* in model"), "config_mismatch", "output head"),
        (FileNotFoundError("No supported tokenizer found."), "tokenizer_mismatch", "tokenizer.json"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "gpu_memory", "memory does not suffice"),
        (RuntimeError("Insufficient VRAM for model and cache"), "gpu_memory", "memory does not suffice"),
        (RuntimeError("CUDA error: invalid device ordinal"), "no_gpu", "cannot use the GPU"),
        (RuntimeError("something new"), "unknown", "something new"),
    ],
)  # fmt: skip
def test_errors_of_the_library_in_plain_words(error, cause, said):
    found = explained(error, "It does not work", "unknown")
    assert (found.cause, said in str(found)) == (cause, True), str(found)
    assert found.hint


def test_a_folder_that_does_not_load_frees_the_gpu(make_folder, on_gpu):
    class Full(fake.ExLlamaV2):
        def load_autosplit(self, cache, reserve_vram=None):
            raise RuntimeError("Insufficient VRAM for model and cache")

    on_gpu["library"] = fake_library(model=Full)
    fake.STOPPED.clear()
    with pytest.raises(PrerequisiteError, match="memory"):
        opened(make_folder("llama"))
    assert fake.STOPPED == ["model"]


def test_a_model_that_cannot_be_built_is_explained(make_folder, on_gpu):
    class Unknown(fake.ExLlamaV2):
        def __init__(self, config, lazy_load=False, archparams=None):
            raise ValueError("unknown norm type")

    on_gpu["library"] = fake_library(model=Unknown)
    fake.STOPPED.clear()
    with pytest.raises(PrerequisiteError, match="cannot load .*unknown norm type") as refused:
        opened(make_folder("llama"))
    assert "doctor" in refused.value.hint
    assert fake.STOPPED == []


def test_generation_settings_that_are_no_json_are_explained(make_folder, on_gpu, tmp_path):
    folder = Path(shutil.copytree(make_folder("llama"), tmp_path / "m"))
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(PrerequisiteError, match=r"does not load.*generation_config\.json"):
        opened(folder)


def test_a_gpu_that_stops_while_loading_is_no_property_of_the_folder(make_folder, on_gpu):
    class Stops(fake.ExLlamaV2):
        def load_autosplit(self, cache, reserve_vram=None):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    on_gpu["library"] = fake_library(model=Stops)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        opened(make_folder("llama"))


def test_the_import_leaves_the_number_of_threads_and_its_error_is_explained(monkeypatch):
    threads = torch.get_num_threads()

    def broken(name):
        torch.set_num_threads(1)
        raise ImportError("libexllamav2_ext.so: undefined symbol: _ZN3c10")

    monkeypatch.setattr(exllamav2_library, "import_module", broken)
    torch.set_num_threads(2)
    try:
        with pytest.raises(PrerequisiteError, match="does not import") as refused:
            load_library()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert refused.value.cause == "kernel_version_skew"


def test_the_library_is_taken_from_its_own_modules(monkeypatch):
    root = types.ModuleType("exllamav2")
    for name in ("ExLlamaV2", "ExLlamaV2Config", "ExLlamaV2Tokenizer", *CACHES.values()):
        setattr(root, name, getattr(fake, name))
    root.__version__ = "0.3.2"
    generator, filters, attention = (types.ModuleType(n) for n in ("g", "f", "a"))
    for name in ("ExLlamaV2DynamicGenerator", "ExLlamaV2DynamicJob", "ExLlamaV2Sampler"):
        setattr(generator, name, getattr(fake, name))
    filters.ExLlamaV2Filter = fake.ExLlamaV2Filter
    attention.has_flash_attn, attention.has_flash_attn_with_paged, attention.has_xformers = True, False, True
    for name, module in (
        ("exllamav2", root),
        ("exllamav2.generator", generator),
        ("exllamav2.generator.filters", filters),
        ("exllamav2.attn", attention),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    found = load_library()
    assert found.caches["Q6"] is fake.ExLlamaV2Cache_Q6
    assert (found.version, found.flash_attention, found.paged, found.xformers) == ("0.3.2", True, False, True)


def test_without_a_gpu_nothing_is_imported(make_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PrerequisiteError, match="on a GPU only") as refused:
        opened(make_folder("llama"))
    assert refused.value.cause == "no_gpu"
    assert "backend: reference" in refused.value.hint
    assert "exllamav2" not in sys.modules


def test_another_cache_beside_the_one_in_use_leaves_the_model_loaded(make_folder, on_gpu):
    engine = opened(make_folder("llama"), EngineSettings("cuda", "exllamav2", cache="Q4"))
    finer = exact_cache(engine)
    assert type(finer.loaded.cache).__name__ == CACHES["FP16"]
    assert finer.loaded.exact_cache
    assert finer.loaded.model is engine.loaded.model
    assert ("FP16 cache" in finer.info.engine_version, finer.info.cache) == (True, "FP16")
    request = GenerationRequest("a", engine.encode("Once"), 6)
    assert [c.text for c in finer.generate([request])] == [c.text for c in engine.generate([request])]
    fake.STOPPED.clear()
    finer.close()
    assert "model" not in fake.STOPPED
    assert list(engine.generate([request]))
    engine.close()
    assert "model" in fake.STOPPED


def test_no_room_for_another_cache_is_said_and_the_engine_goes_on(make_folder, on_gpu):
    engine = opened(make_folder("llama"), EngineSettings("cuda", "exllamav2", cache="Q4"))

    class NoRoom(fake.ExLlamaV2Cache):
        def __init__(self, *given, **how):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    engine.loaded.library.caches["FP16"] = NoRoom
    with pytest.raises(PrerequisiteError, match="FP16 cache cannot be made"):
        exact_cache(engine)
    assert list(engine.generate([GenerationRequest("a", engine.encode("Once"), 4)]))
    engine.close()


def test_a_baseline_keeps_its_keys_and_values_whatever_the_exl2_side_does(make_folder, on_gpu):
    settings = EngineSettings("cuda", "exllamav2", "exllamav2", "Q4")
    engine = opened(make_folder("llama"), settings, side="fp16")
    assert type(engine.loaded.cache).__name__ == CACHES["FP16"]
    engine.close()


def test_a_baseline_keeps_its_mask_whatever_the_exl2_side_does(make_folder, on_gpu):
    settings = EngineSettings("cuda", "exllamav2", "exllamav2", attention="installed")
    for side, attention, sees in (("fp16", "matmul", False), ("exl2", "sdpa", True)):
        engine = opened(make_folder("llama"), settings, side=side)
        assert attention in engine.info.engine_version
        assert sees_the_future(engine, future_effect(engine)) is sees
        engine.close()
