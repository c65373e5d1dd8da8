"""Measurements of speed, memory and quality: `python -m benchmarks [name ...] [--fast] [--json FILE]`.

Every module `bench_<name>.py` has `run(fast, ...) -> dict`, prints its own table and returns what it measured. Arms
that are compared run interleaved in one call, and a ratio is one of medians. `foreign` says how much of one core other
processes used meanwhile: rows taken under different loads must not be compared.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from wfgy_triage.demo import SIBLINGS, exl2_folder, fp16_folder
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.settings import load_settings

if TYPE_CHECKING:
    from wfgy_triage.engines.base import Engine


def model_folders(fp16: Path | None, exl2: Path | None) -> tuple[Path, Path]:
    """The folders given, else those of the demo pair.

    Raises:
        PrerequisiteError: one of them is not there.
    """
    settings = load_settings()
    folders = fp16 or fp16_folder(settings), exl2 or exl2_folder(settings, SIBLINGS[0])
    for folder in folders:
        if not (folder / "config.json").is_file():
            raise PrerequisiteError(
                f"There is no model in {folder}.", "Run 'python -m wfgy_triage demo' or name the folders."
            )
    return folders


def opened_pair(fp16: Path | None, exl2: Path | None) -> tuple[Engine, Engine]:
    """Both sides of `model_folders`, open; what they share is held once."""
    from wfgy_triage.engines.loading import open_engine

    folders = model_folders(fp16, exl2)
    reference = open_engine(folders[0], side="fp16")
    return reference, open_engine(folders[1], side="exl2", share_with=reference)


class Stopwatch:
    """Wall seconds of a `with` block, and the share of one core that other processes used meanwhile.

    `foreign` is None where the system does not tell (no /proc/stat).
    """

    def __enter__(self) -> Stopwatch:
        self._busy, self._own = _busy_seconds(), _own_seconds()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        busy = _busy_seconds()
        self.foreign: float | None = None
        if busy is not None and self._busy is not None:
            others = (busy - self._busy) - (_own_seconds() - self._own)
            self.foreign = round(max(0.0, others / self.seconds), 2)


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _busy_seconds() -> float | None:
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    except OSError:
        return None
    user, nice, system = (int(v) for v in first[1:4])
    irq, softirq = (int(v) for v in first[6:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
