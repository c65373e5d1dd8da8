"""Position settings in the two folders: what exllamav2 reads of them, and how it applies it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.faults import edit_json
from tests.doctor.conftest import by_check
from tests.engines.conftest import FAMILIES, build_model, save_tokenizer
from wfgy_triage.doctor.finding import Finding, Outcome
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.pairs import Pair
from wfgy_triage.remedies.overlay import with_values


def rope_of(fp16_config: dict, exl2_config: dict, copy_with) -> Finding:
    def breaks(fp16: Path, exl2: Path) -> None:
        for folder, values in ((fp16, fp16_config), (exl2, exl2_config)):
            for key in ("rope_theta", "rope_scaling", "rope_parameters"):
                edit_json(folder / "config.json", lambda d, key=key: d.pop(key, None))
            edit_json(folder / "config.json", lambda d, values=values: d.update(values))

    return by_check(copy_with(breaks))["same_rope"]


NESTED = {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e4}
LINEAR = {"rope_type": "linear", "factor": 2.0}


@pytest.mark.parametrize(
    ("fp16", "exl2", "values"),
    [
        # Another value in rope_parameters, which transformers reads before the right one at the top.
        (
            {"rope_theta": 5e4},
            {"rope_theta": 5e4, "rope_parameters": {"rope_theta": 1e4}},
            {"rope_parameters": None},
        ),
        # FP16 states nothing, so the default is meant.
        ({}, {"rope_theta": 5e5}, {"rope_theta": None}),
        # The same settings in the other form, and in one place only.
        ({"rope_parameters": NESTED}, {"rope_scaling": LINEAR}, {"rope_theta": 5e4}),
        ({"rope_parameters": NESTED}, {"rope_theta": 5e4}, {"rope_scaling": LINEAR}),
        ({"rope_theta": 5e4}, {"rope_theta": 5e4, "rope_scaling": LINEAR}, {"rope_scaling": None}),
        (
            {"rope_theta": 5e4, "rope_scaling": LINEAR},
            {"rope_theta": 5e4, "rope_parameters": {**NESTED, "factor": 4.0}},
            {"rope_scaling": LINEAR, "rope_parameters": None},
        ),
    ],
)
def test_the_patch_for_positions_says_all_that_has_to_change(fp16: dict, exl2: dict, values: dict, copy_with):
    found = rope_of(fp16, exl2, copy_with)
    assert found.state is Outcome.FAIL
    assert found.patch is not None
    assert found.patch.values == values
    mended = with_values(exl2, values)
    assert rope_of(fp16, mended, copy_with).state is Outcome.PASS


LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}  # fmt: skip
LONG = {"rope_type": "longrope", "long_factor": [2.0] * 8, "short_factor": [1.0] * 8}


@pytest.mark.parametrize(
    ("nested", "values", "said"),
    [
        ({"rope_theta": 5e4, **LLAMA3}, {"rope_scaling": LLAMA3}, "factor 8.0"),
        (
            {"rope_theta": 5e4, **LONG, "original_max_position_embeddings": 128},
            {
                "rope_scaling": {**LONG, "original_max_position_embeddings": 128},
                "original_max_position_embeddings": 128,
            },
            "where there is none",
        ),
        (
            {"rope_theta": 5e4, "rope_type": "default", "partial_rotary_factor": 0.5},
            {"partial_rotary_factor": 0.5},
            "FP16 0.5; ExLlamaV2 reads the top level of the EXL2 config.json and takes 1",
        ),
    ],
    ids=["llama3", "longrope", "rotated share"],
)
def test_settings_that_only_transformers_finds_are_a_difference(nested, values, said, copy_with):
    """transformers 5 saves everything in rope_parameters; the library looks at the top level."""
    exl2 = {"rope_theta": 5e4, "rope_parameters": nested}
    found = rope_of({"rope_parameters": nested}, exl2, copy_with)
    assert (found.state, found.cause) == (Outcome.FAIL, "rope_mismatch")
    assert said in found.seen
    assert found.patch is not None
    assert found.patch.values == values
    assert rope_of({"rope_parameters": nested}, with_values(exl2, values), copy_with).state is Outcome.PASS


def test_the_list_says_that_a_nested_scaling_is_not_read(copy_with):
    def breaks(fp16: Path, exl2: Path) -> None:
        for folder in (fp16, exl2):
            edit_json(folder / "config.json", lambda d: d["rope_parameters"].update(LLAMA3))

    found = by_check(copy_with(breaks))
    assert [f for f in found if found[f].state is Outcome.FAIL] == ["same_rope"]
    assert found["rope_supported"].state is Outcome.WARN
    assert "rope_parameters" in found["rope_supported"].means


def test_a_scaling_that_the_library_does_not_know_is_told_once(copy_with):
    def breaks(fp16: Path, exl2: Path) -> None:
        for folder in (fp16, exl2):
            edit_json(
                folder / "config.json", lambda d: d["rope_parameters"].update(rope_type="dynamic", factor=2.0)
            )

    found = by_check(copy_with(breaks))
    assert (found["same_rope"].state, found["rope_supported"].state) == (Outcome.PASS, Outcome.WARN)


def test_a_folder_quantized_here_has_its_scaling_where_the_library_reads_it(tmp_path: Path):
    build_model(**FAMILIES["llama3-rope"]).half().save_pretrained(tmp_path / "fp16")
    save_tokenizer(tmp_path / "fp16")
    config = json.loads((tmp_path / "fp16" / "config.json").read_text())
    assert "rope_scaling" not in config
    quantize_folder(tmp_path / "fp16", tmp_path / "exl2", bpw=6.0, method="rtn")
    made = json.loads((tmp_path / "exl2" / "config.json").read_text())
    assert made["rope_scaling"]["rope_type"] == "llama3"
    assert made["rope_scaling"]["factor"] == config["rope_parameters"]["factor"]
    found = by_check(Pair("p", "P", tmp_path / "fp16", tmp_path / "exl2"))
    assert (found["same_rope"].state, found["rope_supported"].state) == (Outcome.PASS, Outcome.PASS)


@pytest.mark.parametrize(
    ("scaling", "state"),
    [
        ({"type": "linear", "rope_type": "linear", "factor": 2.0}, Outcome.FAIL),
        ({"type": "dynamic", "factor": 2.0}, Outcome.WARN),
        ({"rope_type": "llama3", "factor": 2.0}, Outcome.PASS),
    ],
)
def test_what_the_library_makes_of_scaling(scaling: dict, state: Outcome, copy_with):
    def breaks(fp16: Path, exl2: Path) -> None:
        for folder in (fp16, exl2):
            edit_json(folder / "config.json", lambda d: d.update(rope_scaling=scaling))

    found = by_check(copy_with(breaks))
    assert found["rope_supported"].state is state
    assert found["same_rope"].state is Outcome.PASS


@pytest.mark.parametrize(
    ("longest", "said"),
    [
        (128, "leaves yarn scaling out"),
        (512, "instead of the original 128"),
    ],
)
def test_yarn_is_applied_otherwise_by_the_library(longest: int, said: str, copy_with):
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}

    def breaks(fp16: Path, exl2: Path) -> None:
        for folder in (fp16, exl2):
            changes = {"rope_scaling": yarn, "max_position_embeddings": longest}
            edit_json(folder / "config.json", lambda d, changes=changes: d.update(changes))

    found = by_check(copy_with(breaks))
    assert found["same_rope"].state is Outcome.PASS
    assert found["rope_supported"].state is Outcome.WARN
    assert said in found["rope_supported"].seen
    assert "baseline: exllamav2" in found["rope_supported"].do


@pytest.mark.parametrize(("longest", "state"), [(512, Outcome.WARN), (128, Outcome.PASS)])
def test_longrope_is_applied_otherwise_by_the_library(longest: int, state: Outcome, copy_with):
    """Its factors go by the context that it is opened for; a model trained no further has one set of them."""

    def breaks(fp16: Path, exl2: Path) -> None:
        changes = {"rope_scaling": LONG, "original_max_position_embeddings": 128}
        for folder in (fp16, exl2):
            edit_json(folder / "config.json", lambda d: d.update(changes, max_position_embeddings=longest))

    found = by_check(copy_with(breaks))
    assert (found["same_rope"].state, found["rope_supported"].state) == (Outcome.PASS, state)
    if state is Outcome.WARN:
        # sqrt(1 + ln 4 / ln 128)
        assert (
            "long factors of longrope for every text, and the attention factor 1.134"
            in found["rope_supported"].seen
        )
        assert "baseline: exllamav2" in found["rope_supported"].do


OLD = {"rope_local_base_freq": 1e4, "rope_theta": 1e6, "rope_scaling": LINEAR}
NEW = {
    "rope_parameters": {
        "full_attention": {**LINEAR, "rope_theta": 1e6},
        "sliding_attention": {"rope_theta": 1e4},
    }
}


@pytest.mark.parametrize("settings", [OLD, NEW, {"text_config": OLD}, {"text_config": NEW}])
def test_settings_by_type_of_layer_are_not_compared_and_that_is_said(settings: dict, copy_with):
    """As Gemma 3 has them, in the files of transformers 4 and 5, of its text model alone and of the whole."""

    def breaks(fp16: Path, exl2: Path) -> None:
        for folder in (fp16, exl2):
            edit_json(folder / "config.json", lambda d: d.update(settings))

    found = by_check(copy_with(breaks))
    for check in ("same_rope", "rope_supported"):
        assert found[check].state is Outcome.SKIPPED
        assert "NOT MEASURED" in found[check].seen
