"""Which modules a folder holds and in which form: the check that reading and inspecting share. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.gptq_layout import GptqLayout, check_gptq_linear
from wfgy_triage.exl2.headers import check_folder_safe, folder_tensors, read_json
from wfgy_triage.exl2.layout import EXL2_DTYPES, GPTQ_DTYPES, LinearLayout, check_exl2_linear, require
from wfgy_triage.exl2.tensor_file import TensorMeta

Kind = Literal["exl2", "gptq", "fp16"]

HEAD = "lm_head"
EMBEDDING = "model.embed_tokens.weight"
_BLOCK = re.compile(r"^model\.layers\.(\d+)\.(.+)$")
QUANTIZED_PARTS = frozenset({*EXL2_DTYPES, *GPTQ_DTYPES, "q_perm", "q_group_map"})
"""Last names of the tensors that make up a quantized linear."""

_PLAIN_DTYPES = ("F16", "BF16", "F32")
_LLAMA_LIKE = {"llama", "mistral", "qwen2", "qwen3"}
DECODER_LINEARS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
"""The linears of a Llama-like block."""

_LLAMA_MODULES = (*DECODER_LINEARS, "input_layernorm", "post_attention_layernorm")


@dataclass(frozen=True)
class FolderContents:
    """A model folder whose every quantized linear has passed its checks.

    Attributes:
        folder: the folder.
        config: config.json.
        tensors: all stored tensors by name.
        exl2: EXL2 linears by module name.
        gptq: GPTQ linears by module name.
        plain: names of the tensors that are stored as ordinary numbers (biases of quantized linears too).
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorMeta]
    exl2: Mapping[str, LinearLayout]
    gptq: Mapping[str, GptqLayout]
    plain: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """EXL2 or GPTQ when any linear is; otherwise FP16."""
        if self.exl2:
            return "exl2"
        return "gptq" if self.gptq else "fp16"


def read_folder(folder: Path) -> FolderContents:
    """Check a model folder completely: safety, files, presence, dtypes, groups, scales.

    Raises:
        PrerequisiteError: the first problem found, naming file and tensor.
    """
    check_folder_safe(folder)
    config = read_json(folder / "config.json")
    tensors = folder_tensors(folder)
    exl2 = {key: check_exl2_linear(tensors, key, config) for key in _keys_with(tensors, EXL2_DTYPES)}
    gptq = {key: check_gptq_linear(tensors, key) for key in _keys_with(tensors, GPTQ_DTYPES)}
    plain = tuple(n for n in sorted(tensors) if n.rsplit(".", 1)[-1] not in QUANTIZED_PARTS)
    for name in plain:
        require(tensors, name, _PLAIN_DTYPES)
    _check_complete(tensors, config)
    return FolderContents(folder, config, tensors, exl2, gptq, plain)


def tied_head(config: Mapping[str, Any]) -> bool | None:
    """Whether the head is the embedding, as config.json says it; None where it leaves that to the model class.

    transformers writes no value that is the class's own: True for Gemma, Cohere and StarCoder2.
    """
    stated = config.get("tie_word_embeddings")
    if isinstance(stated, bool):
        return stated
    return False if config.get("model_type") in _LLAMA_LIKE else None


def module_order(key: str) -> tuple[int, str]:
    """Sort key that puts blocks in numeric order and everything else last."""
    match = _BLOCK.match(key)
    return (int(match[1]), match[2]) if match else (1 << 30, key)


def _keys_with(tensors: Mapping[str, TensorMeta], parts: Mapping[str, Any]) -> list[str]:
    keys = {name.rsplit(".", 1)[0] for name in tensors if name.rsplit(".", 1)[-1] in parts}
    return sorted(keys, key=module_order)


def _check_complete(tensors: Mapping[str, TensorMeta], config: Mapping[str, Any]) -> None:
    """Every block must hold the same modules, and the embedding and (untied) head must be there."""
    first_file = min(meta.file.name for meta in tensors.values())
    found: dict[int, set[str]] = {}
    for name in tensors:
        match = _BLOCK.match(name)
        if match:
            found.setdefault(int(match[1]), set()).add(match[2].rsplit(".", 1)[0])
    blocks = config.get("num_hidden_layers")
    needed = set().union(*found.values()) if found else set()
    if config.get("model_type") in _LLAMA_LIKE:
        needed |= set(_LLAMA_MODULES)
    for block in range(blocks if isinstance(blocks, int) else len(found)):
        lacking = sorted(needed - found.get(block, set()))
        if lacking:
            _missing(f"model.layers.{block}.{lacking[0]}", first_file)
    if blocks == 0 or not needed:
        return
    if EMBEDDING not in tensors:
        _missing(EMBEDDING, first_file)
    heads = (f"{HEAD}.q_weight", f"{HEAD}.qweight", f"{HEAD}.weight")
    if tied_head(config) is False and not any(h in tensors for h in heads):
        _missing(HEAD, first_file)


def _missing(name: str, file: str) -> None:
    raise PrerequisiteError(
        f"The tensor {name} is missing (the folder's weights start with {file}).",
        "The checkpoint is incomplete; download it again or quantize it again.",
    )
