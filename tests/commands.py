"""Commands as users give them: each in a process of its own, or, where only its words matter, in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from wfgy_triage.cli import main

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = ("DATABASE_URL", "WFGY_TRIAGE_PAIRS")


@dataclass(frozen=True)
class Ended:
    """How a command ended; words are parted by single spaces, wherever the lines were broken."""

    returncode: int | str | None
    stdout: str
    stderr: str


def call(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    env = {**os.environ, "WFGY_TRIAGE_HOME": str(home), "COLUMNS": "200", "TERM": "dumb"}
    for name in ELSEWHERE:
        env.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "wfgy_triage", *arguments],
        capture_output=True,
        text=True,
        env=env,
        cwd=ROOT,
        check=False,
    )


class Here:
    """A command in this process: the whole way from its arguments to its exit code, without a start."""

    def __init__(self, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._captured = captured

    def __call__(self, home: Path, *arguments: str) -> Ended:
        self._patch.setenv("WFGY_TRIAGE_HOME", str(home))
        self._patch.setenv("TQDM_DISABLE", "1")
        self._patch.chdir(ROOT)
        for name in ELSEWHERE:
            self._patch.delenv(name, raising=False)
        self._patch.setattr(sys, "argv", ["wfgy_triage", *arguments])
        self._captured.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._captured.readouterr()
        return Ended(ended.value.code, *(" ".join(text.split()) for text in said))
