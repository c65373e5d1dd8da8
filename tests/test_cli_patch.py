"""The command `patch` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wfgy_triage.cli import app
from wfgy_triage.errors import InputError


def call(*arguments: str) -> None:
    app(["patch", *arguments], standalone_mode=False)


def test_every_kind_of_file_is_shown_with_an_explanation(capsys: pytest.CaptureFixture[str]):
    call("model.cache_mode=Q8", "model.no_sdpa=true")
    said = capsys.readouterr().out
    assert "model.cache_mode: The KV cache is stored as Q8." in said
    for part in (
        "tabbyapi: config.yml",
        "  cache_mode: Q8",
        "config.no_sdpa = True",
        "export EXLLAMA_NO_SDPA=1",
    ):
        assert part in said


def test_one_kind_of_file_is_printed_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "config.json").write_text('{"rope_theta": 1, "z": 2}')
    call("config.rope_theta=100000", "--target", "config_json", "--exl2", str(tmp_path))
    assert json.loads(capsys.readouterr().out) == {"rope_theta": 100000, "z": 2}


@pytest.mark.parametrize(
    ("name", "change", "before", "after"),
    [
        ("config.yml", "model.cache_mode=Q8", "model:\n  cache_mode: FP16\n", "+  cache_mode: Q8\n"),
        ("mine.yaml", "sampler.top_k=1", "top_k:\n  override: 0\n  force: true\n", "+  override: 1\n"),
        ("config.json", "config.rope_theta=10", '{"rope_theta": 1}\n', '+{"rope_theta": 10}\n'),
        ("generation_config.json", "generation_config.eos_token_id=[1, 2]", '{"eos_token_id": 1}\n', "+{"),
        ("dev-requirements.txt", "pins.torch===2.9.0", "torch\n", "+torch==2.9.0\n"),
    ],
)
def test_a_diff_of_a_file_whose_kind_its_name_tells(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, change: str, before: str, after: str
):
    (tmp_path / name).write_text(before)
    call(change, "--against", str(tmp_path / name))
    said = capsys.readouterr().out
    assert said.startswith(f"--- a/{name}\n+++ b/{name}\n")
    assert after in said
    assert (tmp_path / name).read_text() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model.cache_mode"], "is not KEY=VALUE"),
        (["model.cache=Q8"], "cannot have the key 'model.cache'"),
        (["sampler.top_k=many"], "sampler.top_k"),
        (["model.cache_mode=Q8", "--target", "excel"], "no target with the id 'excel'"),
        (["model.cache_mode=Q8", "--target", "shell"], "The target shell cannot express"),
        (["quantize.head_bits=8"], "No kind of file can express"),
        (["model.cache_mode=Q8", "--against", "Makefile"], "not clear what kind of file Makefile is"),
    ],
)
def test_mistakes_are_sentences(arguments: list[str], said: str):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert said in caught.value.message
    assert caught.value.hint
