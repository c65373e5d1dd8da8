"""`python -m benchmarks.gpu_check`: run the parts, write one JSON report, print a table. Exit code 2: nothing ran."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.gpu_check.headers import library_headers
from benchmarks.gpu_check.part import ON_CPU, Bench
from benchmarks.gpu_check.table import markdown
from benchmarks.library_on_cpu.host import library_on_cpu
from wfgy_triage.errors import PrerequisiteError, TriageError

PARTS: Mapping[str, str] = {
    "extension": "extension",
    "weights": "weights",
    "logits": "agreement",
    "example": "example",
    "probes": "probes",
    "latency": "latency",
    "traps": "traps",
}
"""The parts in their order, and the module of each."""
SECONDS = 3 * 3600
NOTHING_RUN = 2
WITHOUT_GPU = ("weights", "logits", "example", "traps")
"""Parts that `--on-cpu` runs: those about numbers, not about speed or this machine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 0 where every part passed, 1 where one did not, 2 without a GPU or without models."""
    options = _parse(arguments)
    import torch

    if not torch.cuda.is_available() and not options.on_cpu:
        print(f"There is no GPU here that PyTorch {torch.__version__} can use. Nothing was checked.")
        return NOTHING_RUN
    if options.inner:
        return _inner(options)
    default = WITHOUT_GPU if options.on_cpu else PARTS
    chosen = [p for p in options.parts or default if p not in options.skip]
    try:
        if options.on_cpu:
            print(
                "Compiling the library for the CPU, where that was not done before (minutes) ...", flush=True
            )
            _compiled()
        fp16, exl2 = _folders(options)
    except TriageError as error:
        print(f"{error} Nothing was checked.")
        return NOTHING_RUN
    parts: dict[str, Any] = {}
    for name in PARTS:
        if name not in chosen:
            why = "Needs a GPU." if options.on_cpu and name not in WITHOUT_GPU else "Left out on request."
            parts[name] = {"state": "NOT MEASURED", "said": why, "rows": []}
            continue
        print(f"{name} ...", flush=True)
        parts[name] = run_part(name, fp16, exl2, options.work, options.fast, options.on_cpu)
        print(f"  {parts[name]['state']}: {parts[name]['said']}", flush=True)
    report = {"format": "wfgy-triage/gpu-check-1", "machine": machine(), "fast": options.fast}
    report |= {"on_cpu": options.on_cpu, "parts": parts}
    options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\n{markdown(report)}\nThe whole report: {options.json}")
    return 0 if all(parts[name]["state"] == "PASS" for name in chosen) else 1


def run_part(
    name: str, fp16: Path, exl2: Sequence[Path], work: Path | None, fast: bool, on_cpu: bool = False
) -> dict[str, Any]:
    """Run one part in a process of its own; whatever ends that process is a failure of the part alone."""
    folder = Path(tempfile.mkdtemp(prefix=f"gpu-check-{name}-", dir=work))
    target = folder / "outcome.json"
    command = [sys.executable, "-m", "benchmarks.gpu_check", name, "--inner", "--json", str(target)]
    command += ["--fp16", str(fp16), "--work", str(folder), *(["--fast"] if fast else [])]
    for path in exl2:
        command += ["--exl2", str(path)]
    environment = dict(os.environ)
    if on_cpu:
        command.append("--on-cpu")
        environment[ON_CPU] = "1"
    if name == "traps":
        # Nothing may keep the library from the attention that has the trap.
        environment |= {"EXLLAMA_NO_FLASH_ATTN": "1", "EXLLAMA_NO_XFORMERS": "1"}
        environment.pop("EXLLAMA_NO_SDPA", None)
    if headers := library_headers():
        environment["CPATH"] = os.pathsep.join(filter(None, (*headers, environment.get("CPATH"))))
    begun, words = time.monotonic(), ""
    try:
        ended = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        words = f"exit code {ended.returncode}: {(ended.stderr or ended.stdout)[-1500:].strip()}"
        outcome = json.loads(target.read_text(encoding="utf-8"))
    except subprocess.TimeoutExpired:
        outcome = {"state": "FAIL", "said": f"It did not end within {SECONDS} s.", "rows": []}
    except (OSError, ValueError):
        outcome = {"state": "FAIL", "said": f"It ended without a result, {words}", "rows": []}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {**outcome, "seconds": round(time.monotonic() - begun, 1)}


def machine() -> dict[str, Any]:
    """What the report was made on."""
    import torch

    from wfgy_triage.runs.provenance import versions

    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "gpus": [
            {"name": g.name, "memory": g.total_memory, "capability": f"{g.major}.{g.minor}"} for g in gpus
        ],
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "versions": versions(),
    }


def _inner(options: argparse.Namespace) -> int:
    """One part, in this process."""
    (name,) = options.parts
    run = importlib.import_module(f"benchmarks.gpu_check.{PARTS[name]}").run
    with library_on_cpu(_compiled()) if options.on_cpu else nullcontext():
        outcome = run(Bench(options.fp16, tuple(options.exl2), options.work, options.fast))
    options.json.write_text(json.dumps(outcome.to_json()), encoding="utf-8")
    return 0


def _compiled() -> ModuleType:
    """The library's compiled part for the CPU; made once and kept in the home folder."""
    from benchmarks.library_on_cpu.build import build
    from wfgy_triage.settings import load_settings

    folder = load_settings().home / "cache" / "library-on-cpu"
    folder.mkdir(parents=True, exist_ok=True)
    return build(folder, jobs=os.cpu_count() or 1)


def _folders(options: argparse.Namespace) -> tuple[Path, list[Path]]:
    """The folders given, else those of the demo, which are prepared first.

    Raises:
        PrerequisiteError: the demo cannot be prepared here; says what else can be given.
    """
    from wfgy_triage.demo import SIBLINGS, exl2_folder, fp16_folder, prepare_demo
    from wfgy_triage.settings import load_settings

    settings = load_settings()
    if not (options.fp16 and options.exl2):
        print(
            "Preparing the demo models, where that was not done before (a download, then minutes) ...",
            flush=True,
        )
        try:
            prepare_demo(settings, lambda step, share: None, tuple(s.pair_id for s in SIBLINGS))
        except PrerequisiteError as error:
            hint = f"{error.hint} Or name folders that are there, with --fp16 DIR and --exl2 DIR."
            raise PrerequisiteError(error.message, hint.strip()) from error
    return (
        options.fp16 or fp16_folder(settings),
        options.exl2 or [exl2_folder(settings, s) for s in SIBLINGS],
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], metavar="part", help=f"default: {', '.join(PARTS)}"
    )
    parser.add_argument("--skip", action="append", default=[], choices=list(PARTS), help="leave a part out")
    parser.add_argument("--fast", action="store_true", help="small sizes and few repeats")
    parser.add_argument(
        "--on-cpu", action="store_true", help="no GPU: the library's own sources, compiled for the CPU"
    )
    parser.add_argument("--json", type=Path, default=Path("gpu-check.json"), help="where the report goes")
    parser.add_argument("--fp16", type=Path, help="FP16 folder (default: the demo's)")
    parser.add_argument("--exl2", type=Path, action="append", help="EXL2 folder; may be repeated")
    parser.add_argument("--work", type=Path, help="folder for temporary models (default: the system's)")
    parser.add_argument("--inner", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.on_cpu and (gpu_only := sorted({*options.parts} - {*WITHOUT_GPU})):
        parser.error(f"--on-cpu runs {', '.join(WITHOUT_GPU)}; {', '.join(gpu_only)} need a GPU")
    return options


if __name__ == "__main__":
    sys.exit(main())
