"""Write assets/workloads/chains.json: how each kind of chain is written, and the parameters of every chain.

Only parameters are stored; what is right at each step is computed by `workload/chains.py`. Which kinds are `standard`
was found by measuring the FP16 demo model (SmolLM2-135M-Instruct): it follows them to the horizon. `hard` kinds are
for larger models; `baseline_fails` is a kind that the small FP16 model fails itself. Chains are interleaved by kind, so
the first N of a level are balanced. Kinds that need many tokens a step (`LONG_WINDED`) come after the others: the usual
twenty chains take about a minute on two cores.
"""

from __future__ import annotations

import json
import random
from itertools import chain as joined
from itertools import zip_longest
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parent.parent / "assets" / "workloads" / "chains.json"
HORIZON = 48
LONG_WINDED = ("counter", "ledger")
"""Kinds with 8 to 11 tokens a step; the others of the standard level need 2 to 6."""
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SEASONS = "spring summer autumn winter".split()

Params = dict[str, Any]


def kind(title: str, level: str, rule: str, **written: Any) -> dict[str, Any]:
    """How one kind is written; see `workload.chains.ChainKind`."""
    usual = {"head": "", "separator": "\n", "shown": 3, "arrow": False, "numbered": False}
    return {"title": title, "level": level, "rule": rule, **usual, **written}


KINDS = {
    "machine": kind("State machine", "standard", "cycle", step=" {after[0]}", separator=",", shown=16),
    "calendar": kind(
        "Days in a circle", "standard", "cycle", step="{before[0]} -> {after[0]}", shown=15, arrow=True
    ),
    "tens": kind(
        "Counting in tens",
        "standard",
        "shift",
        head="Count in steps of 10:",
        step=" {after[0]}",
        separator=",",
        shown=6,
    ),
    "floors": kind("Elevator", "standard", "shift", step=" floor {after[0]}", separator=",", shown=6),
    "counter": kind("Counter", "standard", "shift", step="{before[0]} -> {after[0]}", shown=6, arrow=True),
    "ledger": kind(
        "Ledger",
        "standard",
        "shift",
        head="Start {start[0]}.\n",
        step="{n}. pay 1 -> {after[0]}",
        arrow=True,
        numbered=True,
    ),
    "transfer": kind(
        "Two boxes, one moved each step",
        "hard",
        "shift",
        step=" {after[0]}+{after[1]}",
        separator=",",
        shown=8,
    ),
    "alternate": kind(
        "Deposits and withdrawals in turn",
        "hard",
        "alternate",
        head="Start {start[0]}. Add {changes[0]}, then take 1, and so on.\n",
        step="{n}. -> {after[0]}",
        shown=6,
        arrow=True,
        numbered=True,
    ),
    "sevens": kind(
        "Counting in sevens",
        "hard",
        "shift",
        head="Count in steps of 7:",
        step=" {after[0]}",
        separator=",",
        shown=6,
    ),
    "clock": kind(
        "Counting round a clock",
        "hard",
        "shift",
        head="Add {change[0]} each time, modulo {modulus}:",
        step=" {after[0]}",
        separator=",",
        shown=6,
    ),
    "weekdays": kind("Days in a list", "hard", "cycle", step=" {after[0]}", separator=",", shown=8),
    "fives": kind(
        "Counting in fives",
        "baseline_fails",
        "shift",
        head="Count in steps of 5:",
        step=" {after[0]}",
        separator=",",
        shown=8,
    ),
}


def main() -> None:
    """Write the file."""
    # Mixed, so that the first N are spread over the range of a kind; a fixed order.
    order = random.Random(20_250_905)  # noqa: S311
    families = {}
    for name, params in PARAMS.items():
        families[name] = [
            {"id": f"{name}-{i:02d}", "kind": name, "params": p} for i, p in enumerate(params, 1)
        ]
        order.shuffle(families[name])
    chains = [
        *interleaved([f for name, f in families.items() if name not in LONG_WINDED]),
        *interleaved([families[name] for name in LONG_WINDED]),
    ]
    data = {"id": "chains-1", "horizon": HORIZON, "kinds": KINDS, "chains": chains}
    OUT.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(chains)} chains of {len(KINDS)} kinds in {OUT.name}")


def interleaved(families: list[list[Params]]) -> list[Params]:
    """The first of each family, the second of each, and so on."""
    return [c for c in joined.from_iterable(zip_longest(*families)) if c is not None]


def shifts(starts: list[list[int]], change: list[int], **more: Any) -> list[Params]:
    """Chains of numbers that move by constants."""
    return [{"start": s, "change": change, **more} for s in starts]


def circles(states: list[str], starts: list[int]) -> list[Params]:
    """Chains that go round the same states from different places."""
    return [{"states": states, "start": s} for s in starts]


MACHINES = (
    list("ABCDE"),
    SEASONS,
    list("ABCDEF"),
    ["red", "green", "blue"],
    MONTHS,
    ["morning", "noon", "evening", "night"],
    list("XYZ"),
    ["first", "second", "third", "fourth"],
)
PARAMS: dict[str, list[Params]] = {
    "machine": [{"states": states, "start": turn} for turn in (0, 2) for states in MACHINES],
    "calendar": circles(DAYS, list(range(7))),
    "tens": shifts([[s] for s in range(10, 240, 10)], [10]),
    "floors": shifts([[s] for s in range(12, 96, 6)], [1]),
    "counter": shifts([[s] for s in range(10, 90, 5)], [1]),
    "ledger": shifts([[s] for s in range(80, 102)], [-1]),
    "transfer": shifts([[s, 0] for s in range(60, 156, 24)], [-1, 1]),
    "alternate": [{"start": [s], "changes": [3, -1]} for s in (10, 25, 40, 65)],
    "sevens": shifts([[s] for s in (0, 4, 30, 100)], [7]),
    "clock": shifts([[s] for s in (1, 4, 8, 11)], [5], modulus=12),
    "weekdays": circles(DAYS, list(range(7))),
    "fives": shifts([[s] for s in (0, 15, 35, 60, 80, 105)], [5]),
}


if __name__ == "__main__":
    main()
