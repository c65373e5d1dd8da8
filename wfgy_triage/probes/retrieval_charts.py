"""Chart data of the retrieval probe: plain numbers that the chart builders draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wfgy_triage.measure.retrieval import found_at
from wfgy_triage.measure.statistics import mean_interval, wilson
from wfgy_triage.probes.retrieval_plan import DEPTH
from wfgy_triage.probes.retrieval_samples import Payload, Stored

ARM_LABELS = {
    "fp16": "FP16 index, FP16 queries",
    "mixed": "FP16 index, EXL2 queries",
    "rebuilt": "EXL2 index, EXL2 queries",
    "independent": "Independent embedder",
    "given": "Your index as it is",
    "given_fp16": "Your index, FP16 queries",
    "given_normalised": "Your index, normalised",
}
KS = (1, 2, 3, 5, 10, DEPTH)


def chart_data(stored: Stored, level: float) -> dict[str, Any]:
    """Recall and ΔS against k for every arm, and the change of rank of each question."""
    deployed = next(iter(stored.sides.exl2.values()))["arm"]
    arms = [a for a in ARM_LABELS if a in stored.arms]
    return {
        "recall_by_k": [_recall(a, stored.arms[a].values(), deployed, level) for a in arms],
        "ds_by_k": [_distance(a, list(stored.arms[a].values()), deployed, level) for a in arms],
        "rank_changes": _changes(stored),
        "index": dict(stored.facts),
    }


def _head(arm: str, deployed: str) -> dict[str, Any]:
    return {"arm": arm, "label": ARM_LABELS[arm], "deployed": arm == deployed}


def _recall(arm: str, payloads: Any, deployed: str, level: float) -> dict[str, Any]:
    ranks = [p["rank"] for p in payloads]
    hits = [sum(found_at(r, k) for r in ranks) for k in KS]
    return _head(arm, deployed) | {
        "n": len(ranks),
        "k": list(KS),
        "recall": [h / len(ranks) for h in hits],
        "interval": [list(wilson(h, len(ranks), level).bounds) for h in hits],
    }


def _distance(arm: str, payloads: Sequence[Payload], deployed: str, level: float) -> dict[str, Any]:
    steps = sorted(payloads[0]["ds"], key=int)
    values = [[p["ds"][k] for p in payloads] for k in steps]
    return _head(arm, deployed) | {
        "n": len(payloads),
        "k": [int(k) for k in steps],
        "ds": [float(np.mean(v)) for v in values],
        "interval": [list(mean_interval(v, level).bounds) if len(v) > 1 else None for v in values],
    }


def _changes(stored: Stored) -> list[Mapping[str, Any]]:
    """Rank of the right passage on both sides, the largest change first."""
    rows = [
        {
            "question": stored.sides.fp16[q]["question"],
            "fp16": stored.sides.fp16[q]["rank"],
            "exl2": stored.sides.exl2[q]["rank"],
        }
        for q in stored.sides.both
    ]
    return sorted(rows, key=lambda r: (-abs(r["exl2"] - r["fp16"]), r["question"]))
