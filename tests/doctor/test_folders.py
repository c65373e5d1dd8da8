"""The folders: a healthy pair is not accused, each fault is seen and named, and nothing raises."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import faults
from benchmarks.faults import FAULTS, Fault, edit_json, edit_tensor
from tests.doctor.conftest import by_check, failed, outcomes, save_fp16
from tests.exl2.builders import TINY, as_gptq, tiny_tensors, write_folder
from wfgy_triage.catalog import load_catalog
from wfgy_triage.checks import load_checks
from wfgy_triage.doctor import folders, weights
from wfgy_triage.doctor.finding import Finding, Outcome, evidence_of, prevents_loading
from wfgy_triage.doctor.folders import check_folders
from wfgy_triage.doctor.summary import diagnose_findings
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.pairs import Pair

MADE_HERE = {c.id for c in load_checks().values() if c.group == "folders"}


def test_a_healthy_pair_passes_every_check(healthy: Pair):
    found = check_folders(healthy)
    assert [f.check for f in found] == [c for c in load_checks() if c in MADE_HERE]
    assert {f.check: f.seen for f in found if f.state is not Outcome.PASS} == {}
    assert diagnose_findings(found).cause == "nothing_found"
    assert {c.result for c in evidence_of(found)} == {"ok"}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_every_fault_of_the_bank_is_named(fault: Fault, healthy: Pair, copy_with):
    before = {
        p: (p.stat().st_size, p.stat().st_mtime_ns) for f in (healthy.fp16, healthy.exl2) for p in f.iterdir()
    }
    found = check_folders(copy_with(fault))
    diagnosis = diagnose_findings(found)
    assert diagnosis.cause == fault.cause, [(f.check, f.seen) for f in found if f.state is Outcome.FAIL]
    assert fault.cause not in diagnosis.ruled_out
    assert {f.check for f in found} == MADE_HERE
    for finding in found:
        assert (finding.cause is not None) == (finding.state is Outcome.FAIL)
        assert finding.cause is None or finding.cause in load_catalog().causes
        if finding.state is not Outcome.PASS:
            assert finding.seen
            assert finding.means
            assert finding.do
    assert {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in before} == before


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        (faults.tokens_shifted, ["same_token_ids"]),
        (faults.special_tokens_gone, ["same_added_tokens"]),
        (faults.template_without_answer, ["same_chat_template", "answer_prompt"]),
        (faults.start_token_doubled, ["single_start_token"]),
        (faults.end_list_cut, ["same_special_tokens"]),
        (faults.rope_missing, ["same_rope"]),
        (faults.context_small, ["same_context"]),
        (faults.activation_other, ["same_settings"]),
        (faults.permutation_scrambled, ["even_layers"]),
        (faults.scales_halved, ["even_layers"]),
        (faults.group_scale_off, ["even_layers"]),
        (faults.norm_nan, ["finite_weights"]),
        (faults.foreign_weights, ["same_base_model"]),
        (faults.shard_truncated, ["checkpoint_intact"]),
        (faults.code_inside, ["folder_usable"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_fault_fails_its_own_checks_and_no_other(fault, checks, copy_with):
    assert failed(check_folders(copy_with(fault))) == checks


def test_what_was_seen_names_the_place(copy_with):
    halved = by_check(copy_with(faults.scales_halved))["even_layers"].seen
    assert "0.50 times what they should be" in halved
    assert "model.layers." in halved
    group = by_check(copy_with(faults.group_scale_off))["even_layers"].seen
    assert "row group" in group
    assert "4.0" in group
    nan = by_check(copy_with(faults.norm_nan))["finite_weights"].seen
    assert "model.norm.weight holds 1 of" in nan


def test_patches_are_exact(copy_with):
    rope = by_check(copy_with(faults.rope_missing))["same_rope"].patch
    assert (rope.target, rope.values) == ("config.json", {"rope_theta": 50000.0})
    assert json.loads(rope.text) == {"rope_theta": 50000.0}
    ends = by_check(copy_with(faults.end_list_cut))["same_special_tokens"].patch
    assert ends.values == {"eos_token_id": [0, 257]}


def test_another_base_model_is_no_damage(healthy: Pair, copy_with, tmp_path: Path):
    def swap(fp16: Path, exl2: Path) -> None:
        shutil.rmtree(exl2)
        quantize_folder(save_fp16(tmp_path / "other", seed=1), exl2, bpw=6.0, method="rtn")

    found = by_check(copy_with(swap))
    assert found["same_base_model"].state is Outcome.FAIL
    assert "1.4" in found["same_base_model"].seen
    assert found["even_layers"].state is Outcome.SKIPPED


@pytest.mark.parametrize("bpw", [3.1, 3.5, 4.2, 8.0])
def test_few_bits_are_not_taken_for_damage(bpw: float, healthy: Pair, tmp_path: Path):
    quantize_folder(healthy.fp16, tmp_path / "exl2", bpw=bpw, method="rtn")
    assert failed(check_folders(Pair("p", "P", healthy.fp16, tmp_path / "exl2"))) == []


def test_fp16_as_its_own_copy_is_healthy(healthy: Pair):
    found = check_folders(Pair("p", "P", healthy.fp16, healthy.fp16))
    assert failed(found) == []
    assert outcomes(found)["same_base_model"] is Outcome.PASS


JOINED = {"self_attn.qkv_proj": ("q_proj", "k_proj", "v_proj"), "mlp.gate_up_proj": ("gate_proj", "up_proj")}


def _joined(tensors: dict) -> dict:
    """The tensors of a Llama under the names of Phi-3: q, k and v as one matrix, gate and up as another."""
    found = dict(tensors)
    for block in ("model.layers.0", "model.layers.1"):
        for name, parts in JOINED.items():
            parent = name.partition(".")[0]
            rows = [found.pop(f"{block}.{parent}.{part}.weight") for part in parts]
            found[f"{block}.{name}.weight"] = torch.cat(rows)
    return found


def test_joined_matrices_of_fp16_are_held_against_their_parts(tmp_path: Path):
    quantize_folder(
        write_folder(tmp_path / "parts", tiny_tensors()), tmp_path / "exl2", bpw=6.5, method="rtn"
    )
    config = {**TINY, "model_type": "phi3"}
    fp16 = write_folder(tmp_path / "fp16", _joined(tiny_tensors()), config)
    found = by_check(Pair("p", "P", fp16, tmp_path / "exl2"))
    for check in ("checkpoint_intact", "same_base_model", "even_layers"):
        assert found[check].state is Outcome.PASS, found[check].seen
    assert found["same_base_model"].seen.startswith("16 decoded matrices")  # 2 x 7, the head, the embedding

    tensors = _joined(tiny_tensors())
    tensors["model.layers.1.mlp.gate_up_proj.weight"][96:] *= 2
    found = by_check(Pair("p", "P", write_folder(tmp_path / "damaged", tensors, config), tmp_path / "exl2"))
    assert found["even_layers"].seen.startswith("model.layers.1.mlp.up_proj:")

    tensors["model.layers.0.self_attn.qkv_proj.weight"] = torch.zeros(120, 64).half()
    found = by_check(Pair("p", "P", write_folder(tmp_path / "other", tensors, config), tmp_path / "exl2"))
    assert "k_proj is (120, 64) in FP16 and (32, 64) in EXL2" in found["same_base_model"].seen


def test_a_quantized_baseline_is_refused(healthy: Pair):
    found = check_folders(Pair("p", "P", healthy.exl2, healthy.exl2))
    assert failed(found) == ["baseline_unquantized"]
    assert prevents_loading(found)


def test_harmless_differences_warn(copy_with):
    untied = by_check(copy_with(lambda fp16, exl2: edit_json(exl2 / "config.json", _untie)))
    assert untied["same_tie"].state is Outcome.WARN


def test_zero_biases_that_gptq_writers_add_are_no_difference(tmp_path: Path):
    fp16 = write_folder(tmp_path / "fp16", tiny_tensors())
    tensors = as_gptq(tiny_tensors(), zero_biases=("q_proj", "down_proj"))
    gptq = write_folder(tmp_path / "gptq", tensors)
    assert by_check(Pair("p", "P", fp16, gptq))["checkpoint_intact"].state is Outcome.PASS
    tensors["model.layers.1.mlp.down_proj.bias"][3] = 1
    told = by_check(Pair("p", "P", fp16, write_folder(tmp_path / "other", tensors)))["checkpoint_intact"]
    assert told.state is Outcome.WARN
    assert "EXL2 has model.layers.1.mlp.down_proj.bias, which" in told.seen


def test_a_tie_that_no_config_states_is_the_class_s_own(tmp_path: Path):
    config = {**TINY, "model_type": "gemma2"}
    del config["tie_word_embeddings"]
    pair = Pair("p", "P", *(write_folder(tmp_path / n, tiny_tensors(), config) for n in ("fp16", "exl2")))
    assert by_check(pair)["same_tie"].state is Outcome.PASS
    edit_json(pair.exl2 / "config.json", _untie)
    untied = by_check(pair)["same_tie"]
    assert untied.state is Outcome.FAIL
    assert "FP16 shares it with the embedding" in untied.seen
    assert untied.patch.values == {"tie_word_embeddings": True}


def _untie(config: dict) -> None:
    config["tie_word_embeddings"] = False


def _two_ends(config: dict) -> None:
    config["eos_token_id"] = [257, 0]


def test_a_list_of_end_tokens_is_pointed_out(copy_with):
    def breaks(fp16: Path, exl2: Path) -> None:
        for folder in (fp16, exl2):
            edit_json(folder / "generation_config.json", _two_ends)

    found = by_check(copy_with(breaks))
    assert found["same_special_tokens"].state is Outcome.PASS
    assert found["end_token_list"].state is Outcome.WARN
    assert found["end_token_list"].patch.text == "stop_conditions=[0, 257]"


def test_values_beyond_fp16_become_infinite_in_the_library(copy_with):
    def breaks(fp16: Path, exl2: Path) -> None:
        def change(tensors):
            tensors["model.norm.weight"] = tensors["model.norm.weight"].float() * 0 + 1e5
            return tensors

        _rewrite(exl2 / "output.safetensors", change)

    found = by_check(copy_with(breaks))["finite_weights"]
    assert found.state is Outcome.FAIL
    assert "cannot hold" in found.seen


def _rewrite(path: Path, change) -> None:
    from safetensors.torch import load_file, save_file

    tensors = change(load_file(path))
    path.unlink()
    save_file(tensors, path)


@pytest.mark.parametrize(
    "junk", ["[]", "null", "{", '{"rope_parameters": [1], "eos_token_id": {"a": 1}, "vocab_size": "x"}']
)
def test_junk_in_config_never_raises(junk: str, copy_with):
    found = check_folders(copy_with(lambda fp16, exl2: faults.write(exl2 / "config.json", junk.encode())))
    assert {f.check for f in found} == MADE_HERE
    assert failed(found)


def test_an_empty_and_a_missing_folder_never_raise(tmp_path: Path, healthy: Pair):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "nowhere"):
        assert prevents_loading(check_folders(Pair("p", "P", healthy.fp16, folder)))
        assert prevents_loading(check_folders(Pair("p", "P", folder, healthy.exl2)))


def test_file_names_and_shards_do_not_matter(healthy: Pair, tmp_path: Path):
    renamed = Path(shutil.copytree(healthy.exl2, tmp_path / "renamed"))
    (renamed / "output.safetensors").rename(renamed / "zzz.safetensors")
    told = [(f.check, f.state, f.seen) for f in check_folders(healthy)]
    assert [(f.check, f.state, f.seen) for f in check_folders(Pair("p", "P", healthy.fp16, renamed))] == told


def test_unchanged_files_are_not_read_again_and_changed_ones_are(copy_with, monkeypatch: pytest.MonkeyPatch):
    pair = copy_with(lambda fp16, exl2: None)
    first = check_folders(pair)
    with monkeypatch.context() as patch:
        patch.setattr(folders, "_check", None)
        assert check_folders(pair) is first
    edit_tensor(pair.exl2, "model.norm.weight", lambda v: v.__setitem__(0, float("nan")))
    assert failed(check_folders(pair)) == ["finite_weights"]


def test_matrices_are_not_compared_again_for_a_change_of_other_files(
    copy_with, monkeypatch: pytest.MonkeyPatch
):
    pair = copy_with(lambda fp16, exl2: None)
    first = by_check(pair)
    edit_json(pair.exl2 / "config.json", lambda d: d.update(hidden_act="gelu"))
    with monkeypatch.context() as patch:
        patch.setattr(weights, "compare", None)
        again = by_check(pair)
    assert again["same_settings"].state is Outcome.FAIL
    assert again["even_layers"] == first["even_layers"]


def test_progress_ends_at_its_total(copy_with):
    seen: list[tuple[int, int]] = []
    check_folders(copy_with(lambda fp16, exl2: None), lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == 23
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_findings_survive_json(copy_with):
    for finding in check_folders(copy_with(faults.rope_missing)):
        assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding


@pytest.mark.demo
@pytest.mark.parametrize("name", ["demo", "demo-6bpw", "demo-3bpw"])
def test_a_real_model_is_healthy_at_every_bit_rate(name: str, demo_pair: dict[str, Path]):
    found = check_folders(Pair(name, name, demo_pair["fp16"], demo_pair[name]))
    assert {f.check: f.seen for f in found if f.state is not Outcome.PASS} == {}
