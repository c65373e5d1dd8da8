"""Part `probes`: every symptom is measured with the library on the EXL2 side, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu_check.part import Bench, Outcome, passed_if
from wfgy_triage.catalog import load_catalog

QUESTIONS, FAST_QUESTIONS = 8, 2
SECONDS = 1200
PAIR = "gpu-check"


def run(bench: Bench) -> Outcome:
    """Run each probe through the command line, as a user would."""
    home = bench.work / "home"
    home.mkdir()
    entry = {
        "id": PAIR,
        "fp16": str(bench.fp16),
        "exl2": str(bench.exl2[0]),
        "engine": {"device": "cuda", "backend": "exllamav2"},
    }
    (home / "pairs.yaml").write_text(yaml.safe_dump({"pairs": [entry]}), encoding="utf-8")
    questions = FAST_QUESTIONS if bench.fast else QUESTIONS
    rows = [probe(symptom, home, questions) for symptom in load_catalog().symptoms]
    bad = [str(r["symptom"]) for r in rows if not r["measured"]]
    said = f"{len(rows) - len(bad)} of {len(rows)} probes measured with exllamav2."
    return passed_if(not bad, f"{said} Not measured: {', '.join(bad)}." if bad else said, rows)


def probe(symptom: str, home: Path, questions: int) -> dict[str, Any]:
    """One probe: its verdict, the engine that its EXL2 side ran in, and the last words where there is no result."""
    target = home / f"{symptom}.json"
    command = [sys.executable, "-m", "wfgy_triage", "probe", symptom, "--pair", PAIR, "--no-fix"]
    command += ["--questions", str(questions), "--json", str(target)]
    environment = {**os.environ, "WFGY_TRIAGE_HOME": str(home)}
    environment.pop("WFGY_TRIAGE_PAIRS", None)
    try:
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        words = ended.stderr[-600:]
    except subprocess.TimeoutExpired:
        words = f"It did not end within {SECONDS} s."
    if not target.is_file():
        return {"symptom": symptom, "measured": False, "state": "no result", "words": words}
    return judged(symptom, json.loads(target.read_text(encoding="utf-8")))


def judged(symptom: str, result: dict[str, Any]) -> dict[str, Any]:
    """What a probe's result says; measured means by the library, and with a verdict."""
    engine = result["pair"]["exl2"].get("engine")
    return {
        "symptom": symptom,
        "measured": engine == "exllamav2" and result["state"] != "NOT MEASURED",
        "state": result["state"],
        "engine": engine,
        "headline": result["headline"],
    }
