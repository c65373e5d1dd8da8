"""Part `latency`: time to the first token and time for each further one, the arms in turn, warmed up, medians.

Times are those of this program's own calls, log-probabilities included, so they compare the arms with one another;
they are not the most that the library can do. No verdict hangs on them.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.part import REAL, REFERENCE, SAME, Bench, Outcome
from benchmarks.gpu_check.synthetic import SHAPES, make_pair, room_for
from wfgy_triage.engines.base import Engine, GenerationRequest
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.exl2.checkpoint import Checkpoint

PROMPTS, BATCHES = (128, 1024), (1, 8)
NEW_TOKENS, FAST_NEW_TOKENS = 64, 16
REPEATS, FAST_REPEATS = 7, 2
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


def time_arms(
    arms: Mapping[str, Engine], new: int, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> list[dict[str, Any]]:
    """Medians over the repeats for every arm, prompt length and batch size; the first round warms up."""
    rows = []
    for prompt in PROMPTS:
        for batch in BATCHES:
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
            for repeat in range(repeats + 1):
                for name, engine in arms.items():
                    pair = time_once(engine, prompt, batch, new, repeat, clock)
                    if repeat and pair is not None:
                        found[name].append(pair)
            for name, pairs in found.items():
                rows.append({"arm": name, "prompt": prompt, "batch": batch, **medians(pairs)})
    return rows


def medians(pairs: Sequence[tuple[float, float]]) -> dict[str, float | int | None]:
    """Median first-token time and median time per further token, in milliseconds; None where nothing was timed."""
    first = statistics.median(p[0] for p in pairs) * 1e3 if pairs else None
    further = statistics.median(p[1] for p in pairs) * 1e3 if pairs else None
    return {"ttft_ms": first, "tpot_ms": further, "repeats": len(pairs)}


def time_once(
    engine: Engine, prompt: int, batch: int, new: int, repeat: int, clock: Callable[[], float]
) -> tuple[float, float] | None:
    """Seconds to the first token of a batch, and seconds for each further step; None where answers ended early.

    The two are timed on prompts of their own, so that no beginning is found in the cache.
    """
    begun = clock()
    list(engine.generate(requests(engine, prompt, batch, 1, f"first {repeat}")))
    first = clock() - begun
    begun = clock()
    answers = list(engine.generate(requests(engine, prompt, batch, new, f"whole {repeat}")))
    whole = clock() - begun
    steps = max((len(a.token_ids) for a in answers), default=0)
    if steps < 2 or any(len(a.token_ids) < new for a in answers):
        return None
    return first, max(0.0, whole - first) / (steps - 1)


def requests(engine: Engine, prompt: int, batch: int, new: int, seed: str) -> list[GenerationRequest]:
    """Prompts of random tokens, the same for every arm."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    low, high = engine.info.vocab_size // 8, engine.info.vocab_size
    prompts = [tuple(draw.randrange(low, high) for _ in range(prompt)) for _ in range(batch)]
    return [GenerationRequest(f"{seed} {i}", ids, new) for i, ids in enumerate(prompts)]
