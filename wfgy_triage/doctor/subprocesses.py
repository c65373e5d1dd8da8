"""Asks another process what is installed, and lets it try the import that may hang, crash or compile for minutes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from wfgy_triage.doctor.builds import EXTENSION, locks, remove_abandoned, remove_left_by_killed
from wfgy_triage.settings import REPO_ROOT

FACTS_SECONDS = 120.0
IMPORT_SECONDS = 300.0
"""An import that builds nothing takes seconds; the rest is for slow disks. A choice."""
BUILD_SECONDS = 810.0
"""Processor time of a build: 13.5 minutes, measured with nvcc 13.0 for one kind of GPU (docs/gpu.md)."""
BUILD_ALLOWANCE = 3.0
"""How many times that a build may take: a slower processor, code for several kinds of GPU. A choice."""
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
KEPT_TEXT = 6000
"""Characters of a process's output that are kept, from its end."""
_IMPORT = "import sys, exllamav2; open(sys.argv[1], 'w').write('imported')"


@dataclass(frozen=True)
class Outcome:
    """How a process ended.

    Attributes:
        kind: `done`, `failed`, `crashed` (by a signal) or `timeout`.
        text: the end of its output.
        signal: by which it crashed.
        seconds: the limit that it passed.
    """

    kind: str
    text: str
    signal: str = ""
    seconds: float = 0.0


def read_facts(python: str = sys.executable, seconds: float = FACTS_SECONDS) -> Mapping[str, Any] | Outcome:
    """Collect `environment_facts` in a process of its own; its outcome where it gives none."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "facts.json"
        command = [python, "-m", "wfgy_triage.doctor.environment_facts", str(target)]
        outcome = _run(command, folder, seconds)
        try:
            facts: Mapping[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return outcome
        return facts


def try_import(python: str = sys.executable, seconds: float | None = None) -> Outcome:
    """Import exllamav2 in a process of its own. Done means that the import statement ended without an error.

    A lock that nobody holds any more is removed before, so that a build killed at some time does not stop this one.

    Args:
        python: the Python that imports it.
        seconds: time limit, building included; None for one that fits this machine.
    """
    limit = import_limit() if seconds is None else seconds
    remove_abandoned()
    before = set(locks())
    with tempfile.TemporaryDirectory() as folder:
        marker = Path(folder) / "imported"
        outcome = _run([python, "-c", _IMPORT, str(marker)], folder, limit)
        if outcome.kind == "done" and not marker.is_file():
            return Outcome("failed", outcome.text or "The process ended before the import did.")
    if outcome.kind in ("timeout", "crashed"):
        remove_left_by_killed(before)
    if outcome.kind == "timeout":
        waited = [lock for lock in sorted(before) if lock.is_file()]
        if waited:
            # PyTorch waits without a word; these are the words it has for other waits.
            told = f'Waited on lock file "{waited[0]}" for {limit:.0f} seconds.'
            return replace(outcome, text=f"{outcome.text}\n{told}".strip())
    return outcome


def import_limit() -> float:
    """Seconds that an import may take here: more where the extension is not installed, so that it is built first."""
    if find_spec(EXTENSION) is not None:
        return IMPORT_SECONDS
    return IMPORT_SECONDS + BUILD_ALLOWANCE * BUILD_SECONDS / _build_jobs()


def _build_jobs() -> float:
    """Processors that a build can use: those of this process, fewer where MAX_JOBS or the container says so."""
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = [float(able)]
    asked = os.environ.get("MAX_JOBS", "")
    if asked.isdigit() and int(asked) > 0:
        counts.append(float(asked))
    with suppress(OSError, ValueError, ZeroDivisionError):  # no such file, or `max`: no quota
        quota, period = CGROUP_QUOTA.read_text(encoding="utf-8").split()
        counts.append(float(int(quota) / int(period)))
    return min(counts)


def _run(command: list[str], folder: str, seconds: float) -> Outcome:
    # The package is found wherever the process runs; a folder of its own keeps other files off its path.
    paths = [p for p in (os.environ.get("PYTHONPATH"), str(REPO_ROOT)) if p]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    log = Path(folder) / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _kill(process)
            return Outcome("timeout", _end_of(log), seconds=seconds)
        except BaseException:  # Ctrl-C: in a session of its own it would go on, and hold its lock
            _kill(process)
            raise
    if code < 0:
        return Outcome("crashed", _end_of(log), signal.Signals(-code).name)
    return Outcome("done" if code == 0 else "failed", _end_of(log))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that came from it: ninja gives each compiler of a build a process group of its own."""
    children: list[psutil.Process] = []
    with suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    for child in children:
        with suppress(psutil.Error):
            child.kill()
    process.wait()
    psutil.wait_procs(children, timeout=5)


def _end_of(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as handle:
        handle.seek(max(0, size - 4 * KEPT_TEXT))
        text = handle.read().decode("utf-8", errors="replace")
    return text[-KEPT_TEXT:].strip()
