"""llama.cpp beside the engine: what its program is asked, and what is read of it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from benchmarks.bench_generation import Arm, llama_arm, time_arms
from benchmarks.llama_peer import LlamaBench
from wfgy_triage.errors import PrerequisiteError

ROWS = [(1, 2, 3), (1, 2, 3, 4, 5)]


def program(folder: Path, says: str) -> Path:
    """A program that writes down what it was asked and prints `says`."""
    path = folder / "llama-batched-bench"
    path.write_text(
        f"#!/bin/sh\necho \"$@\" > '{folder}/asked'\ncat <<'END'\n{says}\nEND\n", encoding="utf-8"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_it_is_asked_for_as_many_rows_of_the_mean_length_and_its_own_clock_counts(tmp_path: Path) -> None:
    """Two rows of 3 and 5 tokens are two of 4; loading, which the wall would have in it, is left out."""
    says = "loading\n" + json.dumps({"t_pp": 1.0, "t_tg": 0.5, "t": 1.5})
    peer = LlamaBench(program(tmp_path, says), tmp_path / "Model.F16.gguf", new_tokens=40)
    timed, other = time_arms([llama_arm(peer), Arm("nothing", lambda rows: [])], ROWS, repeats=1)
    asked = (tmp_path / "asked").read_text("utf-8").split()
    for option, value in {"-npp": "4", "-ntg": "40", "-npl": "2", "-c": "88"}.items():
        assert asked[asked.index(option) + 1] == value
    assert "-pps" not in asked
    assert timed["arm"] == "llama.cpp, F16, batch"
    assert timed["median_s"] == 1.5
    assert timed["tokens_per_s"] == pytest.approx(2 * 40 / 1.5, abs=0.05)
    assert other["median_s"] < 1


def test_a_shared_prompt_is_said(tmp_path: Path) -> None:
    """It is less work, so it stands under a name of its own."""
    peer = LlamaBench(program(tmp_path, '{"t": 2.0}'), tmp_path / "m.F16.gguf", new_tokens=40, shared=True)
    assert peer.seconds(ROWS) == 2.0
    assert "-pps" in (tmp_path / "asked").read_text("utf-8").split()
    assert peer.name.endswith("one prompt for all")


def test_a_program_that_says_nothing_is_an_error(tmp_path: Path) -> None:
    """Not a rate of zero."""
    with pytest.raises(PrerequisiteError, match="gave no result"):
        LlamaBench(program(tmp_path, "usage: ..."), tmp_path / "m.gguf", 40).seconds(ROWS)
    with pytest.raises(PrerequisiteError, match="gave no result"):
        LlamaBench(tmp_path / "not-there", tmp_path / "m.gguf", 40).seconds(ROWS)
