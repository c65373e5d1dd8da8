"""How often a sound index is accused because the right passage comes later: FP16 against itself, thousands of times.

Every question of the built-in corpus has several wordings. FP16's own index is searched with all of them once; then
runs are drawn: some of the judged questions, and for each another wording on either side. The two sides could be
exchanged, so whatever is called later beyond chance is a false accusation. The last rows have EXL2 on the other side:
a sound pair, whose places may really differ a little. Beside the test in use stands the sign test of the same places.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bank_workshop import Workshop
from wfgy_triage.diagnosis_retrieval import RankEvidence
from wfgy_triage.evidence import CERTAIN
from wfgy_triage.measure.places import Moved, moved
from wfgy_triage.measure.retrieval import gold_rank, rank_order
from wfgy_triage.measure.statistics import PairedCounts, clopper_pearson, mcnemar_exact
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.retrieval_evaluation import rank_arm
from wfgy_triage.probes.retrieval_plan import make_plan
from wfgy_triage.probes.retrieval_vectors import Space
from wfgy_triage.settings import load_settings
from wfgy_triage.workload.corpus import load_corpus

PAIR = "demo-6bpw"
SIZES = (20, 40, 60)
Places = NDArray[np.int64]
"""Place of the right passage, (questions, wordings)."""


@dataclass(frozen=True)
class Sides:
    """Where the right passages stand with FP16's index, asked by each side in every wording."""

    fp16: Places
    exl2: Places


def run(fast: bool = False, seeds: int | None = None) -> dict[str, Any]:
    """Search once, draw the runs, count; see the module.

    Args:
        fast: few runs: a check, not a result.
        seeds: runs that are drawn for each row; 1,000 without it.
    """
    count = seeds or (50 if fast else 1_000)
    found = _search()
    kinds = (
        ("FP16 itself, other words", found.fp16, True),
        (f"{PAIR}, same words", found.exl2, False),
        (f"{PAIR}, other words", found.exl2, True),
    )
    print("| EXL2 side | questions | runs | called later | by the sign test |\n|---|---|---|---|---|")
    rows = []
    for name, exl2, words in kinds:
        for size in SIZES:
            row = {"exl2": name, **count_runs(found.fp16, exl2, words, min(size, len(found.fp16)), count)}
            print(
                f"| {name} | {row['questions']} | {count} | {_shown(row['later'])} | {_shown(row['sign'])} |"
            )
            rows.append(row)
    return {"pair": PAIR, "threshold": CERTAIN, "rows": rows}


def count_runs(fp16: Places, exl2: Places, words: bool, size: int, runs: int) -> dict[str, Any]:
    """Draw runs and count accusations of either test.

    Args:
        fp16: places on the reference side, (questions, wordings).
        exl2: likewise, on the other side.
        words: whether each side asks in its own words; else both draw the same wording.
        size: questions a run.
        runs: how many.
    """
    rng, later, sign = np.random.default_rng(size), 0, 0
    for _ in range(runs):
        asked = rng.choice(len(fp16), size, replace=False)
        pairs = [rng.choice(fp16.shape[1], 2, replace=False) for _ in asked]
        ours = [int(fp16[q, a]) for q, (a, _) in zip(asked, pairs, strict=True)]
        theirs = [int(exl2[q, b if words else a]) for q, (a, b) in zip(asked, pairs, strict=True)]
        moves = moved(ours, theirs)
        p_sign = mcnemar_exact(PairedCounts(0, moves.later, moves.earlier, 0))
        later += _accused(moves)
        sign += _accused(Moved(moves.later, moves.earlier, p_sign))
    return {"questions": size, "runs": runs, "later": _share(later, runs), "sign": _share(sign, runs)}


def _accused(moves: Moved) -> bool:
    """What the diagnosis asks of places, without a noise floor (which could only acquit)."""
    return RankEvidence(rank_arm(moves), None, None, None).real


def _share(count: int, runs: int) -> dict[str, Any]:
    return {"count": count, "share": count / runs, "interval": list(clopper_pearson(count, runs).bounds)}


def _shown(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['share']:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def _search() -> Sides:
    settings = load_settings()
    plan = make_plan(ProbeSettings(10_000))
    worded = {q.id: q.paraphrases for q in load_corpus().questions}
    wordings = min(len(worded[q.id]) for q in plan.judged)
    texts = plan.chunks.texts
    asked = [w for q in plan.judged for w in worded[q.id][:wordings]]
    base = settings.home / "cache" / "fault-bank"
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as scratch:
        shop = Workshop(settings, Path(scratch))
        rows = [shop.rows(shop.pair(PAIR), (*texts, *asked), quantized=q) for q in (False, True)]
    index = Space.of(rows[0][: len(texts)])
    gold = [q.gold for q in plan.judged for _ in range(wordings)]
    ours, theirs = (_places(index, side[len(texts) :], gold) for side in rows)
    return Sides(ours.reshape(-1, wordings), theirs.reshape(-1, wordings))


def _places(index: Space, queries: NDArray[np.float32], gold: Sequence[frozenset[int]]) -> Places:
    scores = index.arm(queries).scores
    found = [gold_rank(rank_order(row), right) for row, right in zip(scores, gold, strict=True)]
    return np.array(found, np.int64)
