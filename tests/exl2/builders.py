"""Small model folders for the tests of the format."""

import json
import struct

import torch
from safetensors.torch import load_file, save_file

from wfgy_triage.exl2.codec import pack_bits, pack_nibbles

TINY = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 160,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_theta": 5000.0, "rope_type": "default"},
    "dtype": "float16",
}
SHAPES = {
    "self_attn.q_proj": (64, 64),
    "self_attn.k_proj": (32, 64),
    "self_attn.v_proj": (32, 64),
    "self_attn.o_proj": (64, 64),
    "mlp.gate_proj": (96, 64),
    "mlp.up_proj": (96, 64),
    "mlp.down_proj": (64, 96),
}


def tiny_tensors(config=TINY, biases=False, seed=0):
    """FP16 tensors of a two-layer Llama with weights of an ordinary size."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return (torch.randn(shape, generator=generator) * 0.08).to(torch.float16)

    tensors = {
        "model.embed_tokens.weight": normal(config["vocab_size"], 64),
        "model.norm.weight": torch.ones(64).half(),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, shape in SHAPES.items():
            tensors[f"{prefix}{name}.weight"] = normal(*shape)
            if biases and name.startswith("self_attn") and not name.endswith("o_proj"):
                tensors[f"{prefix}{name}.bias"] = normal(shape[0])
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{norm}.weight"] = (1 + normal(64)).to(torch.float16)
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = normal(config["vocab_size"], 64)
    return tensors


def gptq_tensors(key, rows, columns, group_size, act_order, generator):
    """A random 4-bit GPTQ linear, and the group of each of its rows."""
    groups = -(-rows // group_size)
    codes = torch.randint(0, 16, (rows, columns), generator=generator)
    tensors = {
        f"{key}.qweight": pack_bits(codes, 4),
        f"{key}.qzeros": pack_nibbles(torch.randint(0, 16, (groups, columns), generator=generator)),
        f"{key}.scales": (torch.rand((groups, columns), generator=generator) * 0.01).half(),
    }
    group_of = torch.arange(rows) // group_size
    if act_order:
        group_of = group_of[torch.randperm(rows, generator=generator)]
        tensors[f"{key}.g_idx"] = group_of.to(torch.int32)
    return tensors, group_of


def write_folder(folder, tensors, config=TINY, shards=1):
    """Write config, a placeholder tokenizer and the tensors, in one file or several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    names = sorted(tensors)
    if shards == 1:
        save_file({n: tensors[n].contiguous() for n in names}, folder / "model.safetensors")
        return folder
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard::shards]
        save_file({n: tensors[n].contiguous() for n in part}, folder / file)
        weight_map.update(dict.fromkeys(part, file))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def replace_tensors(folder, changes):
    """Rewrite `output.safetensors` with some tensors replaced (None removes one)."""
    path = folder / "output.safetensors"
    tensors = {**load_file(path), **changes}
    save_file({n: t for n, t in tensors.items() if t is not None}, path)


def as_gptq(tensors, zero_biases=()):
    """The tensors with random 4-bit GPTQ linears in place of the decoder's, and zero biases for some of them."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for name, tensor in tensors.items():
        key = name.removesuffix(".weight")
        if not key.endswith("_proj"):
            found[name] = tensor
            continue
        rows, columns = tensor.shape[1], tensor.shape[0]
        found.update(gptq_tensors(key, rows, columns, 32, False, generator)[0])
        if key.endswith(tuple(zero_biases)):
            found[f"{key}.bias"] = torch.zeros(columns).half()
    return found


def edit_header(path, edit):
    """Rewrite the JSON header of a safetensors file in place, data untouched."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
