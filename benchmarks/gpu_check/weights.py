"""Part `weights`: what we decode on the CPU is what the library reconstructs on the GPU, bit for bit.

The demo's EXL2 folders layer by layer, and small folders that together hold every mix of bit widths that can be
written here, with a permutation of its own for every layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_check.part import REAL, Bench, Outcome, passed_if
from wfgy_triage.engines.exllamav2_engine import ExLlamaV2Engine
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.codec import encode_linear
from wfgy_triage.exl2.modules import EMBEDDING, HEAD
from wfgy_triage.exl2.presets import HEAD_PRESETS, PRESETS, Preset
from wfgy_triage.exl2.rtn import quantize_rtn
from wfgy_triage.exl2.writer import copy_side_files, new_folder, save_tensors, write_json

HIDDEN, INTER, KV = 256, 512, 64
LINEARS: Mapping[str, tuple[int, int]] = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTER, HIDDEN),
    "mlp.up_proj": (INTER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTER),
}
"""(out, in) of a block's linears."""
LAYERS = -(-len(PRESETS) // len(LINEARS))


def run(bench: Bench) -> Outcome:
    """Compare every quantized layer of every folder."""
    folders = list(bench.exl2)
    for turn, bits in enumerate(HEAD_PRESETS):
        folders.append(small_folder(bench.work / f"head-{bits}", bench.fp16, bits, turn))
    rows = [compare_folder(folder) for folder in folders]
    layers, wrong = sum(r["layers"] for r in rows), sum(len(r["different"]) for r in rows)
    said = f"{layers} layers in {len(rows)} folders compared, {wrong} differ in any bit."
    return passed_if(layers > 0 and wrong == 0, said, rows)


def compare_folder(folder: Path) -> dict[str, Any]:
    """Compare our fp16 weights with the library's, as bits."""
    engine = open_engine(folder, side="exl2", settings=REAL)
    assert isinstance(engine, ExLlamaV2Engine)
    different: dict[str, int] = {}
    try:
        modules = engine.loaded.model.modules_dict
        with Checkpoint.open(folder) as checkpoint:
            keys = checkpoint.quantized_keys()
            for key in keys:
                ours = as_loaded(checkpoint, key)
                theirs = modules[key].get_weight_tensor_dq().cpu()[:, : ours.shape[0]].T.contiguous()
                if count := int((ours.contiguous().view(torch.int16) != theirs.view(torch.int16)).sum()):
                    different[key] = count
    finally:
        engine.close()
    return {"folder": folder.name, "layers": len(keys), "different": different}


def as_loaded(checkpoint: Checkpoint, key: str) -> torch.Tensor:
    """Our weight in the order in which the library holds it.

    It leaves the inputs of a down projection in their stored order and turns the outputs of gate and up to fit, so that
    nothing between them need be put in order while it computes.
    """
    weight = checkpoint.decode(key)
    block, _, name = key.rpartition(".mlp.")
    if not block:
        return weight
    order = torch.argsort(torch.from_numpy(checkpoint.row_order(f"{block}.mlp.down_proj")))
    return weight[:, order] if name == "down_proj" else weight[order]


def presets_of(turn: int) -> dict[str, Preset]:
    """A preset for every linear; another turn gives each preset another kind of linear."""
    keys = [f"model.layers.{i}.{name}" for i in range(LAYERS) for name in LINEARS]
    return {key: PRESETS[(number + turn) % len(PRESETS)] for number, key in enumerate(keys)}


def small_folder(folder: Path, tokenizer: Path, head_bits: int, turn: int) -> Path:
    """Write a random Llama in which every preset occurs; `tokenizer` gives the small files."""
    generator = torch.Generator().manual_seed(turn)
    tensors: dict[str, torch.Tensor] = {}

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.05

    def add(key: str, preset: Preset, rows: int, columns: int) -> None:
        order = torch.randperm(columns, generator=generator)
        made = quantize_rtn(random(rows, columns), preset.groups(columns), order)
        packed = encode_linear(made.codes, made.qscale, made.scale_max, made.groups, made.permutation, None)
        tensors.update({f"{key}.{part}": tensor for part, tensor in packed.items()})

    config = small_config(tokenizer)
    for key, preset in presets_of(turn).items():
        add(key, preset, *LINEARS[key.split(".", 3)[3]])
    add(HEAD, HEAD_PRESETS[head_bits], config["vocab_size"], HIDDEN)
    tensors[EMBEDDING] = random(config["vocab_size"], HIDDEN).half()
    norms = [f"model.layers.{i}.{n}_layernorm" for i in range(LAYERS) for n in ("input", "post_attention")]
    for name in (*norms, "model.norm"):
        tensors[f"{name}.weight"] = torch.ones(HIDDEN, dtype=torch.float16)
    with new_folder(folder) as target:
        save_tensors(target, "output", tensors)
        copy_side_files(tokenizer, target)
        write_json(target / "config.json", config)
    return folder


def small_config(tokenizer: Path) -> dict[str, Any]:
    """config.json of the small model; the vocabulary is that of the tokenizer's folder."""
    with Checkpoint.open(tokenizer) as source:
        vocabulary = int(source.config["vocab_size"])
    return llama_config(vocabulary, HIDDEN, INTER, LAYERS, heads=HIDDEN // 64, kv_heads=KV // 64)


def llama_config(
    vocabulary: int, hidden: int, inter: int, layers: int, heads: int, kv_heads: int
) -> dict[str, Any]:
    """config.json of a Llama of this shape, its head stored on its own."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inter,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float16",
    }
