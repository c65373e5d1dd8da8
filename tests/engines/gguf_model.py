"""A tiny model folder written as a GGUF file, for llama.cpp's server in the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(folder: Path, path: Path) -> None:
    """Write a Llama of tied embeddings with the tests' byte tokenizer as 32-bit GGUF; nothing is rounded."""
    config = json.loads((folder / "config.json").read_text())
    weights = {name: w.astype(np.float32) for name, w in load_file(folder / "model.safetensors").items()}
    writer = gguf.GGUFWriter(path, "llama")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, folder, config)
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"])
    for block in range(config["num_hidden_layers"]):
        for theirs, ours in NAMES.items():
            tensor = weights[f"model.layers.{block}.{theirs}.weight"]
            if ours in ("attn_q", "attn_k"):
                tensor = _pairs_side_by_side(tensor, heads if ours == "attn_q" else kv_heads)
            writer.add_tensor(f"blk.{block}.{ours}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _pairs_side_by_side(tensor: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp turns neighbouring rows of a head together, transformers the two halves of one."""
    rows, columns = tensor.shape
    return np.ascontiguousarray(
        tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    ids = {**tokenizer["model"]["vocab"], **{t["content"]: t["id"] for t in tokenizer["added_tokens"]}}
    by_id = {i: text for text, i in ids.items()}
    special = {t["id"] for t in tokenizer["added_tokens"]}
    tokens, types = [], []
    for i in range(config["vocab_size"]):
        tokens.append(by_id.get(i, f"[unused {i}]"))
        kind = gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL
        types.append(kind if i in by_id else gguf.TokenType.UNUSED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    # The list must not be empty. No text holds this pair, and what it would become is no token.
    writer.add_token_merges([f"{by_id[0]} {by_id[0]}"])
    writer.add_bos_token_id(ids["<s>"])
    writer.add_eos_token_id(ids["</s>"])
    writer.add_add_bos_token(False)
    template = folder / "chat_template.jinja"
    writer.add_chat_template(template.read_text())
