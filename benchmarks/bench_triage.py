"""Seconds from the start of a cold process to the first verdict, on each demo pair; no change is tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import Stopwatch, model_folders
from wfgy_triage.demo import SIBLINGS, exl2_folder, fp16_folder
from wfgy_triage.settings import load_settings

QUESTIONS = 20


def run(fast: bool = False, fp16: Path | None = None, exl2: Path | None = None) -> dict[str, Any]:
    """Run the whole triage once a pair, each in a process and a home of its own.

    Args:
        fast: the first pair only.
        fp16: FP16 folder; the demo's by default.
        exl2: EXL2 folder; all demo siblings by default.
    """
    settings = load_settings()
    folders = [exl2] if exl2 else [exl2_folder(settings, s) for s in SIBLINGS]
    model_folders(fp16, folders[0])
    rows = [_triage(fp16 or fp16_folder(settings), folder) for folder in folders[: 1 if fast else None]]
    print(f"\nTriage of {QUESTIONS} questions, cold process to verdict")
    print(f"{'EXL2 side':<28}{'state':<14}{'FP16':>7}{'EXL2':>7}{'seconds':>9}{'foreign':>9}")
    for row in rows:
        print(
            f"{row['exl2']:<28}{row['state']:<14}{row['fp16_rate']:>7.2f}{row['exl2_rate']:>7.2f}"
            f"{row['seconds']:>9.1f}{row['foreign'] if row['foreign'] is not None else '–':>9}"
        )
    return {"questions": QUESTIONS, "rows": rows}


def _triage(fp16: Path, exl2: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        out = Path(home) / "result.json"
        command = [sys.executable, "-m", "wfgy_triage", "probe", "json_breaks", "--fp16", str(fp16)]
        command += ["--exl2", str(exl2), "--questions", str(QUESTIONS), "--no-fix", "--json", str(out)]
        env = {**os.environ, "WFGY_TRIAGE_HOME": home}
        env.pop("DATABASE_URL", None)
        with Stopwatch() as watch:
            subprocess.run(command, env=env, capture_output=True, check=False)
        result = json.loads(out.read_text(encoding="utf-8"))
    primary = next(m for m in result["metrics"] if m["primary"])
    return {
        "exl2": exl2.name,
        "state": result["state"],
        "cause": result["diagnosis"]["cause"],
        "fp16_rate": primary["fp16"],
        "exl2_rate": primary["exl2"],
        "seconds": round(watch.seconds, 1),
        "foreign": watch.foreign,
        "timings": result["timings"],
    }
