"""What of `make gpu-check` runs without a GPU: the refusal, the report, the folders that it makes, its sums."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks.gpu_check import __main__ as gpu_check
from benchmarks.gpu_check import agreement, headers, latency, traps, weights
from benchmarks.gpu_check.part import Bench, passed_if
from benchmarks.gpu_check.synthetic import BODY, SHAPES, Shape, make_pair
from benchmarks.gpu_check.table import markdown
from tests.engines.fake_exllamav2 import fake_library
from tests.remedies.library_sources import class_of, fields
from wfgy_triage import demo
from wfgy_triage.engines import exllamav2_loading
from wfgy_triage.engines.base import ScoreRequest
from wfgy_triage.engines.exllamav2_engine import ExLlamaV2Engine
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.scoring import score_pair
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.presets import HEAD_PRESETS, PRESETS

TINY = Shape("tiny", 128, 256, 2, 2, 1)


def test_without_a_gpu_it_says_so_and_ends_with_2(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    target = tmp_path / "report.json"
    assert gpu_check.main(["--json", str(target)]) == 2
    assert "no GPU" in capsys.readouterr().out
    assert not target.exists()


def on_gpu(monkeypatch, outcomes):
    """As if there were a GPU: every part ends as told."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_check, "machine", lambda: {"gpus": [{"name": "GPU X"}], "cuda": "12.8"})
    monkeypatch.setattr(gpu_check, "run_part", lambda name, *rest: outcomes(name))


def test_a_failing_part_hides_no_other_and_a_part_can_be_left_out(monkeypatch, tmp_path, capsys):
    state = {"logits": "FAIL"}
    on_gpu(monkeypatch, lambda name: {"state": state.get(name, "PASS"), "said": f"of {name} | x", "rows": []})
    target = tmp_path / "report.json"
    given = ["--fp16", "a", "--exl2", "b", "--json", str(target)]
    assert gpu_check.main([*given, "--skip", "latency"]) == 1
    parts = json.loads(target.read_text())["parts"]
    assert list(parts) == list(gpu_check.PARTS)
    assert {n for n, p in parts.items() if p["state"] == "PASS"} == {
        "extension",
        "weights",
        "example",
        "probes",
        "traps",
    }
    assert parts["latency"]["state"] == "NOT MEASURED"
    shown = capsys.readouterr().out
    assert "| logits | FAIL | of logits \\| x |" in shown
    assert gpu_check.main([*given, "traps"]) == 0


def test_a_part_whose_process_dies_is_a_failure_with_its_last_words(monkeypatch, tmp_path):
    monkeypatch.setattr(
        gpu_check.subprocess,
        "run",
        lambda *a, real=gpu_check.subprocess.run, **k: real(
            [sys.executable, "-c", "import sys; sys.exit('GPU fell off')"], **k
        ),
    )
    found = gpu_check.run_part("weights", Path("a"), [Path("b")], tmp_path, True)
    assert found["state"] == "FAIL"
    assert "exit code 1" in found["said"]
    assert "GPU fell off" in found["said"]
    assert list(tmp_path.iterdir()) == []


def test_the_table_says_what_was_not_measured():
    row = {"model": "demo", "arm": "x", "prompt": 8, "batch": 1, **latency.medians([])}
    report = {
        "machine": {"gpus": [], "cuda": None},
        "fast": True,
        "parts": {"latency": {"state": "PASS", "said": "1 row.", "rows": [row]}},
    }
    assert f"| demo | x | 8 | 1 |{' NOT MEASURED |' * 4} 0 | 0 |" in markdown(report)
    row |= latency.medians([latency.Times(0.1 * n, 0.01 * n, 0) for n in range(1, 8)])
    assert "| demo | x | 8 | 1 | 400 | 100 to 700 | 40 | 10 to 70 | 7 | 0 |" in markdown(report)


def test_small_folders_hold_every_mix_of_widths_and_decode_to_what_was_rounded(fp16, tmp_path):
    for turn in range(len(HEAD_PRESETS)):
        assert set(weights.presets_of(turn).values()) == set(PRESETS)
    folder = weights.small_folder(tmp_path / "s", fp16, 3, turn=1)
    with Checkpoint.open(folder) as checkpoint:
        keys = checkpoint.quantized_keys()
        assert len(keys) == weights.LAYERS * 7 + 1
        bits = {g.bits for key in keys for g in checkpoint.contents.exl2[key].groups}
        assert bits == {2, 3, 4, 5, 6, 8}
        key = "model.layers.0.self_attn.q_proj"
        assert checkpoint.row_order(key).tolist() != sorted(checkpoint.row_order(key).tolist())
    engine = open_engine(folder, side="exl2")
    assert engine.info.layers == weights.LAYERS
    engine.close()


def test_synthetic_folders_load_and_are_of_the_sizes_they_name(fp16, tmp_path):
    sizes = [shape.weights(49152) / 1e9 for shape in SHAPES]
    assert [round(s) for s in sizes] == [1, 7]
    plain, packed = make_pair(TINY, fp16, tmp_path, "cpu")
    for folder, side in ((plain, "fp16"), (packed, "exl2")):
        engine = open_engine(folder, side=side)
        assert engine.info.layers == TINY.layers
        engine.close()
    with Checkpoint.open(packed) as checkpoint:
        layout = checkpoint.contents.exl2["model.layers.1.mlp.down_proj"]
        assert layout.groups == BODY.groups(TINY.inter)
        spread = float(checkpoint.decode("model.layers.1.mlp.down_proj").float().std())
    assert 0.005 < spread < 0.05, "about the size of trained weights"


def test_agreement_sums_are_those_of_the_scores(fp16):
    engine = open_engine(fp16, side="fp16")
    other = open_engine(fp16, side="fp16", mode="fast")
    ids = engine.encode("A sentence of which every token is scored.")
    scores = list(score_pair(engine, other, [ScoreRequest("a", ids, 1)]))
    found = agreement.summary(scores)
    assert found["positions"] == len(ids) - 1
    assert found["mean_kl"] == pytest.approx(float(scores[0].kl.mean()))
    assert found["same_top"] == pytest.approx(float(scores[0].same_top.mean()))
    for e in (engine, other):
        e.close()


@pytest.mark.parametrize(("apart", "state"), [(0.0, "PASS"), (0.5, "FAIL")])
def test_the_library_may_differ_by_no_more_than_twice_the_floor(fp16, tmp_path, monkeypatch, apart, state):
    monkeypatch.setattr(agreement, "evaluation_text", lambda: "Some running text. " * 80)
    engines = {name: open_engine(fp16, side="fp16") for name in ("one", "two")}

    class Moved:
        """The library's arm: a little off on both folders, and more by `apart` on the EXL2 one."""

        def __init__(self, engine, by):
            self._engine, self._by = engine, by

        def __getattr__(self, name):
            return getattr(self._engine, name)

        def logits(self, requests, chunk=128, should_stop=None):
            for part in self._engine.logits(requests, chunk):
                moved = part.logits.clone()
                moved[:, ::2] += self._by
                yield type(part)(part.id, part.start, moved)

        def close(self): ...

    def opened(folder, side, settings):
        if side == "fp16":
            return engines["one"] if settings.baseline == "transformers" else Moved(engines["two"], 0.05)
        return Moved(engines["one"], 0.0 if settings.backend == "reference" else 0.05 + apart)

    found = agreement.compare(Bench(fp16, (fp16,), tmp_path, True), opened)
    assert found.state == state, found.said
    assert [r["kind"] for r in found.rows] == ["floor", "engines", "repeat", "weights"]
    for engine in engines.values():
        engine.close()


def test_pass_and_fail():
    assert (passed_if(True, "a", []).state, passed_if(False, "a", []).state) == ("PASS", "FAIL")


def test_every_part_is_a_module_with_a_run():
    for module in gpu_check.PARTS.values():
        run = importlib.import_module(f"benchmarks.gpu_check.{module}").run
        assert list(inspect.signature(run).parameters) == ["bench"]


class WithModules(ExLlamaV2Engine):
    """An engine that holds nothing but modules with weights."""

    def __init__(self, modules):
        self._loaded = SimpleNamespace(model=SimpleNamespace(modules_dict=modules))

    def close(self): ...


def test_one_wrong_bit_in_one_layer_is_found(fp16, tmp_path, monkeypatch):
    folder = weights.small_folder(tmp_path / "s", fp16, 2, turn=0)
    with Checkpoint.open(folder) as checkpoint:
        theirs = {key: checkpoint.decode(key).T.contiguous() for key in checkpoint.quantized_keys()}
        # As the library: a down projection's rows as they are stored, what feeds it turned alike.
        for layer in range(weights.LAYERS):
            stored = f"model.layers.{layer}.mlp."
            rows = checkpoint.row_order(f"{stored}down_proj")
            order = sorted(range(len(rows)), key=rows.__getitem__)
            theirs[f"{stored}down_proj"] = theirs[f"{stored}down_proj"][order]
            for name in ("gate_proj", "up_proj"):
                theirs[stored + name] = theirs[stored + name][:, order]
    # Rows are inputs, and columns are padded.
    padded = {key: torch.nn.functional.pad(w, (0, -w.shape[1] % 32)) for key, w in theirs.items()}
    modules = {key: SimpleNamespace(get_weight_tensor_dq=lambda w=w: w) for key, w in padded.items()}
    monkeypatch.setattr(weights, "open_engine", lambda *a, **k: WithModules(modules))
    assert weights.compare_folder(folder) == {"folder": "s", "layers": len(theirs), "different": {}}
    key = "model.layers.2.mlp.up_proj"
    padded[key].view(torch.int16)[3, 5] ^= 1
    assert weights.compare_folder(folder)["different"] == {key: 1}


def test_what_the_comparison_reads_is_the_librarys():
    assert "modules_dict" in fields(class_of("model.py", "ExLlamaV2"))
    linear = class_of("linear.py", "ExLlamaV2Linear")
    assert "get_weight_tensor_dq" in fields(linear)
    assert "self.linear.weight.data.T" in ast.unparse(linear), "rows are inputs"
    mlp = ast.unparse(class_of("mlp.py", "ExLlamaV2MLP"))
    assert "down_map = self.down_proj.load(device_context=device_context, unmap=True)" in mlp
    assert mlp.count("output_map=down_map") == 2


def test_the_prefill_trap_is_seen_where_it_is_set(fp16, tmp_path, monkeypatch):
    monkeypatch.setattr(exllamav2_loading, "check_gpu", lambda: None)
    monkeypatch.setattr(exllamav2_loading, "load_library", fake_library)
    found = traps.run(Bench(fp16, (fp16,), tmp_path, True))
    # Whether rope_theta is read cannot be seen on a model that has the library's own.
    assert found.state == "NOT MEASURED", found.said
    assert "2 of 2 cases as expected" in found.said
    assert "rope_theta missing: NOT MEASURED" in found.said
    assert [r["seen"] for r in found.rows] == [False, True, None]
    monkeypatch.setattr(exllamav2_loading, "load_library", lambda: fake_library(flash=True))
    assert traps.run(Bench(fp16, (fp16,), tmp_path, True)).state == "FAIL", (
        "the trap was not there to be seen"
    )


def test_every_case_of_the_traps_as_expected_is_a_pass_and_one_other_is_none(fp16, tmp_path, monkeypatch):
    rows = [{"trap": "rope_theta missing", "seen": True, "expected": True}]
    monkeypatch.setattr(traps, "prefill", lambda bench: [])
    monkeypatch.setattr(traps, "positions", lambda bench: rows)
    assert traps.run(Bench(fp16, (fp16,), tmp_path, True)).state == "PASS"
    rows.append({"trap": "logits", "seen": False, "expected": True})
    found = traps.run(Bench(fp16, (fp16,), tmp_path, True))
    assert (found.state, found.said) == ("FAIL", "1 of 2 cases as expected. Not: logits.")


def test_models_that_cannot_be_fetched_are_told_of_with_the_way_around(monkeypatch, tmp_path, capsys):
    on_gpu(monkeypatch, lambda name: pytest.fail("no part may run"))

    def offline(*given):
        raise PrerequisiteError("The demo model could not be fetched: no route.", "Check the network.")

    monkeypatch.setattr(demo, "prepare_demo", offline)
    target = tmp_path / "report.json"
    assert gpu_check.main(["--json", str(target)]) == 2
    said = capsys.readouterr().out
    assert "could not be fetched: no route. Check the network. Or name folders" in said
    assert "--fp16 DIR and --exl2 DIR" in said
    assert "Nothing was checked." in said
    assert not target.exists()


def test_headers_that_a_compiler_only_toolkit_lacks_are_taken_from_torchs_packages(tmp_path, monkeypatch):
    toolkit, packages = tmp_path / "cuda", tmp_path / "site" / "nvidia"
    for folder in (toolkit / "include", packages / "cu13" / "include", packages / "nccl" / "include"):
        folder.mkdir(parents=True)
    (packages / "cu13" / "include" / headers.NEEDED).touch()
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    spec = SimpleNamespace(submodule_search_locations=[str(packages)])
    monkeypatch.setattr(headers, "find_spec", lambda name: spec)
    assert headers.library_headers() == (str(packages / "cu13" / "include"),)
    (toolkit / "include" / headers.NEEDED).touch()
    assert headers.library_headers() == ()
    (toolkit / "include" / headers.NEEDED).unlink()
    monkeypatch.setattr(headers, "find_spec", lambda name: None)
    assert headers.library_headers() == ()


def test_parts_that_need_a_gpu_are_refused_without_one(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as refused:
        gpu_check.main(["weights", "latency", "--on-cpu"])
    assert refused.value.code == 2
    assert "latency need a GPU" in capsys.readouterr().err
