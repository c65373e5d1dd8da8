"""A build that is ended leaves nothing running and no lock; a lock that somebody holds stays."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch.utils import cpp_extension

from wfgy_triage.checks import load_versions
from wfgy_triage.doctor import builds, subprocesses
from wfgy_triage.doctor.builds import LOCK, QUIET_SECONDS, build_folders, is_held, locks, remove_abandoned
from wfgy_triage.doctor.environment import judge_import
from wfgy_triage.doctor.finding import Outcome
from wfgy_triage.doctor.subprocesses import import_limit, try_import

VERSIONS = load_versions()
WAITS = """
import os, time
lock = os.path.join(os.environ["TORCH_EXTENSIONS_DIR"], "exllamav2_ext", "lock")
while os.path.exists(lock):
    time.sleep(0.05)
"""
"""What PyTorch does where another build has the lock."""
BUILDS = """
import os, subprocess, sys, time
folder = os.path.join(os.environ["TORCH_EXTENSIONS_DIR"], "exllamav2_ext")
os.makedirs(folder, exist_ok=True)
handle = os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_EXCL)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
open(os.path.join(folder, "compiler"), "w").write(str(child.pid))
print("compiling", flush=True)
time.sleep(60)
"""
"""A build: the lock is held, and a compiler runs in a process group of its own, as ninja starts it."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a build in a cache of its own."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "cache"))
    found = tmp_path / "cache" / "exllamav2_ext"
    found.mkdir(parents=True)
    return found


@pytest.fixture
def held(folder: Path) -> Iterator[Path]:
    """A lock that this process has open, as a build has."""
    handle = os.open(folder / LOCK, os.O_CREAT | os.O_EXCL)
    yield folder / LOCK
    os.close(handle)


def long_ago(folder: Path) -> None:
    before = time.time() - QUIET_SECONDS - 60
    for path in (*folder.iterdir(), folder):
        os.utime(path, (before, before))


def test_a_build_that_is_ended_leaves_no_lock_and_no_compiler(folder: Path, fake_library):
    fake_library(BUILDS)
    outcome = try_import(seconds=5)
    assert (outcome.kind, outcome.seconds, outcome.text) == ("timeout", 5, "compiling")
    assert not (folder / LOCK).exists()
    compiler = int((folder / "compiler").read_text())
    assert not psutil.pid_exists(compiler) or psutil.Process(compiler).status() == psutil.STATUS_ZOMBIE


def test_a_lock_that_another_build_holds_stays_and_is_named(held: Path, fake_library):
    fake_library(WAITS)
    long_ago(held.parent)
    outcome = try_import(seconds=1.5)
    assert outcome.kind == "timeout"
    assert held.exists()
    found = judge_import(outcome, VERSIONS)
    assert (found.state, found.cause) == (Outcome.FAIL, "extension_missing")
    assert str(held) in found.seen
    assert "waits for another build" in found.means


def test_a_lock_that_a_killed_build_left_long_ago_stops_nobody(folder: Path, fake_library):
    fake_library(WAITS)
    (folder / LOCK).touch()
    long_ago(folder)
    assert judge_import(try_import(seconds=20), VERSIONS).state is Outcome.PASS
    assert not (folder / LOCK).exists()


def test_a_lock_beside_fresh_objects_may_be_another_machines(folder: Path):
    (folder / LOCK).touch()
    long_ago(folder)
    (folder / "cache.o").touch()
    remove_abandoned()
    assert locks() == [folder / LOCK]


def test_whether_a_lock_is_held(held: Path, folder: Path):
    assert is_held(held)
    held.unlink()
    assert not is_held(held)
    held.touch()
    assert not is_held(held)


def test_builds_are_looked_for_where_pytorch_puts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = tmp_path / "torch_extensions" / "py311_cu128" / "exllamav2_ext"
    made.mkdir(parents=True)
    assert build_folders() == [made]


@pytest.mark.parametrize("cuda", ["12.8", None])
def test_the_lock_of_another_python_or_cuda_is_nobodys_to_wait_for(
    tmp_path: Path, monkeypatch, cuda: str | None
):
    """Compared with the folder that the installed PyTorch would build in."""
    version = tmp_path / "torch" / "version.py"
    version.parent.mkdir()
    version.write_text(
        f"from typing import Optional\n__version__ = '2'\ncuda: Optional[str] = {cuda!r}\nhip = None\n"
    )
    found = SimpleNamespace(origin=str(version.with_name("__init__.py")))
    monkeypatch.setattr(builds, "find_spec", lambda name: found)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        cpp_extension, "get_default_build_root", lambda: str(tmp_path / "cache" / "torch_extensions")
    )
    own = Path(cpp_extension._get_build_directory("exllamav2_ext", False))
    others = [own.parent.with_name(name) / own.name for name in ("py27_cu80", "py311_cu999")]
    for folder in (own, *others):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
        long_ago(folder)
    assert len(build_folders()) == 3
    assert locks() == [own / LOCK]
    remove_abandoned()
    assert [(f / LOCK).exists() for f in (own, *others)] == [False, True, True]
    version.write_text("nothing of use")
    assert locks() == sorted(f / LOCK for f in others), "what might be its own counts"


@pytest.mark.parametrize(
    ("cores", "jobs", "quota", "seconds"),
    [
        (1, "", "max 100000", 300 + 3 * 810),
        (16, "", "max 100000", 300 + 3 * 810 / 16),
        (16, "2", "max 100000", 300 + 3 * 810 / 2),
        (16, "many", "max 100000", 300 + 3 * 810 / 16),
        (64, "", "200000 100000", 300 + 3 * 810 / 2),
    ],
)
def test_the_limit_fits_a_build_on_this_machine(monkeypatch, tmp_path, cores, jobs, quota, seconds):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(subprocesses, "CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(subprocesses.os, "sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setattr(subprocesses, "find_spec", lambda name: None)
    monkeypatch.setenv("MAX_JOBS", jobs)
    assert import_limit() == pytest.approx(seconds)


def test_where_nothing_is_built_a_hanging_import_is_ended_sooner(monkeypatch):
    monkeypatch.setattr(subprocesses, "find_spec", lambda name: object())
    assert import_limit() == 300
