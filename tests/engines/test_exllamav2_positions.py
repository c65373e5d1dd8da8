"""Where exllamav2 looks for position settings, and what a baseline gets that keeps them elsewhere."""

from __future__ import annotations

import ast
import json
import math
import re
import shutil
import types
from dataclasses import replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from tests.engines.conftest import own_model
from tests.engines.fake_exllamav2 import fake_library
from tests.remedies.library_sources import class_of
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.engines.exllamav2_loading import configure
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.positions import LIBRARY_SCALINGS

CUDA = EngineSettings(device="cuda", backend="exllamav2")


def changed_config(source: Path, target: Path, **changes) -> Path:
    shutil.copytree(source, target)
    data = json.loads((target / "config.json").read_text())
    data.update(changes)
    (target / "config.json").write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
    return target


@pytest.mark.parametrize(("side", "base"), [("exl2", 10000.0), ("fp16", 50000.0)])
def test_a_position_base_that_the_library_does_not_find(make_folder, tmp_path, side, base):
    rope = {"rope_type": "default", "rope_theta": 5e4}
    folder = changed_config(make_folder("llama"), tmp_path / "m", rope_parameters=rope, rope_theta=None)
    found = configure(fake_library(), folder, side, CUDA)
    assert found.config.rotary_embedding_base == base
    assert any("50000" in note and "10000" in note for note in found.notes)
    right = changed_config(make_folder("llama"), tmp_path / "r", rope_parameters=rope, rope_theta=5e4)
    assert not any("rope_theta" in note for note in configure(fake_library(), right, side, CUDA).notes)


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
FACTORS = [1.0] * 8


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        (
            LLAMA3,
            {
                "alt_rope_method": "llama3",
                "l3_rope_factor": 8.0,
                "l3_rope_low_freq_factor": 1.0,
                "l3_rope_high_freq_factor": 4.0,
                "l3_rope_original_max_position_embeddings": 128,
            },
        ),
        (
            {"rope_type": "yarn", "rope_theta": 5e4, "factor": 4.0},
            {
                "alt_rope_method": "yarn",
                "yarn_rope_factor": 4.0,
                "yarn_rope_original_max_position_embeddings": 512,
            },
        ),
        (
            {"rope_type": "linear", "rope_theta": 5e4, "factor": 2.0},
            {"alt_rope_method": None, "scale_pos_emb": 2.0},
        ),
        (
            {
                "rope_type": "longrope",
                "rope_theta": 5e4,
                "long_factor": FACTORS,
                "short_factor": FACTORS,
                "original_max_position_embeddings": 128,
            },
            {
                "alt_rope_method": "su",
                "scale_long_factor": FACTORS,
                "scale_short_factor": FACTORS,
                "original_max_seq_len": 128,
            },
        ),
    ],
    ids=["llama3", "yarn", "linear", "longrope"],
)
def test_a_scaling_that_the_library_does_not_find_is_set_for_a_baseline_alone(
    make_folder, tmp_path, rope, expected
):
    changes = {"rope_parameters": rope, "rope_theta": None, "rope_scaling": None}
    folder = changed_config(make_folder("llama"), tmp_path / "m", **changes)
    found = configure(fake_library(), folder, "fp16", CUDA)
    assert {name: getattr(found.config, name) for name in expected} == expected
    assert any(f"position scaling {rope['rope_type']} is taken" in note for note in found.notes)
    as_read = configure(fake_library(), folder, "exl2", CUDA)
    assert (as_read.config.alt_rope_method, as_read.config.scale_pos_emb) == (None, 1.0)
    assert any("position scaling none" in note and rope["rope_type"] in note for note in as_read.notes)


def test_a_scaling_that_the_library_finds_by_itself_is_left_to_it(make_folder, tmp_path):
    scaling = {k: v for k, v in LLAMA3.items() if k != "rope_theta"}
    changes = {"rope_parameters": LLAMA3, "rope_theta": 5e4, "rope_scaling": scaling}
    folder = changed_config(make_folder("llama"), tmp_path / "m", **changes)
    for side in ("fp16", "exl2"):
        found = configure(fake_library(), folder, side, CUDA)
        assert found.config.l3_rope_factor == 8.0
        assert not any("scaling" in note for note in found.notes)


@pytest.mark.parametrize(
    ("place", "rope", "said"),
    [
        ("rope_parameters", {"rope_type": "spiral", "factor": 2.0}, "does not know it"),
        ("rope_scaling", {"rope_type": "spiral", "factor": 2.0}, "does not know it"),
        (
            "rope_parameters",
            {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0},
            "lacks high_freq_factor",
        ),
    ],
)
def test_a_baseline_whose_scaling_cannot_be_computed_is_refused(make_folder, tmp_path, place, rope, said):
    changes = {"rope_parameters": None, "rope_theta": 1e4, place: rope}
    folder = changed_config(make_folder("llama"), tmp_path / "m", **changes)
    with pytest.raises(PrerequisiteError, match=said) as refused:
        configure(fake_library(), folder, "fp16", CUDA)
    assert "`baseline`" in refused.value.hint
    assert refused.value.cause == "rope_mismatch"
    assert any(rope["rope_type"] in note for note in configure(fake_library(), folder, "exl2", CUDA).notes)


def test_scaling_beyond_the_models_own_context_is_no_difference(make_folder, tmp_path):
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    folder = changed_config(make_folder("llama"), tmp_path / "m", rope_parameters=rope, rope_theta=1e4)
    for side in ("fp16", "exl2"):
        assert not any("scaling" in n for n in configure(fake_library(), folder, side, CUDA).notes)


@pytest.mark.parametrize(("side", "share"), [("exl2", 1.0), ("fp16", 0.5)])
def test_a_rotated_share_that_the_library_does_not_find(make_folder, tmp_path, side, share):
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    folder = changed_config(make_folder("llama"), tmp_path / "m", rope_parameters=rope)
    found = configure(fake_library(), folder, side, CUDA)
    assert found.config.partial_rotary_factor == share
    assert any("0.5" in note for note in found.notes)


def test_what_is_set_is_what_the_library_sets_itself():
    """Its `prepare`, read from its source: which field gets which setting of rope_scaling."""
    prepare = next(
        n
        for n in class_of("config.py", "ExLlamaV2Config").body
        if isinstance(n, ast.FunctionDef) and n.name == "prepare"
    )
    text = ast.unparse(prepare)
    for kind, scaling in LIBRARY_SCALINGS.items():
        assert kind == "default" or f"scaling_type == '{kind}'" in text
        assert scaling.method is None or f"self.alt_rope_method = '{scaling.method}'" in text
        for field, key in (*scaling.fields.items(), *scaling.beside.items()):
            read = (f"rs['{key}']", f"rs.get('{key}', 1.0)", f"read_config['{key}']")
            assert any(f"self.{field} = {value}" in text for value in read), (kind, field)
    known = set(re.findall(r"scaling_type == '(\w+)'", text))
    assert known == set(LIBRARY_SCALINGS) - {"default"}
    assert "self.partial_rotary_factor = read(read_config, float, 'partial_rotary_factor', 1.0)" in text


def library_rope(config):
    """What the library's rope.py makes of a configuration: it computes on plain numbers, so it runs as installed."""
    config.scale_alpha_value, config.arch = (
        1.0,
        types.SimpleNamespace(lm=types.SimpleNamespace(rope_freq_half=False)),
    )
    path = Path(find_spec("exllamav2").origin).parent / "rope.py"
    spec = spec_from_file_location("library_rope", path)
    rope = module_from_spec(spec)
    spec.loader.exec_module(rope)
    return rope.get_rope_params("cpu", config, config.rotary_embedding_base)


def test_the_library_turns_positions_as_transformers_does_with_what_is_set(make_folder):
    folder = make_folder("llama3-rope")
    config = configure(fake_library(), folder, "fp16", CUDA).config
    found, scale = library_rope(config)
    wanted = own_model(folder).model.rotary_emb
    assert torch.allclose(found, wanted.inv_freq, rtol=1e-6)
    assert scale == wanted.attention_scaling == 1.0
    config.alt_rope_method = None
    assert not torch.allclose(library_rope(config)[0], wanted.inv_freq, rtol=0.1)


@pytest.mark.parametrize("context", [64, 512])
def test_what_is_said_of_yarn_is_what_the_library_computes(make_folder, tmp_path, context):
    """Within the original context nothing is scaled; beyond it the opened context stands where the original should."""
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    changes = {"rope_parameters": yarn, "rope_theta": None, "rope_scaling": None}
    folder = changed_config(make_folder("llama"), tmp_path / "m", **changes)
    opened = configure(fake_library(), folder, "fp16", replace(CUDA, context=context))
    found, scale = library_rope(opened.config)
    trained = own_model(folder).model.rotary_emb
    assert trained.attention_scaling == pytest.approx(0.1 * math.log(4.0) + 1.0)
    if context == 64:
        plain = own_model(make_folder("llama", rope_parameters={"rope_type": "default", "rope_theta": 1e4}))
        assert torch.allclose(found, plain.model.rotary_emb.inv_freq)
        assert scale == 1.0
        said = "leaves yarn scaling out"
    else:
        longer = {**changes, "rope_parameters": {**yarn, "original_max_position_embeddings": context}}
        other = own_model(changed_config(make_folder("llama"), tmp_path / "o", **longer)).model.rotary_emb
        assert torch.allclose(found, other.inv_freq, rtol=1e-6)
        assert scale == pytest.approx(trained.attention_scaling)
        said = "instead of the original 64"
    assert not torch.allclose(found, trained.inv_freq, rtol=0.01)
    assert any(said in note for note in opened.notes)


@pytest.mark.parametrize(
    "settings", [{"rope_local_base_freq": 1e4}, {"text_config": {"rope_local_base_freq": 1e4}}]
)
def test_positions_by_type_of_layer_are_no_baseline_of_the_library(make_folder, tmp_path, settings):
    folder = changed_config(make_folder("llama"), tmp_path / "m", **settings)
    with pytest.raises(PrerequisiteError, match="sliding layers") as refused:
        configure(fake_library(), folder, "fp16", CUDA)
    assert refused.value.cause == "rope_mismatch"
    assert any("NOT MEASURED" in note for note in configure(fake_library(), folder, "exl2", CUDA).notes)
