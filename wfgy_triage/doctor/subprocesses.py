"""Asks another process what is installed, and lets it try the import that may hang, crash or compile for minutes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wfgy_triage.settings import REPO_ROOT

FACTS_SECONDS = 120.0
IMPORT_SECONDS = 300.0
"""A first import may compile the extension, which takes a minute on 16 cores."""
KEPT_TEXT = 6000
"""Characters of a process's output that are kept, from its end."""
_IMPORT = "import sys, exllamav2; open(sys.argv[1], 'w').write('imported')"


@dataclass(frozen=True)
class Outcome:
    """How a process ended: `done`, `failed`, `crashed` (by a signal) or `timeout`; `text` is the end of its output."""

    kind: str
    text: str
    signal: str = ""


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


def try_import(python: str = sys.executable, seconds: float = IMPORT_SECONDS) -> Outcome:
    """Import exllamav2 in a process of its own. Done means that the import statement ended without an error."""
    with tempfile.TemporaryDirectory() as folder:
        marker = Path(folder) / "imported"
        outcome = _run([python, "-c", _IMPORT, str(marker)], folder, seconds)
        if outcome.kind == "done" and not marker.is_file():
            return Outcome("failed", outcome.text or "The process ended before the import did.")
        return outcome


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
            # With its children: a build leaves compilers running.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Outcome("timeout", _end_of(log))
    if code < 0:
        return Outcome("crashed", _end_of(log), signal.Signals(-code).name)
    return Outcome("done" if code == 0 else "failed", _end_of(log))


def _end_of(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as handle:
        handle.seek(max(0, size - 4 * KEPT_TEXT))
        text = handle.read().decode("utf-8", errors="replace")
    return text[-KEPT_TEXT:].strip()
