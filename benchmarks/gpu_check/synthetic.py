"""Llama folders of a given shape with random weights, FP16 and EXL2: for speed alone, what they say means nothing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_check.weights import llama_config
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.layout import RowGroup
from wfgy_triage.exl2.modules import EMBEDDING, HEAD
from wfgy_triage.exl2.presets import HEAD_PRESETS, PRESETS, Preset
from wfgy_triage.exl2.writer import copy_side_files, new_folder, save_tensors, write_json

BODY: Preset = next(p for p in PRESETS if p.name == "4b 128g")
HEAD_BITS = 6
_SCALE_MAX = 0.01
"""Largest scale of a group: gives weights of about the size that trained ones have."""


@dataclass(frozen=True)
class Shape:
    """A Llama's shape; `name` says about how many weights it has."""

    name: str
    hidden: int
    inter: int
    layers: int
    heads: int
    kv_heads: int

    def linears(self) -> dict[str, tuple[int, int]]:
        """(out, in) of a block's linears."""
        kv = self.hidden // self.heads * self.kv_heads
        return {
            "self_attn.q_proj": (self.hidden, self.hidden),
            "self_attn.k_proj": (kv, self.hidden),
            "self_attn.v_proj": (kv, self.hidden),
            "self_attn.o_proj": (self.hidden, self.hidden),
            "mlp.gate_proj": (self.inter, self.hidden),
            "mlp.up_proj": (self.inter, self.hidden),
            "mlp.down_proj": (self.hidden, self.inter),
        }

    def weights(self, vocabulary: int) -> int:
        """Number of weights, embedding and head included."""
        block = sum(rows * columns for rows, columns in self.linears().values())
        return self.layers * block + 2 * vocabulary * self.hidden


SHAPES = (
    Shape("about 1B", 2048, 5632, 22, 32, 4),
    Shape("about 7B", 4096, 11008, 32, 32, 32),
)


def room_for(shape: Shape, vocabulary: int, folder: Path) -> str:
    """Why a shape is not made here; empty where there is room for its FP16 form thrice on the GPU and once on disk."""
    size = 2 * shape.weights(vocabulary)
    free_gpu = torch.cuda.mem_get_info()[0]
    # exllamav2 FP16, transformers bf16 and EXL2 are loaded side by side, to be timed in turn.
    if free_gpu < 3 * size:
        return f"{3 * size >> 30} GiB of GPU memory are needed, {free_gpu >> 30} are free"
    free_disk = shutil.disk_usage(folder).free
    if free_disk < 2 * size:
        return f"{2 * size >> 30} GiB of disk are needed, {free_disk >> 30} are free"
    return ""


def make_pair(shape: Shape, tokenizer: Path, target: Path, device: str) -> tuple[Path, Path]:
    """Write both folders; returns FP16 and EXL2. The tokenizer's folder gives small files and the vocabulary."""
    with Checkpoint.open(tokenizer) as source:
        vocabulary = int(source.config["vocab_size"])
    config = llama_config(vocabulary, shape.hidden, shape.inter, shape.layers, shape.heads, shape.kv_heads)
    generator = torch.Generator(device).manual_seed(0)

    def random(rows: int, columns: int) -> torch.Tensor:
        drawn = torch.randn(rows, columns, generator=generator, device=device, dtype=torch.float32)
        return (drawn * 0.02).half().cpu()

    linears = {
        f"model.layers.{i}.{name}": size
        for i in range(shape.layers)
        for name, size in shape.linears().items()
    }
    linears[HEAD] = (vocabulary, shape.hidden)
    plain = {EMBEDDING: random(vocabulary, shape.hidden), **_norms(shape)}
    fp16 = {f"{key}.weight": random(*size) for key, size in linears.items()}
    _save(target / "fp16", tokenizer, config, plain | fp16)
    del fp16
    quantized: dict[str, torch.Tensor] = {}
    for key, (rows, columns) in linears.items():
        preset = HEAD_PRESETS[HEAD_BITS] if key == HEAD else BODY
        packed = random_linear(rows, preset.groups(columns), columns, generator, device)
        quantized |= {f"{key}.{part}": tensor for part, tensor in packed.items()}
    _save(target / "exl2", tokenizer, config, plain | quantized)
    return target / "fp16", target / "exl2"


def random_linear(
    rows: int, groups: tuple[RowGroup, ...], columns: int, generator: torch.Generator, device: str
) -> dict[str, torch.Tensor]:
    """Random codes and scales in the stored form of a linear with `columns` inputs and `rows` outputs."""
    padded = -(-rows // 32) * 32

    def words(count: int, width: int) -> torch.Tensor:
        drawn = torch.randint(
            -(2**31), 2**31, (count, width), generator=generator, device=device, dtype=torch.int64
        )
        return drawn.to(torch.int32).cpu()

    last = groups[-1]
    pairs = [number for group in groups for number in (group.bits, group.packed_row)]
    return {
        "q_weight": words(last.packed_row + last.packed_rows, padded),
        "q_scale": words(len(groups), padded // 8),
        "q_scale_max": torch.full((len(groups),), _SCALE_MAX, dtype=torch.float16),
        "q_groups": torch.tensor(pairs, dtype=torch.int16),
        "q_invperm": torch.arange(columns, dtype=torch.int32),
    }


def _norms(shape: Shape) -> dict[str, torch.Tensor]:
    names = [
        f"model.layers.{i}.{n}_layernorm" for i in range(shape.layers) for n in ("input", "post_attention")
    ]
    return {f"{n}.weight": torch.ones(shape.hidden, dtype=torch.float16) for n in (*names, "model.norm")}


def _save(
    folder: Path, tokenizer: Path, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> None:
    with new_folder(folder) as target:
        save_tensors(target, "model", tensors)
        copy_side_files(tokenizer, target)
        write_json(target / "config.json", config)
