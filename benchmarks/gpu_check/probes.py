"""Part `probes`: every symptom is measured with the library on the EXL2 side, in a process of its own.

The demo pair is healthy: its folders fit together, and what it may lose is what few bits lose. So a probe passes when
every rule that decides was measured, on the library, and nothing but the weights is accused. Whether 4 bits per weight
and the speed of this GPU meet the gates is a result, not a fault. That no cause was found is none either, as long as so
few questions cannot tell the difference from chance; a difference beyond chance has to be explained.
"""

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
from wfgy_triage.diagnosis import FAULT

QUESTIONS, FAST_QUESTIONS = 12, 8
"""A verdict takes `verdict.MIN_QUESTIONS` that can be judged; a few answers may be cut off or too short to be timed."""
HEALTHY = frozenset(
    {
        "weights_too_few_bits",
        "head_bits_too_few",
        "index_model_mismatch",
        "baseline_also_fails",
        "schema_unconstrained",
        "prompt_contract_missing",
        "within_noise",
        "nothing_found",
        "unknown",
    }
)
"""Causes that may be named of the demo: that it has few bits (which moves hidden states too), or nothing."""
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
    bad = [f"{r['symptom']} ({r['words'] or r['state']})" for r in rows if not r["passed"]]
    said = f"{len(rows) - len(bad)} of {len(rows)} probes ended as they should with exllamav2."
    return passed_if(not bad, f"{said} The others: {'; '.join(bad)}." if bad else said, rows)


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
        return {"symptom": symptom, "passed": False, "state": "no result", "words": words}
    return judged(symptom, json.loads(target.read_text(encoding="utf-8")))


def judged(symptom: str, result: dict[str, Any]) -> dict[str, Any]:
    """What a probe's result says, and whether a healthy pair should end so; `words` say why not."""
    engine, cause = result["pair"]["exl2"].get("engine"), result["diagnosis"]["cause"]
    rules = {m["id"]: m["state"] for m in result["metrics"] if m["primary"]}
    missing = [name for name, state in rules.items() if state == "NOT MEASURED"]
    words = ""
    if engine != "exllamav2":
        words = f"the EXL2 side ran in {engine}"
    elif result["state"] == "NOT MEASURED" or missing:
        words = f"not measured: {', '.join(missing) or result['headline']}"
    elif cause == "unknown" and _beyond_chance(result):
        words = f"a difference beyond chance is left unexplained: {result['headline']}"
    elif cause not in HEALTHY or rules.get("failed_checks") == "FAIL":
        words = f"a healthy pair is accused of {cause}: {result['headline']}"
    return {
        "symptom": symptom,
        "passed": not words,
        "words": words,
        "state": result["state"],
        "rules": rules,
        "cause": cause,
        "engine": engine,
        "headline": result["headline"],
    }


def _beyond_chance(result: dict[str, Any]) -> bool:
    """Whether the difference is more than chance, with a noise floor or without; see `diagnosis`."""
    rungs = {check["check"]: check["result"] for check in result["diagnosis"]["evidence"]}
    return rungs.get("above_noise") != FAULT
