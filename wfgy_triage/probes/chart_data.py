"""Chart data that several probes have in common: plain numbers that the chart builders draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wfgy_triage.localized import Damage
from wfgy_triage.measure.statistics import wilson
from wfgy_triage.probes.paired import PerSide, gate_of
from wfgy_triage.result import Metric


def rate_charts(metrics: Sequence[Metric], level: float) -> list[dict[str, Any]]:
    """Rates of both sides with Wilson intervals, noise floor, and the gate where it is on the rate itself."""
    return [_rate_chart(m, level) for m in metrics if m.unit == "share" and m.n]


def _rate_chart(metric: Metric, level: float) -> dict[str, Any]:
    row: dict[str, Any] = {"metric": metric.id, "label": metric.label, "floor": metric.floor}
    for side, value in (("fp16", metric.fp16), ("exl2", metric.exl2)):
        hits = round((value or 0.0) * metric.n)
        row[side] = value
        row[f"{side}_interval"] = list(wilson(hits, metric.n, level).bounds)
    gate = gate_of(metric.id)
    if gate is not None and gate.applies_to == "value":
        row |= {"gate": gate.value, "gate_op": gate.op}
    return row


def class_chart(kinds: PerSide[str], order: Sequence[str]) -> dict[str, Any]:
    """How many answers of each side fall into each class, classes that nobody is in left out."""
    both = kinds.both
    count = {
        side: [sum(found[q] == kind for q in both) for kind in order]
        for side, found in (("fp16", kinds.fp16), ("exl2", kinds.exl2))
    }
    used = [i for i, _ in enumerate(order) if count["fp16"][i] or count["exl2"][i]]
    return {
        "labels": [order[i] for i in used],
        **{side: [values[i] for i in used] for side, values in count.items()},
    }


def damage_chart(damage: Damage | None) -> dict[str, Any]:
    """The chart of damage by part, under its key; empty where the weights were not looked at.

    `kl` and `kl_left` are the drift in whatever `measure` says; they were named when it was the only one.
    """
    if damage is None or not damage.parts:
        return {}
    parts = [
        {
            "label": p.label,
            "kl_left": p.left,
            "share": damage.share(p),
            "restored": p.restored,
            "asked": p.asked,
        }
        for p in damage.parts
    ]
    whole = {"kl": damage.drift, "measure": damage.measure, "questions": damage.questions}
    return {"damage": {**whole, "parts": parts}}
