import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.exl2.builders import TINY, gptq_tensors, replace_tensors, tiny_tensors, write_folder
from tests.exl2.reference import bits_of, decode_exl2, decode_gptq
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.inspect import inspect_folder

KEY = "model.layers.1.mlp.down_proj"


@pytest.fixture
def exl2(tmp_path):
    source = write_folder(tmp_path / "fp16", tiny_tensors(biases=True))
    quantize_folder(source, tmp_path / "exl2", bpw=6.5, method="rtn")
    return tmp_path / "exl2"


def test_every_linear_decodes_as_the_reference_does(exl2):
    stored = load_file(exl2 / "output.safetensors")
    with Checkpoint.open(exl2) as checkpoint:
        assert len(checkpoint.quantized_keys()) == 15
        for key in checkpoint.quantized_keys():
            parts = {k.rsplit(".", 1)[1]: v.numpy() for k, v in stored.items() if k.startswith(key + ".q_")}
            decoded = checkpoint.decode(key)
            assert np.array_equal(bits_of(decoded.numpy()), bits_of(decode_exl2(parts, decoded.shape[0])))
        bias = "model.layers.0.self_attn.q_proj.bias"
        assert bias in checkpoint.plain_names()
        assert torch.equal(checkpoint.plain(bias), tiny_tensors(biases=True)[bias])


def test_a_name_that_is_not_there_is_said(exl2):
    with Checkpoint.open(exl2) as checkpoint:
        with pytest.raises(PrerequisiteError, match=r"model\.nothing"):
            checkpoint.decode("model.nothing")
        with pytest.raises(PrerequisiteError, match=r"model\.nothing"):
            checkpoint.plain("model.nothing")


def test_report_counts_everything_that_is_stored(exl2):
    report = inspect_folder(exl2)
    # A head of 64 rows is one group, and of the 6-bit option's mix the first group has 8 bits.
    assert (report.kind, report.architecture, report.head_bits) == ("exl2", "LlamaForCausalLM", 8)
    stored = load_file(exl2 / "output.safetensors")
    blocks = {
        k: v
        for k, v in stored.items()
        if k.rsplit(".", 1)[1].startswith("q_") and not k.startswith("lm_head")
    }
    weights = sum(layer.in_features * layer.out_features for layer in report.layers if layer.key != "lm_head")
    assert report.decoder_bpw == pytest.approx(sum(v.nbytes for v in blocks.values()) * 8 / weights)
    assert report.total_bytes == (exl2 / "output.safetensors").stat().st_size
    down = next(layer for layer in report.layers if layer.key == KEY)
    assert (down.in_features, down.out_features) == (96, 64)
    assert sum(rows for _, rows in down.bits) == 96
    assert report.anomalies == ()


def test_padded_outputs_are_cut_to_what_the_config_says(tmp_path):
    config = {**TINY, "vocab_size": 150}
    quantize_folder(
        write_folder(tmp_path / "fp16", tiny_tensors(config), config), tmp_path / "q", bpw=6.5, method="rtn"
    )
    with Checkpoint.open(tmp_path / "q") as checkpoint:
        assert checkpoint.decode("lm_head").shape == (150, 64)
    assert load_file(tmp_path / "q" / "output.safetensors")["lm_head.q_weight"].shape[1] == 160


@pytest.mark.parametrize(("width", "fits"), [(96, True), (None, True), (160, False)])
def test_experts_are_held_against_their_own_width(tmp_path, exl2, width, fits):
    """As in Qwen3-MoE, whose `intermediate_size` is that of layers without experts."""
    path = exl2 / "output.safetensors"
    tensors = {n.replace(".mlp.", ".mlp.experts.0."): t for n, t in load_file(path).items()}
    save_file(tensors, path)
    config = {**TINY, "model_type": "qwen3_moe", "intermediate_size": 256, "moe_intermediate_size": width}
    (exl2 / "config.json").write_text(json.dumps(config))
    if fits:
        with Checkpoint.open(exl2) as checkpoint:
            assert checkpoint.decode("model.layers.0.mlp.experts.0.gate_proj").shape == (96, 64)
        return
    with pytest.raises(PrerequisiteError, match=r"gate_proj\.q_weight has 96 columns where .* needs 160"):
        Checkpoint.open(exl2)


def _pairs(exl2):
    return load_file(exl2 / "output.safetensors")[f"{KEY}.q_groups"].clone()


@pytest.mark.parametrize(
    ("part", "change", "text"),
    [
        ("q_scale", None, "q_scale is missing"),
        ("q_invperm", None, "q_invperm is missing"),
        ("q_scale_max", lambda t: t.float(), "q_scale_max has dtype F32"),
        ("q_weight", lambda t: t.to(torch.int16), "q_weight has dtype I16"),
        ("q_scale_max", lambda t: t * float("nan"), "q_scale_max holds nan"),
        ("q_scale_max", lambda t: t + float("inf"), "q_scale_max holds inf"),
        ("q_groups", lambda t: t[:-1], "pairs"),
        ("q_groups", lambda t: torch.cat([t[:0], torch.tensor([7, 0], dtype=torch.int16)]), "7 bits"),
        ("q_groups", lambda t: torch.tensor([2, 0], dtype=torch.int16), "cover|q_groups"),
        ("q_groups", lambda t: torch.tensor([4, 1], dtype=torch.int16), "q_groups"),
        ("q_groups", lambda t: torch.tensor([4, 4, 8, 8], dtype=torch.int16), "q_groups"),
        ("q_scale", lambda t: t[:, :-1].contiguous(), "q_scale has shape"),
        ("q_invperm", lambda t: torch.zeros_like(t), "not a permutation"),
        ("q_weight", lambda t: t[:, :-1].contiguous(), "down_proj"),
    ],
)
def test_damage_is_named(exl2, part, change, text):
    name = f"{KEY}.{part}"
    old = load_file(exl2 / "output.safetensors")[name].clone()
    replace_tensors(exl2, {name: change(old) if change else None})
    for read in (Checkpoint.open, inspect_folder):
        with pytest.raises(PrerequisiteError, match=text) as caught:
            read(exl2)
        assert "down_proj" in caught.value.message
        assert "output.safetensors" in caught.value.message


def test_groups_in_ascending_bits_are_refused(exl2):
    words = torch.zeros((2 + 8, 64), dtype=torch.int32)  # 32 rows of 2 bits, then 64 rows of 4
    replace_tensors(
        exl2,
        {
            f"{KEY}.q_weight": words,
            f"{KEY}.q_groups": torch.tensor([2, 0, 4, 2], dtype=torch.int16),
            f"{KEY}.q_scale": torch.zeros((2, 8), dtype=torch.int32),
            f"{KEY}.q_scale_max": torch.ones(2, dtype=torch.float16),
        },
    )
    with pytest.raises(PrerequisiteError, match="more bits than the one before"):
        Checkpoint.open(exl2)


@pytest.mark.parametrize(
    "gone", ["model.layers.0.mlp.up_proj.", "model.layers.1.input_layernorm.", "model.embed_tokens."]
)
def test_missing_modules_are_named(exl2, gone):
    names = [n for n in load_file(exl2 / "output.safetensors") if n.startswith(gone)]
    replace_tensors(exl2, dict.fromkeys(names))
    with pytest.raises(PrerequisiteError, match=gone.rstrip(".").replace(".", r"\.")):
        Checkpoint.open(exl2)


def test_missing_untied_head_is_named(tmp_path):
    config = {**TINY, "tie_word_embeddings": False}
    folder = write_folder(tmp_path / "m", tiny_tensors(), config)
    with pytest.raises(PrerequisiteError, match="lm_head"):
        Checkpoint.open(folder)


@pytest.mark.parametrize(("family", "complete"), [("gemma2", True), ("cohere", True), ("llama", False)])
def test_a_tie_that_config_does_not_state_is_the_class_s_own(tmp_path, family, complete):
    config = {k: v for k, v in TINY.items() if k != "tie_word_embeddings"} | {"model_type": family}
    folder = write_folder(tmp_path / "m", tiny_tensors(), config)
    if complete:
        assert Checkpoint.open(folder).contents.kind == "fp16"
        return
    with pytest.raises(PrerequisiteError, match="lm_head"):
        Checkpoint.open(folder)


def test_what_loaders_stumble_over_is_an_anomaly(exl2):
    config = json.loads((exl2 / "config.json").read_text())
    assert config.pop("rope_theta") == 5000.0
    config["quantization_config"]["bits"] = 3.0
    (exl2 / "config.json").write_text(json.dumps(config))
    (exl2 / "tokenizer.json").unlink()
    text = " ".join(inspect_folder(exl2).anomalies)
    for word in ("rope_theta", "tokenizer.json", "declares 3.0"):
        assert word in text


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("fmt", ["gptq", "gptq_v2"])
def test_gptq_folder_decodes_as_the_reference_does(tmp_path, act_order, fmt):
    generator = torch.Generator().manual_seed(3)
    tensors, expected = {}, {}
    for name, tensor in tiny_tensors().items():
        key = name.removesuffix(".weight")
        if not key.endswith("_proj"):
            tensors[name] = tensor
            continue
        made, group_of = gptq_tensors(key, tensor.shape[1], tensor.shape[0], 32, act_order, generator)
        tensors.update(made)
        arrays = {k.rsplit(".", 1)[1]: v.numpy() for k, v in made.items()}
        expected[key] = decode_gptq(arrays, group_of, 0 if fmt == "gptq_v2" else 1)
    config = {**TINY, "quantization_config": {"quant_method": "gptq", "bits": 4, "checkpoint_format": fmt}}
    folder = write_folder(tmp_path / "g", tensors, config)
    with Checkpoint.open(folder) as checkpoint:
        assert set(checkpoint.quantized_keys()) == set(expected)
        for key, weight in expected.items():
            assert np.array_equal(bits_of(checkpoint.decode(key).numpy()), bits_of(weight))
    report = inspect_folder(folder)
    assert (report.kind, report.head_bits, report.head_bpw) == ("gptq", 16, None)


def test_gptq_folders_of_other_widths_are_refused(tmp_path):
    made, _ = gptq_tensors("model.layers.0.mlp.up_proj", 64, 96, 32, False, torch.Generator().manual_seed(1))
    made["model.layers.0.mlp.up_proj.qzeros"] = torch.zeros(
        (2, 24), dtype=torch.int32
    )  # as 8 bits would need
    tensors = {n: t for n, t in tiny_tensors().items() if n != "model.layers.0.mlp.up_proj.weight"}
    with pytest.raises(PrerequisiteError, match=r"up_proj\.qzeros has shape"):
        Checkpoint.open(write_folder(tmp_path / "g", {**tensors, **made}))


def test_reading_headers_needs_no_torch():
    code = "import sys, wfgy_triage.exl2.inspect; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
