"""Teacher-forced comparison of a pair: the engines in lockstep against holding all logits of both sides.

Each measurement is a process of its own, so that its peak memory is its own too; loading is left out of the time and
is part of the peak. Two workloads: whole windows of running text, and few-shot prompts of which only the answers
are scored (what a probe does).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks import Stopwatch, model_folders
from benchmarks.bench_generation import prompts
from wfgy_triage.engines.base import ScoreRequest
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.scoring import score_pair
from wfgy_triage.exl2.dequantize import dequantize_folder
from wfgy_triage.exl2.walker import evaluation_text

ARMS = ("all logits of both held", "engines in lockstep")
WORKLOADS = ("windows", "answers")
REPEATS = 5
WINDOW = 512
ANSWER = ' {"item": "desk lamp", "price": 34, "city": "Oslo", "stock": 12, "colours": ["green", "blue"]}'


def requests(workload: str, fp16: Path, count: int) -> list[ScoreRequest]:
    """Sequences to score: `count` windows of text, or as many prompts with an answer."""
    tokenizer = AutoTokenizer.from_pretrained(fp16)
    if workload == "windows":
        ids = tokenizer.encode(evaluation_text(), add_special_tokens=False)
        windows = [ids[i * WINDOW : (i + 1) * WINDOW] for i in range(count)]
        return [ScoreRequest(str(i), tuple(w), 1) for i, w in enumerate(windows)]
    answer = tokenizer.encode(ANSWER, add_special_tokens=False)
    texts = [tokenizer.encode(p, add_special_tokens=False) for p in prompts(count)]
    return [ScoreRequest(str(i), (*t, *answer), len(t)) for i, t in enumerate(texts)]


def full_logits(fp16: Path, plain: Path, asked: list[ScoreRequest]) -> dict[str, float]:
    """The straightforward version: one padded batch through each model, all logits of both, then KL."""
    models = [AutoModelForCausalLM.from_pretrained(f, dtype=torch.float32).eval() for f in (fp16, plain)]
    longest = max(len(r.token_ids) for r in asked)
    ids = torch.tensor([[*r.token_ids, *[0] * (longest - len(r.token_ids))] for r in asked])
    with Stopwatch() as watch, torch.inference_mode():
        ref, cand = (m(ids).logits.log_softmax(-1) for m in models)
        kl = (ref.exp() * (ref - cand)).sum(-1)
        mean = torch.cat([kl[i, r.first - 1 : len(r.token_ids) - 1] for i, r in enumerate(asked)]).mean()
    return {"seconds": watch.seconds, "foreign": watch.foreign or 0.0, "kl": float(mean)}


def lockstep(fp16: Path, exl2: Path, asked: list[ScoreRequest]) -> dict[str, float]:
    """The project's way."""
    reference = open_engine(fp16, side="fp16")
    candidate = open_engine(exl2, side="exl2", share_with=reference)
    with Stopwatch() as watch:
        kl = np.concatenate([s.kl for s in score_pair(reference, candidate, asked)])
    return {"seconds": watch.seconds, "foreign": watch.foreign or 0.0, "kl": float(kl.mean())}


def _child(arm: str, workload: str, count: int, fp16: Path, exl2: Path, plain: Path) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_scoring", arm, workload, str(count)]
    done = subprocess.run(
        [*command, str(fp16), str(exl2), str(plain)], check=True, capture_output=True, text=True
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def run(
    fast: bool = False, fp16: Path | None = None, exl2: Path | None = None, repeats: int = REPEATS
) -> dict[str, Any]:
    """Measure and print; see the module."""
    fp16, exl2 = model_folders(fp16, exl2)
    repeats = 1 if fast else repeats
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "plain"
        dequantize_folder(exl2, plain)
        for workload in WORKLOADS:
            count = {"windows": 2 if fast else 8, "answers": 6 if fast else 20}[workload]
            runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
            for _ in range(repeats):
                for arm in ARMS:
                    runs[arm].append(_child(arm, workload, count, fp16, exl2, plain))
            results[workload] = {arm: _summary(rows) for arm, rows in runs.items()}
            _print_table(workload, count, results[workload], repeats)
    return results


def _summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    return {
        "median_s": round(statistics.median(r["seconds"] for r in rows), 3),
        "peak_mb": round(statistics.median(r["peak_mb"] for r in rows)),
        "kl": statistics.median(r["kl"] for r in rows),
        "foreign": statistics.median(r["foreign"] for r in rows),
        "all_s": [round(r["seconds"], 3) for r in rows],
    }


def _print_table(workload: str, count: int, table: dict[str, dict[str, Any]], repeats: int) -> None:
    what = (
        f"{count} windows of {WINDOW} tokens"
        if workload == "windows"
        else f"answers to {count} few-shot prompts"
    )
    print(f"\n| {what} (medians of {repeats}) | s | faster | peak MB | of its memory | mean KLD | foreign |")
    print("|---|---|---|---|---|---|---|")
    base = table[ARMS[0]]
    for arm, row in table.items():
        print(
            f"| {arm} | {row['median_s']} | {base['median_s'] / row['median_s']:.2f} x | {row['peak_mb']}"
            f" | {row['peak_mb'] / base['peak_mb']:.2f} x | {row['kl']:.5f} | {row['foreign']} |",
            flush=True,
        )


def main() -> None:
    """Entry of a child process: measure one arm and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("arm", choices=ARMS)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("count", type=int)
    for name in ("fp16", "exl2", "plain"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    asked = requests(options.workload, options.fp16, options.count)
    if options.arm == ARMS[0]:
        result = full_logits(options.fp16, options.plain, asked)
    else:
        result = lockstep(options.fp16, options.exl2, asked)
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(json.dumps(result))


if __name__ == "__main__":
    main()
