import json

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.exl2.builders import TINY, tiny_tensors, write_folder
from wfgy_triage.engines.calibration import TransformersWalker
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.exl2 import walker as walker_module
from wfgy_triage.exl2.allocation import Sensitivity
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.dequantize import dequantize_folder
from wfgy_triage.exl2.inspect import inspect_folder
from wfgy_triage.exl2.walker import calibration_passages, evaluation_text, standard_calibration, token_rows

SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 160, "max_position_embeddings": 1024,
}  # fmt: skip
FAMILIES = {
    "llama": lambda tied: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tied)),
    "qwen2": lambda tied: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=tied)),
    "qwen3": lambda tied: Qwen3ForCausalLM(Qwen3Config(**SIZES, tie_word_embeddings=tied)),
}


def make_model(folder, family="llama", tied=True):
    """Save a random model with a tokenizer of single characters."""
    torch.manual_seed(7)
    model = FAMILIES[family](tied).to(torch.float16)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.1)
    model.save_pretrained(folder)
    vocabulary = {"<unk>": 0, **{chr(c): c - 31 for c in range(32, 127)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 - a token's text
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)  # noqa: S106
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "calibration.txt"
    path.write_text("".join(chr(32 + (i * i // 7 + i) % 95) for i in range(5000)))
    return path


@pytest.mark.parametrize(
    ("family", "tied"), [("llama", True), ("llama", False), ("qwen2", True), ("qwen3", False)]
)
def test_quantize_then_dequantize_end_to_end(tmp_path, text, family, tied):
    source = make_model(tmp_path / "fp16", family, tied)
    seen = []
    report = quantize_folder(
        source, tmp_path / "exl2", bpw=6.0, calibration_files=[text], walker=TransformersWalker(source),
        progress=lambda done, total, label: seen.append((done, total, label)),
    )  # fmt: skip
    assert report.decoder_bpw <= 6.0
    assert seen[0][0] == 0
    assert seen[-1][:2] == (15, 15)
    inspected = inspect_folder(tmp_path / "exl2")
    assert inspected.decoder_bpw == pytest.approx(report.decoder_bpw)
    assert inspected.head_bpw == pytest.approx(report.head_bpw)
    assert inspected.anomalies == ()

    dequantize_folder(tmp_path / "exl2", tmp_path / "back")
    original = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    model, info = AutoModelForCausalLM.from_pretrained(
        tmp_path / "back", dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with Checkpoint.open(tmp_path / "exl2") as checkpoint:
        for key in checkpoint.quantized_keys():
            assert torch.equal(model.get_submodule(key).weight, checkpoint.decode(key).float())
    assert torch.equal(model.get_input_embeddings().weight, original.get_input_embeddings().weight)
    ids = torch.arange(1, 90).unsqueeze(0)
    with torch.no_grad():
        reference, quantized = original(ids).logits, model(ids).logits
    assert torch.nn.functional.cosine_similarity(reference.flatten(), quantized.flatten(), dim=0) > 0.98


def test_the_written_folder_is_what_the_library_reads(tmp_path):
    source = write_folder(tmp_path / "fp16", tiny_tensors())
    (source / "chat_template.jinja").write_text("x")
    quantize_folder(source, tmp_path / "exl2", bpw=4.6, head_bits=4, method="rtn")
    config = json.loads((tmp_path / "exl2" / "config.json").read_text())
    assert config["rope_theta"] == 5000.0
    assert config["rope_parameters"] == TINY["rope_parameters"]
    block = config["quantization_config"]
    assert (block["quant_method"], block["head_bits"]) == ("exl2", 4)
    assert set(block) >= {"version", "bits", "calibration"}
    assert {p.name for p in (tmp_path / "exl2").iterdir()} == {
        "config.json", "tokenizer.json", "chat_template.jinja", "output.safetensors",
    }  # fmt: skip
    dtypes = {
        k.rsplit(".", 1)[1]: v.dtype for k, v in load_file(tmp_path / "exl2" / "output.safetensors").items()
    }
    assert dtypes == {
        "q_weight": torch.int32, "q_invperm": torch.int32, "q_scale": torch.int32,
        "q_scale_max": torch.float16, "q_groups": torch.int16, "weight": torch.float16,
    }  # fmt: skip


class _RecordingWalker:
    """A linear chain whose second linear shows whether it was fed by the first one's new weight."""

    def __init__(self, tensors):
        self.tensors, self.fed = tensors, []

    def encode(self, text):
        return [ord(c) % 90 for c in text]

    def sensitivities(self, rows, before_row=None):
        return {"model.layers.1.mlp.up_proj": Sensitivity(1e6)}

    def walk(self, rows, visit):
        hidden = self.tensors["model.embed_tokens.weight"].float()[rows].flatten(0, 1)
        for name, weight in self.tensors.items():
            if name.endswith("_proj.weight"):
                inputs = torch.nn.functional.pad(hidden, (0, weight.shape[1] - 64))
                new = visit(name.removesuffix(".weight"), weight, inputs)
                self.fed.append(not torch.equal(new.float(), weight.float()))
        visit("lm_head", self.tensors["model.embed_tokens.weight"], hidden)


def test_the_walker_goes_on_with_quantized_weights(tmp_path, text):
    tensors = tiny_tensors()
    walker = _RecordingWalker(tensors)
    source = write_folder(tmp_path / "fp16", tensors)
    quantize_folder(source, tmp_path / "exl2", bpw=4.6, calibration_files=[text], walker=walker)
    assert len(walker.fed) == 14
    assert all(walker.fed)


def test_sensitive_linears_get_the_precise_presets(tmp_path, text):
    tensors = tiny_tensors()
    source = write_folder(tmp_path / "fp16", tensors)
    walker = _RecordingWalker(tensors)
    quantize_folder(source, tmp_path / "exl2", bpw=5.5, calibration_files=[text], walker=walker)
    bits = {layer.key: layer.bits[-1][0] for layer in inspect_folder(tmp_path / "exl2").layers}
    assert bits["model.layers.1.mlp.up_proj"] == 8
    assert bits["model.layers.0.mlp.up_proj"] < 8


def test_sensitivity_predicts_which_linear_hurts_most(tmp_path):
    folder = make_model(tmp_path / "m")
    walker = TransformersWalker(folder)
    model = walker._model
    model.model.layers[0].mlp.down_proj.weight.data.mul_(12)  # now its output dominates the residual stream
    rows = torch.arange(1, 129).view(4, 32)
    found = walker.sensitivities(rows)
    assert set(found) == {k for k, _ in model.named_modules() if k.endswith("_proj")}
    assert all(value.cost > 0 and sum(value.energy) == pytest.approx(1) for value in found.values())

    def damage(key):
        module = model.get_submodule(key)
        original = module.weight.data.clone()
        with torch.no_grad():
            before = model(rows).logits.log_softmax(-1)
            noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(1))
            module.weight.data += 0.02 * original.square().mean().sqrt() * noise
            after = model(rows).logits.log_softmax(-1)
        module.weight.data = original
        return float((before.exp() * (before - after)).sum(-1).mean()) / original.numel()

    measured = {key: damage(key) for key in found}
    keys = sorted(found)
    predicted = torch.tensor([found[k].cost for k in keys])
    ranks = [x.argsort().argsort().double() for x in (predicted, torch.tensor([measured[k] for k in keys]))]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.8


def test_hooks_feed_later_linears_from_replaced_weights(tmp_path):
    walker = TransformersWalker(make_model(tmp_path / "m"))
    inputs = {}

    def zero_v_proj(key, weight, x):
        inputs[key] = x
        return torch.zeros_like(weight) if key.endswith("v_proj") else weight

    walker.walk(torch.arange(1, 65).view(2, 32), zero_v_proj)
    assert len(inputs) == 15
    assert inputs["model.layers.0.self_attn.o_proj"].eq(0).all()
    assert inputs["model.layers.0.self_attn.q_proj"] is inputs["model.layers.0.self_attn.v_proj"]
    assert inputs["model.layers.0.mlp.down_proj"].shape == (64, 96)


def test_walking_without_change_gives_the_models_own_head_input(tmp_path):
    folder = make_model(tmp_path / "m", "qwen3")
    rows = torch.arange(1, 65).view(2, 32)
    seen = {}
    TransformersWalker(folder).walk(rows, lambda key, weight, x: seen.setdefault(key, (weight, x))[0])
    with torch.no_grad():
        expected = (
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).model(rows).last_hidden_state
        )
    torch.testing.assert_close(seen["lm_head"][1], expected.flatten(0, 1))


def test_calibration_never_reads_the_evaluation_text():
    evaluation = evaluation_text()
    assert len(evaluation) == 60_000
    lines = {line for line in evaluation.splitlines() if len(line) > 60}
    for passage in standard_calibration():
        assert not lines & set(passage.text.splitlines())


def test_token_rows_are_cut_from_the_start(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("abcdefgh" * 10)
    rows = token_rows(calibration_passages([path], rows=3), lambda s: [ord(c) for c in s], tokens=4)
    assert rows.tolist()[0] == [97, 98, 99, 100]
    assert rows.shape == (3, 4)
    with pytest.raises(PrerequisiteError, match="shorter than"):
        token_rows(calibration_passages([path]), lambda s: [1], tokens=4)


def test_calibration_files_must_be_text(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PrerequisiteError, match=r"x\.bin"):
        calibration_passages([tmp_path / "x.bin"])


def test_missing_standard_text_is_said(monkeypatch):
    monkeypatch.setattr(walker_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PrerequisiteError, match="calibration text is not installed"):
        standard_calibration()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"bpw": 1.0, "method": "rtn"}, "outside"),
        ({"bpw": 4.0, "method": "awq"}, "no method"),
        ({"bpw": 4.0, "method": "gptq"}, "walker"),
        ({"bpw": 4.0, "head_bits": 7, "method": "rtn"}, "7-bit head"),
        ({"bpw": 2.05, "method": "rtn"}, "too few"),
    ],
)
def test_impossible_requests_are_refused_before_any_file(tmp_path, arguments, text):
    source = write_folder(tmp_path / "fp16", tiny_tensors())
    with pytest.raises(InputError, match=text):
        quantize_folder(source, tmp_path / "out", **arguments)
    assert [p.name for p in tmp_path.iterdir()] == ["fp16"]


def test_a_decoder_of_another_layout_is_refused(tmp_path):
    tensors = {n.replace("mlp.up_proj", "mlp.w3"): t for n, t in tiny_tensors().items()}
    source = write_folder(tmp_path / "fp16", tensors, {**TINY, "model_type": "other"})
    with pytest.raises(PrerequisiteError, match="no decoder of a layout"):
        quantize_folder(source, tmp_path / "out", bpw=4.6, method="rtn")


def test_a_quantized_folder_cannot_be_quantized_again(tmp_path):
    source = write_folder(tmp_path / "fp16", tiny_tensors())
    quantize_folder(source, tmp_path / "a", bpw=4.6, method="rtn")
    with pytest.raises(InputError, match="already quantized"):
        quantize_folder(tmp_path / "a", tmp_path / "b", bpw=4.6, method="rtn")
    with pytest.raises(InputError, match="not quantized"):
        dequantize_folder(source, tmp_path / "c")
