"""Opening folders: what is refused, and decoded weights in the place of the original ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.exl2.builders import as_gptq
from wfgy_triage.engines.base import GenerationRequest, ScoreRequest
from wfgy_triage.engines.exl2_reference import empty_model, fill_model
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.prepare import build_engine, share_tensors
from wfgy_triage.engines.scoring import score_pair
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.dequantize import dequantize_folder

CPU = torch.device("cpu")


class Weights:
    """A checkpoint in memory: the linear layers count as quantized, everything else as plain."""

    def __init__(self, folder, untie=False):
        self.tensors = load_file(folder / "model.safetensors")
        if untie:
            self.tensors["lm_head.weight"] = self.tensors["model.embed_tokens.weight"].flip(0)
        self.quantized = {
            n.removesuffix(".weight") for n in self.tensors if n.endswith(("_proj.weight", "lm_head.weight"))
        }

    def quantized_keys(self):
        return tuple(self.quantized)

    def decode(self, key):
        return self.tensors[f"{key}.weight"]

    def plain_names(self):
        return tuple(n for n in self.tensors if n.removesuffix(".weight") not in self.quantized)

    def plain(self, name):
        return self.tensors[name]


def fill(folder, reader):
    model = empty_model(folder)
    fill_model(model, reader, folder.name, torch.float32, CPU)
    return build_engine(
        model, folder, engine="exl2_reference", mode="reproducible", dtype=torch.float32, device=CPU
    )


@pytest.mark.parametrize("family", ["llama", "llama-bias", "qwen3"])
def test_decoded_weights_give_the_model_class_results(make_folder, family):
    folder = make_folder(family)
    engine, twin = fill(folder, Weights(folder)), open_engine(folder, side="fp16")
    ids = tuple(range(30, 60))
    [ours] = engine.logits([ScoreRequest("a", ids, 1)])
    [theirs] = twin.logits([ScoreRequest("a", ids, 1)])
    assert torch.equal(ours.logits, theirs.logits)
    assert engine.info.engine == "exl2_reference"


def test_a_head_of_its_own_is_used_although_the_model_tied_it(make_folder):
    folder = make_folder("llama")
    engine, twin = fill(folder, Weights(folder, untie=True)), open_engine(folder, side="fp16")
    ids = tuple(range(30, 40))
    [ours] = engine.logits([ScoreRequest("a", ids, 1)])
    [theirs] = twin.logits([ScoreRequest("a", ids, 1)])
    # The head's rows are those of the embedding, back to front.
    torch.testing.assert_close(ours.logits[:, 14:], theirs.logits[:, 14:].flip(-1))


def test_equal_tensors_are_held_once(make_folder):
    folder = make_folder("llama")
    reader = Weights(folder)
    reader.tensors["model.norm.weight"] = reader.tensors["model.norm.weight"] * 2
    engine, twin = fill(folder, reader), open_engine(folder, side="fp16")
    saved = share_tensors(engine.runner, twin.runner)
    ours, theirs = (dict(e.runner.model.named_parameters()) for e in (engine, twin))
    shared = {n for n in ours if ours[n].data_ptr() == theirs[n].data_ptr()}
    assert set(ours) - shared == {"model.norm.weight"}
    assert saved == 272 * 96 * 2 + 6 * 96 * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.tensors.pop("model.norm.weight"), "lacks the tensors model.norm.weight"),
        (
            lambda w: w.tensors.update({"model.extra": torch.zeros(2)}),
            "does not know, the tensors model.extra",
        ),
        (
            lambda w: w.tensors.update({"model.norm.weight": torch.ones(5)}),
            r"model.norm.weight.*shape \(5,\)",
        ),
        (
            lambda w: w.tensors.update({"model.layers.1.mlp.down_proj.weight": torch.ones(5, 6)}),
            r"layers.1.mlp.down_proj.weight.*shape \(5, 6\)",
        ),
        (lambda w: w.quantized.add("model.norm"), "model.norm, which is no linear layer"),
    ],
)
def test_tensors_must_be_those_of_the_model(make_folder, change, message):
    reader = Weights(make_folder("llama"))
    change(reader)
    with pytest.raises(PrerequisiteError, match=message):
        fill(make_folder("llama"), reader)


def test_computed_buffers_of_old_checkpoints_are_passed_over(make_folder):
    reader = Weights(make_folder("llama"))
    reader.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(8)
    assert fill(make_folder("llama"), reader).info.architecture == "LlamaForCausalLM"


def test_a_real_quantized_folder_equals_its_dequantized_copy(make_folder, tmp_path):
    """Through the writer and both readers: the engine on packed weights, and the fp16 engine on decoded ones."""
    source = make_folder("llama", hidden_size=96, num_attention_heads=6, intermediate_size=160)
    quantize_folder(source, tmp_path / "exl2", bpw=4.5, method="rtn")
    dequantize_folder(tmp_path / "exl2", tmp_path / "plain")
    original = open_engine(source, side="fp16")
    packed = open_engine(tmp_path / "exl2", side="exl2", share_with=original)
    plain = open_engine(tmp_path / "plain", side="fp16")
    requests = [ScoreRequest("a", tuple(range(20, 80)), 1)]
    [same] = score_pair(plain, packed, requests)
    assert not same.kl.any()
    [drift] = score_pair(original, packed, requests)
    assert np.mean(drift.kl) > 1e-4
    asked = [GenerationRequest("g", tuple(range(20, 40)), 12)]
    assert list(plain.generate(asked)) == list(packed.generate(asked))
    assert packed.runner.embedding.weight.data_ptr() == original.runner.embedding.weight.data_ptr()


@pytest.mark.demo
def apart(tensors, heads=96, groups=32):
    """Phi-3's joined matrices as the library's converter writes them: in parts."""
    sizes = {"qkv_proj": (heads, groups, groups), "gate_up_proj": (160, 160)}
    leaves = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    found = {}
    for name, tensor in tensors.items():
        leaf = name.split(".")[-2]
        if leaf not in leaves:
            found[name] = tensor
            continue
        for part, rows in zip(leaves[leaf], tensor.split(sizes[leaf]), strict=True):
            found[name.replace(leaf, part)] = rows.contiguous()
    return found


def joined_again(folder, names):
    """The decoded weights of such a folder under the names of the class, for the independent reference."""
    tensors = load_file(folder / "model.safetensors")
    parts = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    found = {}
    for name in names:
        leaf = name.split(".")[-2]
        rows = [tensors[name.replace(leaf, part)] for part in parts.get(leaf, (leaf,))]
        found[name] = torch.cat(rows)
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})


def test_matrices_that_a_class_joins_are_joined_again(make_folder, tmp_path):
    source = make_folder("phi3")
    names = load_file(source / "model.safetensors")
    copy(source, tmp_path / "parts")
    save_file(apart(names), tmp_path / "parts" / "model.safetensors", metadata={"format": "pt"})
    quantize_folder(tmp_path / "parts", tmp_path / "exl2", bpw=4.5, method="rtn")
    dequantize_folder(tmp_path / "exl2", tmp_path / "plain")
    joined_again(tmp_path / "plain", names)
    packed = open_engine(tmp_path / "exl2", side="exl2")
    assert packed.info.architecture == "Phi3ForCausalLM"
    requests = [ScoreRequest("a", tuple(range(20, 80)), 1)]
    [same] = score_pair(open_engine(tmp_path / "plain", side="fp16"), packed, requests)
    assert not same.kl.any()
    [drift] = score_pair(open_engine(source, side="fp16"), packed, requests)
    assert np.mean(drift.kl) > 1e-4


def test_zero_biases_that_gptq_writers_add_are_passed_over(make_folder, tmp_path):
    """Older AutoGPTQ gives every quantized layer one; the class of the model has none."""
    folder = copy(make_folder("llama"), tmp_path / "gptq")
    tensors = as_gptq(load_file(folder / "model.safetensors"), zero_biases=("q_proj", "down_proj"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    dequantize_folder(folder, tmp_path / "plain")
    requests = [ScoreRequest("a", tuple(range(20, 80)), 1)]
    plain = open_engine(tmp_path / "plain", side="fp16")
    [same] = score_pair(plain, open_engine(folder, side="exl2"), requests)
    assert not same.kl.any()


def test_experts_that_a_class_holds_together_need_the_library(make_folder):
    settings = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 64}
    with pytest.raises(PrerequisiteError, match="experts one by one") as refused:
        open_engine(make_folder("qwen3_moe", **settings), side="exl2")
    assert "needs exllamav2" in refused.value.hint


def test_the_demo_pair_opens_and_drifts_by_its_bits(demo_pair):
    fp16 = open_engine(demo_pair["fp16"], side="fp16")
    text = "The river rises in the hills above the town and runs for ninety miles to the sea. " * 3
    request = ScoreRequest("a", fp16.encode(text), 1)
    means = []
    for name in ("demo-6bpw", "demo", "demo-3bpw"):
        exl2 = open_engine(demo_pair[name], side="exl2", share_with=fp16)
        [score] = score_pair(fp16, exl2, [request])
        means.append(float(score.kl.mean()))
        exl2.close()
    fp16.close()
    assert 0 < means[0] < means[1] < means[2]


def copy(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def edit_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def drop_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.norm.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("side", ["fp16", "exl2"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "modeling_x.py").write_text("x = 1"), "modeling_x.py is program code"),
        (lambda f: (f / "pytorch_model.bin").write_bytes(b"x"), "pytorch_model.bin is a pickle"),
        (lambda f: edit_config(f, auto_map={"AutoModel": "x.Y"}), "auto_map"),
        (lambda f: (f / "config.json").unlink(), "config.json"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x10"), "model.safetensors"),
    ],
)
def test_unsafe_and_broken_folders_are_refused(make_folder, tmp_path, side, damage, message):
    folder = copy(make_folder("llama"), tmp_path / "model")
    damage(folder)
    with pytest.raises(PrerequisiteError, match=message):
        open_engine(folder, side=side)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_tensor, "lacks the tensors model.norm.weight"),
        (lambda f: edit_config(f, num_hidden_layers=2), "does not know, the tensors model.layers.2"),
        (lambda f: edit_config(f, intermediate_size=64), "has in the wrong shape the tensors .*mlp"),
        (lambda f: edit_config(f, model_type="nobody_knows"), "cannot load model"),
        (lambda f: edit_config(f, num_attention_heads=5), "cannot load model"),
        (lambda f: [p.unlink() for p in f.glob("tokenizer*")], "tokenizer in model does not load"),
    ],
)
def test_a_baseline_that_is_not_complete_is_refused(make_folder, tmp_path, damage, message):
    folder = copy(make_folder("llama"), tmp_path / "model")
    damage(folder)
    with pytest.raises(PrerequisiteError, match=message):
        open_engine(folder, side="fp16")


def test_a_folder_that_is_not_there():
    with pytest.raises(PrerequisiteError, match="no model folder"):
        open_engine("/nowhere/at/all", side="fp16")
