"""Rungs 1 to 4 on tiny models: a healthy pair is not accused, each fault is seen and named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.engines.conftest import FAMILIES, build_model, save_tokenizer
from wfgy_triage.diagnosis import CHECK_CAUSES, ONLY_WEIGHTS
from wfgy_triage.engines.base import LogitChunk, ScoreRequest
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.convert import quantize_folder
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.prechecks import run_prechecks
from wfgy_triage.result import Check


def save_fp16(folder: Path, seed: int) -> Path:
    build_model(
        seed=seed, **FAMILIES["llama"], rope_parameters={"rope_type": "default", "rope_theta": 5e4}
    ).half().save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("prechecks")
    fp16 = save_fp16(base / "fp16", seed=0)
    quantize_folder(fp16, base / "exl2", bpw=6.0, method="rtn")
    return fp16, base / "exl2"


@pytest.fixture
def pair(healthy: tuple[Path, Path], tmp_path: Path) -> Pair:
    """A copy that a test may damage."""
    fp16, exl2 = (Path(shutil.copytree(f, tmp_path / f.name)) for f in healthy)
    return Pair("p", "P", fp16, exl2)


def check(pair: Pair) -> dict[str, Check]:
    with ExitStack() as stack:
        fp16 = open_engine(pair.fp16, side="fp16")
        stack.callback(fp16.close)
        exl2 = open_engine(pair.exl2, side="exl2", share_with=fp16)
        stack.callback(exl2.close)
        return {c.check: c for c in run_prechecks(pair, fp16, exl2)}


def faults(pair: Pair) -> list[str]:
    return [name for name, c in check(pair).items() if c.result == "fault"]


def edit(path: Path, change: Callable[[dict], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_healthy_pair_passes_every_check(pair: Pair):
    found = check(pair)
    assert set(found) == {*CHECK_CAUSES, ONLY_WEIGHTS}
    assert {c.result for c in found.values()} == {"ok"}


def test_another_tokenizer_is_seen(pair: Pair):
    def swap(data: dict) -> None:
        vocab = data["model"]["vocab"]
        vocab["a"], vocab["e"] = vocab["e"], vocab["a"]

    edit(pair.exl2 / "tokenizer.json", swap)
    assert faults(pair) == ["same_token_ids"]


def test_another_chat_template_is_seen(pair: Pair):
    (pair.exl2 / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert faults(pair) == ["same_chat_template"]


def test_other_end_tokens_are_seen(pair: Pair):
    edit(pair.exl2 / "generation_config.json", lambda d: d.update(eos_token_id=[257, 256]))
    assert faults(pair) == ["same_special_tokens"]


def test_a_missing_top_level_rope_theta_is_seen(pair: Pair):
    edit(pair.exl2 / "config.json", lambda d: d.pop("rope_theta"))
    found = check(pair)["same_rope"]
    assert found.result == "fault"
    assert "10000" in found.detail


def test_another_rope_scaling_is_seen(pair: Pair):
    scaling = {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e4}
    edit(pair.exl2 / "config.json", lambda d: d.update(rope_parameters=scaling))
    assert faults(pair) == ["same_rope"]


def test_another_base_model_is_seen(pair: Pair, tmp_path: Path):
    other = save_fp16(tmp_path / "other", seed=1)
    shutil.rmtree(pair.exl2)
    quantize_folder(other, pair.exl2, bpw=6.0, method="rtn")
    assert "same_base_model" in faults(pair)


def test_a_damaged_scale_is_refused_and_named(pair: Pair):
    path = pair.exl2 / "output.safetensors"
    tensors = load_file(path)
    key = next(k for k in tensors if k.endswith("q_scale_max"))
    save_file({**tensors, key: torch.full_like(tensors[key], float("inf"))}, path)
    with pytest.raises(PrerequisiteError, match=re.escape(key)):
        check(pair)


class SeesTheFuture:
    """An engine whose every prediction depends on the last token of the sequence."""

    def __init__(self, engine: object) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    def logits(self, requests: list[ScoreRequest], chunk: int = 128) -> Iterator[LogitChunk]:
        for part in self._engine.logits(requests, chunk):
            yield LogitChunk(part.id, part.start, part.logits + requests[0].token_ids[-1])


def test_attention_without_a_causal_mask_is_seen(pair: Pair):
    fp16 = open_engine(pair.fp16, side="fp16")
    exl2 = SeesTheFuture(open_engine(pair.exl2, side="exl2", share_with=fp16))
    found = {c.check: c for c in run_prechecks(pair, fp16, exl2)}["causal_attention"]
    assert found.result == "fault"
    assert "EXL2" in found.detail
    assert "FP16" not in found.detail


def test_different_numerics_are_not_held_fixed(pair: Pair):
    fp16 = open_engine(pair.fp16, side="fp16", mode="fast")
    exl2 = open_engine(pair.exl2, side="exl2")
    found = {c.check: c for c in run_prechecks(pair, fp16, exl2)}
    assert found[ONLY_WEIGHTS].result == "unknown"
