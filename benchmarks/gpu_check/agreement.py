"""Part `logits`: the library gives the logits of our reference, as far as two engines ever agree.

How far that is is measured on the FP16 folder, which both engines load: the floor. The EXL2 folder must not differ by
more than `FACTOR` times that. Beside it: the library against itself, run twice (its sums change from run to run).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_check.part import REAL, REFERENCE, SAME, Bench, Outcome, passed_if
from wfgy_triage.engine_settings import EngineSettings, Side
from wfgy_triage.engines.base import Engine, ScoreRequest, TokenScores
from wfgy_triage.engines.causality import future_effect, sees_the_future
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.scoring import score_pair
from wfgy_triage.exl2.walker import evaluation_text

FACTOR = 2.0
"""How many times the floor's mean KL the EXL2 side may reach: weights of other sizes round differently."""
WINDOW, WINDOWS, FAST_WINDOWS = 512, 16, 2


def run(bench: Bench) -> Outcome:
    """Compare reference and library on every folder; the first row is the floor."""
    with ExitStack() as stack:

        def opened(folder: Path, side: Side, settings: EngineSettings) -> Engine:
            engine = open_engine(folder, side=side, settings=settings)
            stack.callback(engine.close)
            return engine

        return compare(bench, opened)


def compare(bench: Bench, opened: Callable[[Path, Side, EngineSettings], Engine]) -> Outcome:
    """The comparison; `opened` gives engines that are closed afterwards."""
    baseline, same = opened(bench.fp16, "fp16", REFERENCE), opened(bench.fp16, "fp16", SAME)
    future = [e.info.engine for e in (baseline, same) if sees_the_future(e, future_effect(e))]
    if future:
        return Outcome("FAIL", f"Attention sees the future on {', '.join(future)}; nothing was compared.")
    asked = windows(baseline, FAST_WINDOWS if bench.fast else WINDOWS)
    floor = row("floor", bench.fp16, baseline, same, asked)
    rows = [floor]
    for folder in bench.exl2:
        reference, real = opened(folder, "exl2", REFERENCE), opened(folder, "exl2", REAL)
        rows.append(row("engines", folder, reference, real, asked))
        rows.append(row("repeat", folder, real, real, asked))
        rows.append(row("weights", folder, baseline, reference, asked))
        reference.close()
        real.close()
    worst = max((r["mean_kl"] for r in rows if r["kind"] == "engines"), default=float("nan"))
    limit = FACTOR * floor["mean_kl"]
    said = f"Mean KL of an EXL2 folder at most {worst:.3g}; allowed {limit:.3g}, {FACTOR:g} times the floor."
    return passed_if(worst <= limit, said, rows)


def windows(engine: Engine, count: int) -> list[ScoreRequest]:
    """Windows of running text that no calibration has seen."""
    ids = engine.encode(evaluation_text())
    parts = [ids[i * WINDOW : (i + 1) * WINDOW] for i in range(count)]
    return [ScoreRequest(str(i), part, 1) for i, part in enumerate(parts) if len(part) == WINDOW]


def row(
    kind: str, folder: Path, reference: Engine, candidate: Engine, asked: Sequence[ScoreRequest]
) -> dict[str, Any]:
    """One comparison in numbers.

    Args:
        kind: `floor` (FP16: transformers against exllamav2), `engines` (the EXL2 folder: reference against exllamav2),
            `repeat` (exllamav2 against itself), `weights` (FP16 against the EXL2 reference: what quantizing does).
        folder: what is compared.
        reference: the engine that KL is taken from.
        candidate: the other.
        asked: the sequences.
    """
    scores = list(score_pair(reference, candidate, asked))
    return {"kind": kind, "folder": folder.name, **summary(scores)}


def summary(scores: Sequence[TokenScores]) -> dict[str, float]:
    """KL in nats (mean, median, 99th percentile) and how often both choose the same token."""
    kl = np.concatenate([s.kl for s in scores])
    same = np.concatenate([s.same_top for s in scores])
    return {
        "positions": int(kl.size),
        "mean_kl": float(kl.mean()),
        "median_kl": float(np.median(kl)),
        "p99_kl": float(np.quantile(kl, 0.99)),
        "same_top": float(same.mean()),
    }
