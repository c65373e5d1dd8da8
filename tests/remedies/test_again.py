"""The same checkpoint made once more: what is read of a damaged folder, and what is made of FP16 alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.doctor.conftest import healthy  # noqa: F401 - a fixture
from tests.exl2.builders import tiny_tensors, write_folder
from tests.remedies.bench import FailedRun, no_findings
from wfgy_triage.engines.calibration import TransformersWalker
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.exl2.modules import read_folder
from wfgy_triage.exl2.recipe import Recipe
from wfgy_triage.pairs import Pair
from wfgy_triage.remedies.again import stated_recipe
from wfgy_triage.remedies.base import FolderRemedy, NotApplicableError, Shop
from wfgy_triage.remedies.kept import weight_bytes
from wfgy_triage.remedies.recipes import whole_bytes
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.requantize import Siblings


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source = write_folder(tmp_path / "fp16", tiny_tensors())
    quantize_folder(source, tmp_path / "exl2", bpw=4.6, head_bits=4, method="rtn", protect={"mlp 1-1": 6.0})
    return source, tmp_path / "exl2"


def break_weights(exl2: Path) -> None:
    """Cut the weights' file short."""
    path = next(exl2.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])


def set_block(exl2: Path, block: object) -> None:
    """Say something else of how the folder was made."""
    path = exl2 / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text("utf-8")), "quantization_config": block}), "utf-8"
    )


def test_a_damaged_folder_is_made_by_what_its_configuration_says(folders: tuple[Path, Path]) -> None:
    whole = stated_recipe(folders[1])
    assert (whole.head_bits, whole.protect, whole.method) == (4, {"mlp 1-1": 6.0}, "gptq")
    break_weights(folders[1])
    assert stated_recipe(folders[1]) == whole


@pytest.mark.parametrize(
    ("block", "recipe"),
    [
        ({"bits": 3.3}, Recipe(3.3, 6)),
        (
            {"bits": 5.0, "rest_bits": 4.2, "head_bits": 8, "protect": {"mlp": 6}},
            Recipe(4.2, 8, {"mlp": 6.0}),
        ),
        ({"bits": 8.4, "head_bits": 16}, Recipe(8.0, 8)),
        ({"bits": 4, "protect": {"mlp": "many"}}, Recipe(4.0, 6)),
    ],
)
def test_what_a_configuration_says_becomes_a_recipe(folders, block, recipe) -> None:
    break_weights(folders[1])
    set_block(folders[1], block)
    assert stated_recipe(folders[1]) == recipe


@pytest.mark.parametrize("block", [None, {}, {"bits": "4"}, {"bits": True}, {"head_bits": 6}, 7])
def test_a_folder_that_does_not_say_is_not_guessed_at(folders, block) -> None:
    break_weights(folders[1])
    set_block(folders[1], block)
    with pytest.raises(NotApplicableError, match="python -m wfgy_triage quantize"):
        stated_recipe(folders[1])


def test_a_configuration_that_cannot_be_read_is_not_guessed_at(folders) -> None:
    (folders[1] / "config.json").write_text("{", "utf-8")
    with pytest.raises(NotApplicableError, match="no longer says"):
        stated_recipe(folders[1])


def test_without_a_sibling_fp16_alone_is_quantized(healthy: Pair, tmp_path: Path) -> None:  # noqa: F811
    recipe, kept = Recipe(4.6, 8, {"mlp 1-1": 6.0}), Siblings(tmp_path / "kept")
    assert kept.seconds(healthy.fp16, None, recipe) > 0
    made = kept.make(healthy.fp16, None, recipe)
    assert made is not None
    assert kept.seconds(healthy.fp16, None, recipe) == 0
    assert kept.make(healthy.fp16, None, recipe) == made
    assert weight_bytes(made) == pytest.approx(
        whole_bytes(read_folder(healthy.fp16), recipe), rel=0.1
    )  # headers and maps
    plain = tmp_path / "plain"
    walker = TransformersWalker(healthy.fp16)
    quantize_folder(healthy.fp16, plain, bpw=4.6, head_bits=8, protect=recipe.protect, walker=walker)
    files = [next(f.glob("*.safetensors")).read_bytes() for f in (made, plain)]
    assert files[0] == files[1]


def test_one_that_another_change_made_in_the_same_way_is_found(healthy: Pair, tmp_path: Path) -> None:  # noqa: F811
    recipe, kept = Recipe(5.0, 6), Siblings(tmp_path / "kept")
    raised = kept.make(healthy.fp16, healthy.exl2, recipe)
    assert kept.seconds(healthy.fp16, None, recipe) == 0
    assert kept.make(healthy.fp16, None, recipe) == raised


def test_the_change_is_the_command_that_makes_it(healthy: Pair, tmp_path: Path) -> None:  # noqa: F811
    shop = Shop(lambda folder: None, no_findings, tmp_path / "made")
    case = replace(FailedRun().case(), pair=healthy, shop=shop)
    remedy = get_remedy("quantize_again")
    assert isinstance(remedy, FolderRemedy)
    (candidate,) = remedy.candidates(case)
    assert candidate.patch == {"quantize.bpw": 6.0, "quantize.head_bits": 6}
    assert candidate.seconds > 0
