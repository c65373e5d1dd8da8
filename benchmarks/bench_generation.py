"""Generation: the engine against transformers' own `generate`, one prompt at a time and in padded batches.

All arms complete the same few-shot extraction prompts, greedily, 40 new tokens each with the end token ignored, so
that every arm does the same work; loading is left out. The one-at-a-time arm is serial, so its rate does not depend on
how many prompts there are: it is timed on a few of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks import Stopwatch, model_folders
from benchmarks.llama_peer import LlamaBench
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.engines.decoding import Decoder
from wfgy_triage.engines.decoding_options import DecodingOptions
from wfgy_triage.engines.fp16 import open_fp16
from wfgy_triage.engines.prepare import compute_dtype
from wfgy_triage.engines.transformers_engine import TransformersEngine

NEW_TOKENS = 40
REPEATS = 5
SERIAL_PROMPTS = 3
EXAMPLES = """Extract one JSON record from each text. Use exactly the keys item, price, city, stock and colours.

Text: The copper kettle from the shop in Porto costs 34 euro, comes in red and black, and 12 are left.
JSON: {"item": "copper kettle", "price": 34, "city": "Porto", "stock": 12, "colours": ["red", "black"]}

Text: In Lagos they sell a folding chair for 51 euro. There are 7 of them, all of them white.
JSON: {"item": "folding chair", "price": 51, "city": "Lagos", "stock": 7, "colours": ["white"]}

Text: """
ASIDES = (
    "The shop has been open since last spring, and the neighbours like to drop in when the market is over.",
    "There was a long report about it in the local paper, which nobody read to the end.",
    "On Sundays the owner closes early and walks down to the old harbour.",
)


@dataclass(frozen=True)
class Arm:
    """One way to complete prompts: takes token ids, gives the new tokens of each.

    Attributes:
        name: in the table.
        complete: does it.
        limit: only so many prompts are timed.
        own_seconds: does it in a program that takes the time itself; nothing is completed here then.
    """

    name: str
    complete: Callable[[Sequence[tuple[int, ...]]], list[tuple[int, ...]]]
    limit: int | None = None
    own_seconds: Callable[[Sequence[tuple[int, ...]]], float] | None = None


def prompts(count: int) -> list[str]:
    """Few-shot prompts that share their examples; records of one to four sentences."""
    draw = np.random.default_rng(11)
    items = ("desk lamp", "wool blanket", "garden spade", "tea tray", "brass clock", "oak stool")
    cities = ("Oslo", "Lima", "Cairo", "Kyoto", "Graz", "Accra")
    colours = ("green", "blue", "grey", "yellow", "brown")
    texts = []
    for _ in range(count):
        record = (
            f"A {draw.choice(items)} in {draw.choice(cities)} costs {draw.integers(5, 99)} euro, is to be had in"
            f" {' and '.join(draw.choice(colours, 2, replace=False))}, and {draw.integers(1, 40)} are left."
        )
        asides = draw.choice(ASIDES, draw.integers(0, 4), replace=False)
        texts.append(f"{EXAMPLES}{' '.join([record, *asides])}\nJSON:")
    return texts


def serial_arm(folder: Path) -> Arm:
    """The `generate` of transformers in fp32, one prompt at a time."""
    model = _own_model(folder, torch.float32)

    def complete(rows: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        return [_generate(model, [row])[0] for row in rows]

    return Arm("generate, one at a time, fp32", complete, SERIAL_PROMPTS)


def batched_arm(folder: Path, dtype: torch.dtype) -> Arm:
    """The `generate` of transformers on one left-padded batch."""
    model = _own_model(folder, dtype)
    name = f"generate, left-padded batch, {'bf16' if dtype == torch.bfloat16 else 'fp32'}"
    return Arm(name, lambda rows: _generate(model, rows))


def engine_arm(engine: TransformersEngine, *, share: bool = True) -> Arm:
    """This project's engine."""
    options = DecodingOptions("benchmark", settle_ties=engine.info.mode == "reproducible", share_prefix=share)
    decoder = Decoder(engine.runner, engine.decode, frozenset(), engine.info.max_context, options)

    def complete(rows: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        engine.forget_prompts()  # of the repeat before
        requests = [GenerationRequest(str(i), row, NEW_TOKENS) for i, row in enumerate(rows)]
        answers = {c.id: c.token_ids for c in decoder.run(requests)}
        return [answers[r.id] for r in requests]

    return Arm(f"engine, {engine.info.mode}, {engine.info.compute_dtype}", complete)


def llama_arm(peer: LlamaBench) -> Arm:
    """llama.cpp's batched benchmark, on its own clock."""
    return Arm(peer.name, lambda rows: [], own_seconds=peer.seconds)


def _own_model(folder: Path, dtype: torch.dtype) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    model.generation_config.eos_token_id = None
    return model


@torch.inference_mode()
def _generate(model: Any, rows: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(r)) + list(r) for r in rows])
    mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows])
    output = model.generate(
        ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0
    )
    return [tuple(row) for row in output[:, longest:].tolist()]


def time_arms(arms: Sequence[Arm], rows: Sequence[tuple[int, ...]], repeats: int) -> list[dict[str, Any]]:
    """Time the arms in turn, `repeats` times; rates are medians, new tokens a second end to end."""
    walls: dict[str, list[float]] = {a.name: [] for a in arms}
    foreign: dict[str, list[float]] = {a.name: [] for a in arms}
    for arm in arms:
        arm.complete(rows[:2])
    for _ in range(repeats):
        for arm in arms:
            part = rows[: arm.limit]
            with Stopwatch() as watch:
                own = arm.own_seconds(part) if arm.own_seconds else None
                if own is None:
                    arm.complete(part)
            walls[arm.name].append(watch.seconds if own is None else own)
            foreign[arm.name].append(watch.foreign or 0.0)
    results = []
    for arm in arms:
        timed = len(rows[: arm.limit])
        seconds = statistics.median(walls[arm.name])
        results.append(
            {
                "arm": arm.name,
                "prompts": len(rows),
                "timed_prompts": timed,
                "median_s": round(seconds, 3),
                "tokens_per_s": round(timed * NEW_TOKENS / seconds, 1),
                "all_s": [round(s, 3) for s in walls[arm.name]],
                "foreign": statistics.median(foreign[arm.name]),
            }
        )
    return results


def identical_answers(engine: TransformersEngine, rows: Sequence[tuple[int, ...]]) -> dict[str, str]:
    """How many answers stay what they were in the whole batch when it is cut, shuffled, or not shared."""
    arm, unshared = engine_arm(engine), engine_arm(engine, share=False)
    whole = arm.complete(rows)
    order = np.random.default_rng(3).permutation(len(rows)).tolist()
    shuffled = dict(zip(order, arm.complete([rows[i] for i in order]), strict=True))
    twenties = [a for i in range(0, len(rows), 20) for a in arm.complete(rows[i : i + 20])]
    alone = [arm.complete([row])[0] for row in rows[:10]]
    variants = {
        "shuffled": [shuffled[i] for i in range(len(rows))],
        "in batches of 20": twenties,
        "one at a time": alone,
        "without prefix sharing": unshared.complete(rows),
    }
    return {
        name: f"{sum(a == b for a, b in zip(got, whole, strict=False))} of {len(got)}"
        for name, got in variants.items()
    }


def run(
    fast: bool = False,
    fp16: Path | None = None,
    repeats: int = REPEATS,
    llama_bench: Path | None = None,
    gguf: Path | None = None,
) -> dict[str, Any]:
    """Measure and print; see the module.

    Args:
        fast: few prompts, once.
        fp16: the model; the demo's FP16 folder without it.
        repeats: how often each arm is timed.
        llama_bench: llama.cpp's `llama-batched-bench`, to be timed beside; needs `gguf`.
        gguf: the same model for it.
    """
    folder = fp16 or model_folders(None, None)[0]
    engines = [open_fp16(folder, mode="reproducible")]
    arms = [serial_arm(folder), batched_arm(folder, torch.float32), engine_arm(engines[0])]
    if compute_dtype("fast", torch.device("cpu")) is torch.bfloat16:
        engines.append(open_fp16(folder, mode="fast"))
        arms += [batched_arm(folder, torch.bfloat16), engine_arm(engines[1])]
    else:
        # Emulated bf16 is many times slower than fp32; nobody would run it.
        print("bf16: NOT MEASURED, this processor does not compute in it")
    if llama_bench and gguf:
        arms += [llama_arm(LlamaBench(llama_bench, gguf, NEW_TOKENS, shared)) for shared in (False, True)]
    else:
        print("llama.cpp: NOT MEASURED, no --llama-bench and --gguf given")
    sizes, repeats = ((12,), 1) if fast else ((40, 60), repeats)
    rows = [engines[0].encode(p) for p in prompts(max(sizes))]
    shared = len(engines[0].encode(EXAMPLES))
    lengths = [len(r) for r in rows]
    print(
        f"prompts of {min(lengths)} to {max(lengths)} tokens, {shared} of them shared; {NEW_TOKENS} new tokens each;"
        f" medians of {repeats}"
    )
    tables = {}
    for size in sizes:
        tables[f"{size} prompts"] = results = time_arms(arms, rows[:size], repeats)
        _print_table(size, results)
    same = {e.info.mode: identical_answers(e, rows) for e in engines}
    for mode, counts in same.items():
        print(f"same answers, {mode}: " + ", ".join(f"{k} {v}" for k, v in counts.items()))
    return {"shared_tokens": shared, "repeats": repeats, "timings": tables, "same_answers": same}


def _print_table(size: int, results: list[dict[str, Any]]) -> None:
    serial, *batches = [r["tokens_per_s"] for r in results if r["arm"].startswith("generate")]
    names = ["one at a time", "batch fp32", "batch bf16"][: 1 + len(batches)]
    print(f"\n| {size} prompts | tokens/s | {' | '.join(f'x {n}' for n in names)} | foreign |")
    print("|---|---|" + "---|" * (len(names) + 1))
    for row in results:
        rate = row["tokens_per_s"]
        note = f" ({row['timed_prompts']} prompts timed)" if row["timed_prompts"] < size else ""
        ratios = " | ".join(f"{rate / peer:.2f}" for peer in (serial, *batches))
        print(f"| {row['arm']}{note} | {rate} | {ratios} | {row['foreign']} |", flush=True)
