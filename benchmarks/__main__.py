"""Run benchmarks by name, all of them by default; results as tables and, if asked for, one JSON file."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from wfgy_triage.errors import TriageError

NAMES = sorted(p.stem.removeprefix("bench_") for p in Path(__file__).parent.glob("bench_*.py"))

WHEN_ASKED_FOR = frozenset({"bit_rates", "calibration"})
"""Take hours, so "all" leaves them out."""


def main() -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"which: {', '.join(NAMES)} (default: all but {', '.join(sorted(WHEN_ASKED_FOR))})",
    )
    parser.add_argument(
        "--fast", action="store_true", help="small sizes and few repeats: a check, not a result"
    )
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--fp16", type=Path, help="FP16 folder (default: the demo's)")
    parser.add_argument("--exl2", type=Path, help="EXL2 folder (default: the demo's)")
    parser.add_argument("--repeats", type=int, help="timed repeats of each arm (default: 5)")
    parser.add_argument(
        "--llama-bench", type=Path, help="generation: llama.cpp's llama-batched-bench, as a peer"
    )
    parser.add_argument("--gguf", type=Path, help="generation: the model for it")
    parser.add_argument("--suite", type=Path, help="checkout of the JSON-Schema-Test-Suite, for 'grammar'")
    parser.add_argument(
        "--measured", action="store_true", help="remedies: also the faults that only questions show (slow)"
    )
    parser.add_argument(
        "--fault", action="append", help="remedies, triage_accuracy: this case of the bank (may be repeated)"
    )
    parser.add_argument(
        "--probe", action="append", help="calibration, bit_rates: this probe (may be repeated; default: all)"
    )
    parser.add_argument("--questions", type=int, help="calibration, bit_rates: questions a run (default: 20)")
    parser.add_argument("--seeds", type=int, help="calibration: runs of each probe (default: 40)")
    parser.add_argument("--passes", type=int, help="calibration: times the set is answered (default: 4)")
    parser.add_argument(
        "--pool", type=int, help="calibration: questions of the set that are answered (default: all)"
    )
    parser.add_argument("--temperature", type=float, help="calibration: of the answers (default: 0.7)")
    parser.add_argument("--bpw", type=float, nargs="+", help="bit_rates: bits per weight of the siblings")
    parser.add_argument("--fix", action="store_true", help="bit_rates: try changes after a FAIL")
    parser.add_argument(
        "--fix-seconds", type=int, help="bit_rates, remedies: for how long (default: as the app does)"
    )
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    results: dict[str, Any] = {"machine": machine(), "fast": options.fast}
    for name in options.names or [n for n in NAMES if n not in WHEN_ASKED_FOR]:
        run = importlib.import_module(f"benchmarks.bench_{name}").run
        given = {k: v for k, v in vars(options).items() if v is not None}
        accepted = {k: v for k, v in given.items() if k in inspect.signature(run).parameters}
        print(f"\n## {name}\n", flush=True)
        try:
            results[name] = run(**accepted)
        except TriageError as error:
            print(f"NOT MEASURED: {error}")
            results[name] = {"not_measured": str(error)}
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 1 if any("not_measured" in r for r in results.values() if isinstance(r, dict)) else 0


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    import torch

    return {
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
