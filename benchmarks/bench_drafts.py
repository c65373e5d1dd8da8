"""What guessing from earlier answers saves: the same answers with and without drafts, on one engine.

The chains of the long-chain probe, in the four ways in which a run asks them: FP16 with the right text as draft, EXL2
with FP16's answers, and the first chains that EXL2 writes otherwise, with all FP16 weights, or one part, put back. The
texts must be the same; arms take turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import Stopwatch, opened_pair
from wfgy_triage.engines.base import Engine, GenerationRequest
from wfgy_triage.engines.putback import PutBackEngine, weight_parts
from wfgy_triage.probes.long_chain import chain_item
from wfgy_triage.workload.chains import STANDARD, load_chains

CHAINS, LOST, REPEATS = 20, 4, 3
Drafts = Mapping[str, tuple[tuple[int, ...], ...]]


def run(
    fast: bool = False, fp16: Path | None = None, exl2: Path | None = None, repeats: int = REPEATS
) -> dict[str, Any]:
    """Measure and print; see the module.

    Args:
        fast: four chains, once.
        fp16: the baseline; the demo's without it.
        exl2: the quantized side; the demo's without it.
        repeats: how often each arm is timed.

    Raises:
        PrerequisiteError: no models.
    """
    reference, candidate = opened_pair(fp16, exl2)
    repeats = 1 if fast else repeats
    items = [chain_item(c, reference, 0) for c in load_chains().level(STANDARD)[: 4 if fast else CHAINS]]
    asked = [i.request for i in items]
    said, found = _answers(reference, asked), _answers(candidate, asked)
    gold: Drafts = {i.request_id: (i.expected,) for i in items}
    baseline: Drafts = {i.request_id: (said[i.request_id], i.expected) for i in items}
    lost = [r for r in asked if said[r.id] != found[r.id]][:LOST]
    both: Drafts = {r.id: (said[r.id], found[r.id], *gold[r.id]) for r in lost}
    rows = [
        _timed("FP16, the right text as draft", reference, asked, gold, repeats),
        _timed("EXL2, FP16's answers as drafts", candidate, asked, baseline, repeats),
    ]
    # All parts, and the MLP of the first blocks.
    for part in weight_parts(candidate)[0:4:3] if lost else ():
        engine = PutBackEngine(candidate, reference, part)
        rows.append(_timed(f"EXL2 with `{part.id}` of FP16", engine, lost, both, repeats))
    print(f"\nmedians of {repeats}\n")
    print("| work | chains | without, s | with drafts, s | faster | same text | foreign |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['work']} | {row['chains']} | {row['without_s']:.1f} | {row['with_s']:.1f} "
            f"| {row['without_s'] / row['with_s']:.2f} × | {row['same']} | {row['foreign']} |"
        )
    return {"rows": rows, "repeats": repeats}


def _timed(
    name: str, engine: Engine, requests: Sequence[GenerationRequest], drafts: Drafts, repeats: int
) -> dict[str, Any]:
    arms = {"without": list(requests), "with": [replace(r, drafts=drafts[r.id]) for r in requests]}
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    texts: list[dict[str, tuple[int, ...]]] = []
    foreign: list[float] = []
    for _ in range(repeats):
        for arm, asked in arms.items():
            with Stopwatch() as watch:
                texts.append(_answers(engine, asked))
            seconds[arm].append(watch.seconds)
            foreign.append(watch.foreign or 0.0)
    return {
        "work": name,
        "chains": len(requests),
        "without_s": statistics.median(seconds["without"]),
        "with_s": statistics.median(seconds["with"]),
        "same": all(t == texts[0] for t in texts),
        "foreign": max(foreign),
    }


def _answers(engine: Engine, requests: Sequence[GenerationRequest]) -> dict[str, tuple[int, ...]]:
    return {c.id: c.token_ids for c in engine.generate(requests)}
