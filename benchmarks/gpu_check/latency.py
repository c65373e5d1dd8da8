"""Part `latency`: time to the first token and time for each further one, the arms in turn, warmed up, medians.

Beside each median stands its 95 % interval by order statistics, which takes six repeats. Times are those of this
program's own calls, log-probabilities included, so they compare the arms with one another; they are not the most that
the library can do. No verdict hangs on them.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.gpu_check.part import REAL, REFERENCE, SAME, Bench, Outcome
from benchmarks.gpu_check.synthetic import SHAPES, make_pair, room_for
from wfgy_triage.engines.base import Completion, Engine, GenerationRequest
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.exl2.checkpoint import Checkpoint

PROMPTS, BATCHES = (128, 1024), (1, 8)
NEW_TOKENS, FAST_NEW_TOKENS = 64, 16
REPEATS, FAST_REPEATS = 7, 2
LEAST_STEPS = 8
"""A call whose longest answer has fewer tokens says little about the time of one."""
LEVEL = 0.95
RANDOM_WEIGHTS = "random weights, speed only"


def run(bench: Bench) -> Outcome:
    """Time the demo model and, where there is room, the synthetic ones."""
    rows = [{"model": "demo", **r} for r in time_pair(bench.fp16, bench.exl2[0], bench.fast)]
    with Checkpoint.open(bench.fp16) as source:
        vocabulary = int(source.config["vocab_size"])
    left_out = []
    for shape in SHAPES[:1] if bench.fast else SHAPES:
        if why := room_for(shape, vocabulary, bench.work):
            left_out.append(f"{shape.name}: {why}")
            continue
        fp16, exl2 = make_pair(shape, bench.fp16, bench.work / shape.name.replace(" ", "-"), "cuda")
        label = f"{shape.name} ({RANDOM_WEIGHTS})"
        rows += [{"model": label, **r} for r in time_pair(fp16, exl2, bench.fast)]
    said = f"{len(rows)} rows timed."
    said += f" Left out: {'; '.join(left_out)}." if left_out else ""
    return Outcome("PASS", said, tuple(rows))


def time_pair(fp16: Path, exl2: Path, fast: bool) -> list[dict[str, Any]]:
    """The three arms on one pair of folders, all loaded, measured in turn."""
    with ExitStack() as stack:

        def opened(engine: Engine) -> Engine:
            stack.callback(engine.close)
            return engine

        arms = {
            "EXL2, exllamav2": opened(open_engine(exl2, side="exl2", settings=REAL)),
            "FP16, exllamav2": opened(open_engine(fp16, side="fp16", settings=SAME)),
            "FP16, transformers bf16": opened(
                open_engine(fp16, side="fp16", mode="fast", settings=REFERENCE)
            ),
        }
        new, repeats = (FAST_NEW_TOKENS, FAST_REPEATS) if fast else (NEW_TOKENS, REPEATS)
        return time_arms(arms, new, repeats)


@dataclass(frozen=True)
class Times:
    """What a repeat took, in seconds: to the first token and for each further step; answers that ended early."""

    first: float
    further: float
    early: int


def time_arms(
    arms: Mapping[str, Engine], new: int, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> list[dict[str, Any]]:
    """Medians over the repeats for every arm, prompt length and batch size; the first round warms up."""
    rows = []
    for prompt in PROMPTS:
        for batch in BATCHES:
            found: dict[str, list[Times]] = {name: [] for name in arms}
            for repeat in range(repeats + 1):
                for name, engine in arms.items():
                    times = time_once(engine, prompt, batch, new, repeat, clock)
                    if repeat and times is not None:
                        found[name].append(times)
            for name, counted in found.items():
                rows.append({"arm": name, "prompt": prompt, "batch": batch, **medians(counted)})
    return rows


def medians(counted: Sequence[Times]) -> dict[str, Any]:
    """Medians with their intervals, in milliseconds; None where nothing, or too little, was timed."""
    first, further = [1e3 * t.first for t in counted], [1e3 * t.further for t in counted]
    return {
        "ttft_ms": statistics.median(first) if counted else None,
        "ttft_interval": median_interval(first),
        "tpot_ms": statistics.median(further) if counted else None,
        "tpot_interval": median_interval(further),
        "repeats": len(counted),
        "early": sum(t.early for t in counted),
    }


def median_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """The interval of a median by order statistics; None where so few values give none at this level."""
    if not values:
        return None
    found = stats.quantile_test(values, p=0.5).confidence_interval(level)
    low, high = float(found.low), float(found.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def time_once(
    engine: Engine, prompt: int, batch: int, new: int, repeat: int, clock: Callable[[], float]
) -> Times | None:
    """Seconds to the first token of a batch, and seconds for each further step; None where every answer was short.

    The two are timed on prompts of their own, so that no beginning is found in the cache. A batch takes as many steps
    as its longest answer has tokens; one that ends early leaves the others going on.
    """
    begun = clock()
    list(engine.generate(requests(engine, prompt, batch, 1, f"first {prompt} {batch} {repeat}")))
    first = clock() - begun
    begun = clock()
    answers = list(engine.generate(requests(engine, prompt, batch, new, f"whole {prompt} {batch} {repeat}")))
    whole = clock() - begun
    taken = [steps(a) for a in answers]
    if not taken or max(taken) < min(LEAST_STEPS, new):
        return None
    early = sum(a.finish_reason != "length" for a in answers)
    return Times(first, max(0.0, whole - first) / (max(taken) - 1), early)


def steps(answer: Completion) -> int:
    """Tokens that the model computed for an answer: its own, and the end token where there was one."""
    return len(answer.token_ids) + (answer.finish_reason == "stop")


def requests(engine: Engine, prompt: int, batch: int, new: int, seed: str) -> list[GenerationRequest]:
    """Prompts of random tokens, the same for every arm; no two seeds share a beginning."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    low, high = engine.info.vocab_size // 8, engine.info.vocab_size
    prompts = [tuple(draw.randrange(low, high) for _ in range(prompt)) for _ in range(batch)]
    return [GenerationRequest(f"{seed} {i}", ids, new) for i, ids in enumerate(prompts)]
