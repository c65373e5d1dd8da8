"""Chart data of the acceptance probe: plain numbers that the chart builders draw."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from wfgy_triage.localized import Damage
from wfgy_triage.measure.tension import Lambda
from wfgy_triage.probes.acceptance_rules import Measured
from wfgy_triage.probes.acceptance_samples import Stored
from wfgy_triage.probes.chart_data import class_chart, damage_chart, rate_charts
from wfgy_triage.probes.paired import gate_of
from wfgy_triage.probes.token_metrics import Divergence, bucket_chart
from wfgy_triage.result import Metric
from wfgy_triage.verdict import page_rule

CLASSES = ("right", "wrong", "truncated")


def literal(metric: Metric) -> bool | None:
    """Whether a rule holds on this very sample, as the page's own rule reads it; None where not measured."""
    gate = gate_of(metric.id)
    if gate is None:
        return None
    loss = gate.applies_to == "loss"
    value = (None if metric.difference is None else -metric.difference) if loss else metric.exl2
    return page_rule(value, gate.gate())


def chart_data(
    stored: Stored,
    measured: Measured,
    rules: Sequence[Metric],
    tokens: Divergence,
    found: Damage | None,
    level: float,
) -> dict[str, Any]:
    """The gate's dashboard, drift by question, λ against k and by label, classes, KL by confidence, damage."""
    return {
        "gate_rules": [rule_row(r) for r in rules],
        "drift_by_question": [
            {"question": q, "drift": drift, "floor": measured.drift_floor.get(q)}
            for q, drift in measured.signed.items()
        ],
        "lambda_by_k": lambda_rows(stored.sweep),
        "lambda_labels": {
            side: {str(x): sum(labels.count(x) for labels in runs.values()) for x in Lambda}
            for side, runs in stored.runs.items()
            if runs
        },
        "rates": rate_charts([r for r in rules if r.id == "accuracy"], level),
        "failure_classes": class_chart(stored.sides.each(lambda a: str(a["kind"])), CLASSES),
        "kld_buckets": bucket_chart(tokens.exl2),
        **damage_chart(found),
    }


def lambda_rows(
    sweep: Mapping[str, Mapping[int, Mapping[str, Lambda]]],
    holds: Collection[Lambda] = frozenset({Lambda.CONVERGENT}),
) -> list[dict[str, Any]]:
    """The share of answers that hold at each k, by side; k that only one side answered are left out."""
    return [
        {"k": k, **{side: _share(sweep[side][k], holds) for side in ("fp16", "exl2")}}
        for k in sweep["fp16"]
        if sweep["fp16"][k] and sweep["exl2"].get(k)
    ]


def _share(labels: Mapping[str, Lambda], holds: Collection[Lambda]) -> float:
    return sum(label in holds for label in labels.values()) / len(labels)


def rule_row(metric: Metric) -> dict[str, Any]:
    """A rule as the dashboard draws it."""
    gate = gate_of(metric.id)
    loss = gate is not None and gate.applies_to == "loss"
    value = (None if metric.difference is None else -metric.difference) if loss else metric.exl2
    return {
        "metric": metric.id,
        "label": metric.label,
        "unit": metric.unit,
        "value": value,
        "of": "loss" if loss else "value",
        "interval": list(metric.gated_interval) if metric.gated_interval else None,
        "floor": metric.floor,
        "gate": gate.value if gate else None,
        "gate_op": gate.op if gate else None,
        "state": str(metric.state) if metric.state else None,
        "literal": literal(metric),
        "note": metric.note,
    }
