"""Position settings of published models in the library's own Python and in transformers: what differs is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.stablelm.modeling_stablelm import StableLmRotaryEmbedding

from tests.engines.test_exllamav2_positions import changed_config
from wfgy_triage.engines.exllamav2_positions import place_positions

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0 + 0.02 * i for i in range(48)],
    "long_factor": [1.0 + i for i in range(48)],
}
PHI3 = {"head_dim": 96, "rope_theta": 1e4, "original_max_position_embeddings": 4096}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Mistral 7B": ({"rope_theta": 1e6, "max_position_embeddings": 32768}, {}),
    "Llama 3.1": (
        {"rope_theta": 5e5, "max_position_embeddings": 131072},
        {"rope_type": "llama3", "factor": 8.0, **LLAMA3},
    ),
    "Llama 3.2 1B": (
        {"head_dim": 64, "rope_theta": 5e5, "max_position_embeddings": 131072},
        {"rope_type": "llama3", "factor": 32.0, **LLAMA3},
    ),
    "DeepSeek Coder": (
        {"rope_theta": 1e5, "max_position_embeddings": 16384},
        {"rope_type": "linear", "factor": 4.0},
    ),
    "dynamic": (
        {"rope_theta": 1e4, "max_position_embeddings": 16384},
        {"rope_type": "dynamic", "factor": 2.0},
    ),
    "Qwen2.5 with yarn": ({"rope_theta": 1e6, "max_position_embeddings": 131072}, YARN),
    "Phi-3 mini 128k": ({**PHI3, "max_position_embeddings": 131072}, LONGROPE),
    "Phi-3 mini 128k, as long as it was trained": ({**PHI3, "max_position_embeddings": 4096}, LONGROPE),
    "StableLM 2": (
        {"rope_theta": 1e4, "max_position_embeddings": 4096, "partial_rotary_factor": 0.25},
        {},
    ),
}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """config.py and device.py as installed; the package's compiled part has no part in them."""
    spec = find_spec("exllamav2")
    assert spec is not None
    assert spec.origin is not None
    package, extension = ModuleType("exllamav2"), ModuleType("exllamav2.ext")
    package.__path__ = [str(Path(spec.origin).parent)]
    extension.__dict__.update(none_tensor=None, exllamav2_ext=None)
    before = {name: m for name, m in sys.modules.items() if name.partition(".")[0] == "exllamav2"}
    for name in before:
        del sys.modules[name]
    sys.modules |= {"exllamav2": package, "exllamav2.ext": extension}
    try:
        config, device = import_module("exllamav2.config"), import_module("exllamav2.device")
        monkeypatch.setattr(device, "_torch_device", lambda index: "cpu")
        monkeypatch.setitem(device.global_streams, 0, object())
        yield SimpleNamespace(config=config.ExLlamaV2Config, context=device.ExLlamaV2DeviceContext)
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] == "exllamav2"]:
            del sys.modules[name]
        sys.modules |= before


def library_tables(library: SimpleNamespace, config: Any) -> torch.Tensor:
    """Cosines and sines (2, positions, rotated size) that the library makes."""
    made = library.context(SimpleNamespace(config=config), 0, 1)
    made.prepare_sincos()
    return torch.stack([made.cos[0][0, 0], made.sin[0][0, 0]]).float()


def trained_tables(folder: Path, tokens: int, partial: bool) -> torch.Tensor:
    """The same in transformers, for a text of so many tokens; not every model of it may rotate a part of each head."""
    rotary = (StableLmRotaryEmbedding if partial else LlamaRotaryEmbedding)(
        AutoConfig.from_pretrained(folder)
    )
    return torch.cat(rotary(torch.zeros(1), torch.arange(tokens)[None]))


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal but for 16 bits."""
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    "saved", ["rope_scaling", "rope_parameters"], ids=["transformers 4", "transformers 5"]
)
@pytest.mark.parametrize("side", ["exl2", "fp16"])
@pytest.mark.parametrize("context", [2048, 8192, 40960])
@pytest.mark.parametrize("name", MODELS)
def test_a_difference_is_said_where_the_tables_differ_and_nowhere_else(
    library, make_folder, tmp_path, name, context, side, saved
):
    settings, rope = MODELS[name]
    changes = {"rope_parameters": None, "rope_scaling": rope or None, "head_dim": 128, **settings}
    if saved == "rope_parameters":
        inner = {"rope_type": "default", **rope, "rope_theta": settings["rope_theta"]}
        changes |= {"rope_parameters": inner, "rope_scaling": None, "rope_theta": None}
    folder = changed_config(make_folder("llama"), tmp_path / "m", **changes)
    config = library.config(str(folder))
    config.max_seq_len = min(config.max_seq_len, context)
    notes = [n for n in place_positions(config, folder, side) if "is taken from rope_parameters" not in n]
    found = library_tables(library, config)
    # A short text and one that fills the context: longrope goes by the length.
    lengths = (256, int(config.max_seq_len))
    same = [alike(found[:, :n], trained_tables(folder, n, partial="StableLM" in name)) for n in lengths]
    assert bool(notes) == (not all(same)), (notes, same)
