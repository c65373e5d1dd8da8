"""Chart data of the JSON probe: plain numbers that the chart builders draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wfgy_triage.measure.agreement import AgreementReport
from wfgy_triage.measure.json_validity import JsonKind
from wfgy_triage.measure.statistics import wilson
from wfgy_triage.probes.json_samples import RATES, Sides
from wfgy_triage.result import Metric


def chart_data(
    sides: Sides, metrics: Sequence[Metric], agreement: AgreementReport, level: float
) -> dict[str, Any]:
    """Rates with intervals and gates, failure classes, KL by FP16 confidence and by kind of token."""
    charts: dict[str, Any] = {
        "rates": [
            _rate_chart(m, level) for m in metrics if m.unit == "share" and m.id in RATES and m.gate and m.n
        ],
        "failure_classes": _classes(sides),
    }
    if agreement.summary:
        charts["kld_buckets"] = [
            {
                "lo": b.low,
                "hi": b.high,
                "n": b.tokens,
                "mean": b.kl.value,
                "interval": list(b.kl.interval.bounds) if b.kl.interval else None,
            }
            for b in agreement.summary.buckets
            if b.kl
        ]
    by_id = {m.id: m for m in metrics}
    parts = {k: by_id[f"kld_{m}"].exl2 for k, m in (("structural", "structure"), ("content", "content"))}
    if all(v is not None for v in parts.values()):
        charts["structural_kld"] = parts
    return charts


def _rate_chart(metric: Metric, level: float) -> dict[str, Any]:
    row: dict[str, Any] = {"metric": metric.id, "label": metric.label, "floor": metric.floor}
    for side, value in (("fp16", metric.fp16), ("exl2", metric.exl2)):
        hits = round((value or 0.0) * metric.n)
        row[side] = value
        row[f"{side}_interval"] = list(wilson(hits, metric.n, level).bounds)
    if metric.gate:
        row |= {"gate": metric.gate.value, "gate_op": metric.gate.op}
    return row


def _classes(sides: Sides) -> dict[str, Any]:
    """How many answers of each side fall into each class, classes that nobody is in left out."""
    count = {
        side: [sum(payloads[q]["kind"] == kind for q in sides.both) for kind in JsonKind]
        for side, payloads in (("fp16", sides.fp16), ("exl2", sides.exl2))
    }
    used = [i for i, _ in enumerate(JsonKind) if count["fp16"][i] or count["exl2"][i]]
    labels = [str(kind) for kind in JsonKind]
    return {
        "labels": [labels[i] for i in used],
        **{side: [values[i] for i in used] for side, values in count.items()},
    }
