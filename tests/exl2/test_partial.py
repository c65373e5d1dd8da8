import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.exl2.builders import replace_tensors, tiny_tensors, write_folder
from tests.exl2.test_convert import make_model
from wfgy_triage.engines.calibration import TransformersWalker
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.inspect import inspect_folder
from wfgy_triage.exl2.modules import read_folder
from wfgy_triage.exl2.partial import requantize_folder
from wfgy_triage.exl2.recipe import read_recipe


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A random model that runs, and its sibling, rounded to nearest."""
    base = tmp_path_factory.mktemp("pair")
    source = make_model(base / "fp16")
    quantize_folder(source, base / "exl2", bpw=4.6, head_bits=4, method="rtn")
    text = base / "calibration.txt"
    text.write_text("".join(chr(32 + (i * i // 7 + i) % 95) for i in range(5000)))
    return source, base / "exl2", text


def changed_modules(before, after):
    """Modules of which a stored byte differs; both must store tensors of the same names."""
    old, new = load_file(before / "output.safetensors"), load_file(after / "output.safetensors")
    assert set(old) == set(new)

    def same(a, b):
        return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()

    return {name.rpartition(".")[0] for name in old if not same(old[name], new[name])}


def test_only_the_protected_part_changes(tmp_path, pair):
    source, exl2, text = pair
    seen = []
    report = requantize_folder(
        source, exl2, tmp_path / "out", protect={"mlp 1-1": 8}, calibration_files=[text],
        walker=TransformersWalker(source), progress=lambda *step: seen.append(step),
    )  # fmt: skip
    expected = {f"model.layers.1.mlp.{name}_proj" for name in ("gate", "up", "down")}
    assert changed_modules(exl2, tmp_path / "out") == expected == set(report.presets)
    assert "lm_head" not in {key for _, _, key in seen}  # the walk ends with the part
    assert [done for done, _, key in seen if key.startswith("model.")] == list(range(14))
    assert {total for _, total, _ in seen} == {14}
    assert seen[-1] == (14, 14, "done")
    before, after = inspect_folder(exl2), inspect_folder(tmp_path / "out")
    assert after.anomalies == ()
    assert after.decoder_bpw == pytest.approx(report.decoder_bpw)
    rates = {layer.key: (layer.bpw, old.bpw) for layer, old in zip(after.layers, before.layers, strict=True)}
    assert all(rates[key][0] > rates[key][1] for key in expected)
    recipe = read_recipe(read_folder(tmp_path / "out"))
    assert recipe.protect == {"mlp 1-1": 8}
    assert recipe.bpw == pytest.approx(before.decoder_bpw, abs=0.005)


def test_the_new_linears_are_nearer_to_fp16(tmp_path, pair):
    source, exl2, text = pair
    requantize_folder(
        source, exl2, tmp_path / "out", protect={"attn": 6.5}, head_bits=8, calibration_files=[text],
        walker=TransformersWalker(source),
    )  # fmt: skip
    plain = load_file(source / "model.safetensors")
    with Checkpoint.open(exl2) as old, Checkpoint.open(tmp_path / "out") as new:
        for key in changed_modules(exl2, tmp_path / "out"):
            weight = plain["model.embed_tokens.weight" if key == "lm_head" else f"{key}.weight"].float()
            errors = [float((side.decode(key).float() - weight).norm()) for side in (new, old)]
            assert errors[0] < errors[1], key
    assert inspect_folder(tmp_path / "out").head_bits == 8


def test_new_linears_are_fitted_to_what_the_sibling_feeds_them(tmp_path, pair):
    source, exl2, text = pair
    fed = {}

    class Recording(TransformersWalker):
        def walk(self, rows, visit):
            def record(key, weight, inputs):
                new = visit(key, weight, inputs)
                fed[key] = (new.clone(), inputs.clone())
                return new

            super().walk(rows, record)

    requantize_folder(
        source, exl2, tmp_path / "out", head_bits=8, calibration_files=[text], walker=Recording(source)
    )
    with Checkpoint.open(exl2) as sibling:
        for key in sibling.quantized_keys()[:-1]:
            assert torch.equal(fed[key][0].float(), sibling.decode(key).float())


@pytest.fixture(scope="module")
def rounded(tmp_path_factory):
    base = tmp_path_factory.mktemp("rounded")
    source = write_folder(base / "fp16", tiny_tensors(biases=True))
    quantize_folder(source, base / "exl2", bpw=4.6, head_bits=4, method="rtn")
    return source, base / "exl2"


PARTS = st.sampled_from(
    ["attn 0-0", "attn 0-1", "mlp 1-1", "mlp", "all", "mlp 0", "model.layers.0.self_attn.q_proj", "head"]
)


@given(
    parts=st.dictionaries(PARTS, st.sampled_from([5.6, 6.5, 8.0, 8.5]), min_size=1, max_size=3),
    whole=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_every_protection_gives_a_folder_that_says_what_it_holds(tmp_path_factory, rounded, parts, whole):
    source, exl2 = rounded
    out = tmp_path_factory.mktemp("out") / "new"
    parts = {part: 8.0 if part == "head" else bpw for part, bpw in parts.items()}
    if whole:
        report = quantize_folder(source, out, bpw=4.6, head_bits=4, protect=parts, method="rtn")
    else:
        report = requantize_folder(source, exl2, out, protect=parts, method="rtn")
        assert changed_modules(exl2, out) == set(report.presets)
    inspected = inspect_folder(out)
    block = json.loads((out / "config.json").read_text())["quantization_config"]
    assert inspected.anomalies == ()
    assert block["bits"] == pytest.approx(inspected.decoder_bpw, abs=0.0051)
    assert block["head_bits"] == inspected.head_bits == (8 if "head" in parts else 4)
    assert inspected.decoder_bpw == pytest.approx(report.decoder_bpw)
    assert read_recipe(read_folder(out)).protect == {k: v for k, v in parts.items() if k != "head"}


def test_a_protected_sibling_can_be_protected_further(tmp_path, rounded):
    source, exl2 = rounded
    requantize_folder(source, exl2, tmp_path / "a", protect={"attn": 6.5}, method="rtn")
    requantize_folder(source, tmp_path / "a", tmp_path / "b", protect={"mlp 0-0": 6.5}, method="rtn")
    recipe = read_recipe(read_folder(tmp_path / "b"))
    assert recipe.protect == {"attn": 6.5, "mlp 0-0": 6.5}
    assert recipe.bpw == read_recipe(read_folder(exl2)).bpw
    assert {key.split(".mlp")[0] for key in changed_modules(tmp_path / "a", tmp_path / "b")} == {
        "model.layers.0"
    }


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"protect": {"mlp 7-9": 6}}, "No layer"),
        ({"protect": {"mlp": 9.5}}, "outside"),
        ({"protect": {"head": 7}}, "7-bit head"),
        ({"head_bits": 4}, "already has"),
        ({"protect": {"mlp": 3.5}}, "already has"),
        ({}, "already has"),
        ({"head_bits": 8, "method": "gptq"}, "needs a model"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(tmp_path, rounded, asked, text):
    with pytest.raises(InputError, match=text):
        requantize_folder(*rounded, tmp_path / "out", **{"method": "rtn", **asked})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.norm.weight", "model.embed_tokens.weight"])
def test_the_baseline_of_another_model_is_refused(tmp_path, rounded, name):
    source, exl2 = rounded
    tensors = load_file(source / "model.safetensors")
    tensors[name] = tensors[name] + 0.5
    write_folder(tmp_path / "other", tensors)
    with pytest.raises(PrerequisiteError, match=f"was not made from other: {name}"):
        requantize_folder(tmp_path / "other", exl2, tmp_path / "out", head_bits=8, method="rtn")


def test_norms_as_the_library_rounds_them_are_the_same_model(tmp_path, rounded):
    """It adds 1 to Gemma's norms when it reads them and takes it away when it writes them, in 16 bits."""
    source, exl2 = rounded
    tensors = load_file(source / "model.safetensors")
    small = {n: t / 7 for n, t in tensors.items() if n.endswith("norm.weight")}
    write_folder(tmp_path / "gemma", {**tensors, **small})
    shutil.copytree(exl2, tmp_path / "made")
    there = {name: ((tensor + 1) - 1) for name, tensor in small.items()}
    assert any(not torch.equal(there[name], tensor) for name, tensor in small.items())
    replace_tensors(tmp_path / "made", there)
    asked = {"head_bits": 8, "method": "rtn"}
    requantize_folder(tmp_path / "gemma", tmp_path / "made", tmp_path / "out", **asked)
    replace_tensors(tmp_path / "made", {"model.norm.weight": small["model.norm.weight"] + 0.01})
    with pytest.raises(PrerequisiteError, match=r"model\.norm\.weight differs"):
        requantize_folder(tmp_path / "gemma", tmp_path / "made", tmp_path / "more", **asked)


def test_an_unquantized_sibling_is_refused(tmp_path, rounded):
    source, _ = rounded
    with pytest.raises(InputError, match="not EXL2"):
        requantize_folder(source, source, tmp_path / "out", head_bits=8, method="rtn")


def test_a_head_without_quantization_stays(tmp_path):
    tensors = tiny_tensors()
    source = write_folder(tmp_path / "fp16", tensors)
    quantize_folder(source, tmp_path / "exl2", bpw=4.6, method="rtn")
    stored = load_file(tmp_path / "exl2" / "output.safetensors")
    kept = {name: tensor for name, tensor in stored.items() if not name.startswith("lm_head")}
    save_file(kept, tmp_path / "exl2" / "output.safetensors")
    requantize_folder(source, tmp_path / "exl2", tmp_path / "out", protect={"mlp": 6.5}, method="rtn")
    report = inspect_folder(tmp_path / "out")
    assert (report.head_bits, report.head_bpw) == (16, None)


def test_statistics_are_computed_once_for_all_siblings(tmp_path, pair, caplog):
    source, exl2, text = pair
    asked = []

    class Counting(TransformersWalker):
        def sensitivities(self, rows, before_row=None):
            asked.append(len(rows))
            return super().sensitivities(rows, before_row)

    def make(name, protect, rows=None):
        return requantize_folder(
            source, exl2, tmp_path / name, protect=protect, calibration_files=[text], calibration_rows=rows,
            walker=Counting(source), statistics=tmp_path / "statistics",
        )  # fmt: skip

    first = make("a", {"mlp 0-0": 6.5})
    assert make("b", {"mlp 0-0": 6.5}).presets == first.presets
    assert changed_modules(tmp_path / "a", tmp_path / "b") == set()
    make("c", {"attn": 6.5}, rows=2)
    assert len(asked) == 1
    (kept,) = (tmp_path / "statistics").iterdir()
    kept.write_text(kept.read_text()[:40])
    assert make("d", {"mlp 0-0": 6.5}).presets == first.presets
    assert len(asked) == 2
    assert "damaged" in caplog.text


def test_fewer_calibration_rows_are_recorded(tmp_path, pair):
    source, exl2, text = pair
    report = requantize_folder(
        source, exl2, tmp_path / "out", head_bits=8, calibration_files=[text], calibration_rows=2,
        walker=TransformersWalker(source),
    )  # fmt: skip
    block = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert report.calibration.rows == block["requantized"]["calibration"]["rows"] == 2
    assert block["calibration"]["rows"] == 0  # what it says of the linears that were copied
