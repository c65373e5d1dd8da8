"""Re-quantized siblings of a 3.3 bpw model: seconds, size, and drift from FP16, one change at a time.

Drift is measured as in the quantizer's benchmark. Every sibling is made in a cache of its own kept statistics: the
first that needs the sensitivities pays for them.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.bench_quantizer import Scorer
from wfgy_triage.exl2.modules import read_folder
from wfgy_triage.exl2.recipe import Recipe, read_recipe
from wfgy_triage.remedies.requantize import Siblings
from wfgy_triage.settings import load_settings


@dataclass(frozen=True)
class Arm:
    """One change: its name, what it changes, and fewer calibration rows where that is the question."""

    name: str
    change: dict[str, Any]
    rows: int | None = None


ARMS = (
    Arm("head 8 bits", {"head_bits": 8}),
    Arm("head 8 bits", {"head_bits": 8}, 4),
    Arm("MLP of blocks 25-29 at 6", {"protect": {"mlp 25-29": 6.0}}),
    Arm("MLP of blocks 25-29 at 6", {"protect": {"mlp 25-29": 6.0}}, 4),
    Arm("MLP of all blocks at 4", {"protect": {"mlp": 4.0}}),
    Arm("MLP of all blocks at 4", {"protect": {"mlp": 4.0}}, 4),
    Arm("all at 4.2", {"bpw": 4.2}),
    Arm("all at 4.2", {"bpw": 4.2}, 4),
    Arm("all at 6", {"bpw": 6.0}),
)


def run(fast: bool = False, fp16: Path | None = None, exl2: Path | None = None) -> dict[str, Any]:
    """Run the benchmark, print its table, return the numbers.

    Args:
        fast: two rows of held-out text instead of eight, and only the first change.
        fp16: the FP16 folder; the demo's without it.
        exl2: the folder to start from; the demo's 3.3 bpw without it.
    """
    from wfgy_triage.demo import SIBLINGS, exl2_folder, fp16_folder

    settings = load_settings()
    fp16 = fp16 or fp16_folder(settings)
    exl2 = exl2 or exl2_folder(settings, next(s for s in SIBLINGS if s.pair_id == "demo-3bpw"))
    scorer = Scorer(fp16, 2 if fast else 8)
    now = read_recipe(read_folder(exl2))
    kld, top1 = scorer.score(exl2)
    print(f"{'change':28} {'rows':>4} {'linears':>7} {'bpw':>6} {'MB':>6} {'KLD':>7} {'top-1':>6} {'s':>6}")
    print(f"{'as it is':28} {'':4} {'':7} {now.bpw:6.2f} {'':6} {kld:7.4f} {top1:6.3f}", flush=True)
    rows = [{"change": "as it is", "bpw": now.bpw, "kld": kld, "top1": top1}]
    with tempfile.TemporaryDirectory() as cache:
        for arm in ARMS[:1] if fast else ARMS:
            rows.append(measure(arm, fp16, exl2, now, scorer, Path(cache)))
    return {"rows": rows}


def measure(arm: Arm, fp16: Path, exl2: Path, now: Recipe, scorer: Scorer, cache: Path) -> dict[str, Any]:
    """Make one sibling and score it."""
    siblings = Siblings(cache, calibration_rows=arm.rows)
    folder = siblings.make(fp16, exl2, replace(now, **arm.change))
    assert folder is not None
    made = siblings.made(folder)
    kld, top1 = scorer.score(folder)
    print(
        f"{arm.name:28} {made.calibration_rows:4} {made.linears:7} {made.decoder_bpw:6.2f} "
        f"{made.size_bytes / 1e6:6.1f} {kld:7.4f} {top1:6.3f} {made.seconds:6.1f}",
        flush=True,
    )
    return {
        "change": arm.name,
        "rows": made.calibration_rows,
        "linears": made.linears,
        "bpw": made.decoder_bpw,
        "bytes": made.size_bytes,
        "kld": kld,
        "top1": top1,
        "seconds": made.seconds,
    }
