"""The changed copy of a folder: links and own files, never a trace in the user's folder, nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.headers import check_folder_safe
from wfgy_triage.pairs import Pair
from wfgy_triage.remedies.overlay import changed_files, overlay, with_values


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    fp16, exl2 = tmp_path / "fp16", tmp_path / "exl2"
    for folder, theta in ((fp16, 5e4), (exl2, 1e4)):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"rope_theta": theta, "keep": 1}))
        (folder / "tokenizer.json").write_text(folder.name)
    (exl2 / "output.safetensors").write_bytes(b"weights")
    return Pair("p", "P", fp16, exl2)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "home" / "overlays"


def state_of(folder: Path) -> dict[str, tuple[bytes, int, int, int]]:
    found = {}
    for path in folder.iterdir():
        about = path.stat()
        found[path.name] = (path.read_bytes(), about.st_mtime_ns, about.st_ctime_ns, about.st_nlink)
    return found


def test_everything_is_there_and_only_the_changed_is_its_own(pair: Pair, shelf: Path):
    before = state_of(pair.exl2)
    with overlay(pair.exl2, {"config.json": b"{}", "new.json": b"[]"}, shelf) as folder:
        check_folder_safe(folder)
        own = {p.name for p in folder.iterdir() if not p.is_symlink()}
        assert own == {"config.json", "new.json"}
        assert (folder / "config.json").read_bytes() == b"{}"
        assert (folder / "output.safetensors").read_bytes() == b"weights"
        assert {p.name for p in folder.iterdir()} == {*before, "new.json"}
    assert list(shelf.iterdir()) == []
    assert state_of(pair.exl2) == before


def test_it_goes_after_an_error_too(pair: Pair, shelf: Path):
    with pytest.raises(ZeroDivisionError), overlay(pair.exl2, {}, shelf):
        raise ZeroDivisionError
    assert list(shelf.iterdir()) == []


def test_a_relative_path_and_a_hub_snapshot_work(pair: Pair, shelf: Path, monkeypatch: pytest.MonkeyPatch):
    blobs, snapshot = pair.exl2.parent / "blobs", pair.exl2.parent / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for path in list(pair.exl2.iterdir()):
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    monkeypatch.chdir(snapshot.parent)
    with overlay(Path("abc"), {"config.json": b"{}"}, shelf) as folder:
        check_folder_safe(folder)
        assert (folder / "output.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (lambda f: (f / "notes.json").symlink_to("/etc/hostname"), "leads out of"),
        (lambda f: (f / "model.py").write_text("x"), "program code"),
        (lambda f: (f / "old.bin").write_bytes(b"x"), "pickle"),
    ],
)
def test_what_is_refused_in_a_folder_is_refused_in_its_copy(plant, words: str, pair: Pair, shelf: Path):
    plant(pair.exl2)
    with pytest.raises(PrerequisiteError, match=words), overlay(pair.exl2, {}, shelf):
        raise AssertionError("never opened")
    assert list(shelf.iterdir()) == []


def test_the_permission_for_links_is_that_of_one_folder_and_one_block(
    pair: Pair, shelf: Path, tmp_path: Path
):
    copy = tmp_path / "copy"
    copy.mkdir()
    with overlay(pair.exl2, {}, shelf) as folder:
        for link in folder.iterdir():
            (copy / link.name).symlink_to(link.readlink())
        with pytest.raises(PrerequisiteError, match="leads out of"):
            check_folder_safe(copy)
        (folder / "more.json").symlink_to(pair.fp16 / "config.json")
        with pytest.raises(PrerequisiteError, match=r"more\.json"):
            check_folder_safe(folder)
    copy.rename(folder)
    with pytest.raises(PrerequisiteError, match="leads out of"):
        check_folder_safe(folder)


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "Permission denied")]
)
def test_a_disk_that_takes_no_file_says_so(
    number: int, words: str, pair: Pair, shelf: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    for where, name in ((Path, "write_bytes"), (tempfile, "mkdtemp"), (Path, "symlink_to")):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, refuse)
            with pytest.raises(PrerequisiteError, match=words), overlay(pair.exl2, {"a": b"b"}, shelf):
                raise AssertionError("never opened")
        assert list(shelf.iterdir()) == []


def test_what_a_killed_process_left_goes_after_a_day(pair: Pair, shelf: Path):
    for name, age in (("overlay-old", 2 * 86_400), ("overlay-young", 60)):
        (shelf / name).mkdir(parents=True)
        (shelf / name / "config.json").symlink_to(pair.exl2 / "config.json")
        os.utime(shelf / name, (time.time() - age,) * 2)
    with overlay(pair.exl2, {}, shelf):
        pass
    assert [p.name for p in shelf.iterdir()] == ["overlay-young"]
    assert (pair.exl2 / "config.json").is_file()


def test_a_patch_becomes_files(pair: Pair):
    patch = {
        "files.copy": ["tokenizer.json"],
        "config.rope_theta": 5e4,
        "generation_config.eos_token_id": [1, 2],
        "sampler.temperature": 0.2,
    }
    found = changed_files(pair, patch)
    assert found.pop("tokenizer.json") == b"fp16"
    assert {k: json.loads(v) for k, v in found.items()} == {
        "config.json": {"rope_theta": 5e4, "keep": 1},
        "generation_config.json": {"eos_token_id": [1, 2]},
    }


def test_values_are_set_in_the_copied_file_where_both_are_asked_for(pair: Pair):
    (pair.fp16 / "config.json").write_text('{"mine": 1}')
    found = changed_files(pair, {"files.copy": ["config.json"], "config.a.b": 2})
    assert json.loads(found["config.json"]) == {"mine": 1, "a": {"b": 2}}


def test_files_that_cannot_be_read_are_named(pair: Pair):
    with pytest.raises(PrerequisiteError, match=r"merges\.txt of the FP16 folder"):
        changed_files(pair, {"files.copy": ["merges.txt"]})
    (pair.exl2 / "config.json").write_text("{")
    with pytest.raises(PrerequisiteError, match=r"config\.json"):
        changed_files(pair, {"config.a": 1})


def test_values_are_set_removed_and_replaced_whole():
    data = {"a": {"x": 1, "y": 2}, "b": 3, "c": [1]}
    values = {"a.x": 9, "b": None, "c": {"new": True}, "d.e.f": 0, "gone.too": None}
    assert with_values(data, values) == {
        "a": {"x": 9, "y": 2}, "c": {"new": True}, "d": {"e": {"f": 0}}
    }  # fmt: skip
    assert data == {"a": {"x": 1, "y": 2}, "b": 3, "c": [1]}


names = st.text("abc", min_size=1, max_size=2)
plain = st.none() | st.integers() | st.lists(st.integers(), max_size=2)


@given(
    data=st.recursive(st.dictionaries(names, plain), lambda inner: st.dictionaries(names, inner | plain)),
    path=st.lists(names, min_size=1, max_size=3),
    value=plain,
)
def test_a_value_that_is_set_is_found_and_its_neighbours_stay(data: dict, path: list[str], value: object):
    changed = with_values(data, {".".join(path): value})
    node: object = changed
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    assert node == value
    assert {k: v for k, v in changed.items() if k != path[0]} == {
        k: v for k, v in data.items() if k != path[0]
    }
