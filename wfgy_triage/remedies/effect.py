"""A metric before and after a change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wfgy_triage.catalog import load_catalog
from wfgy_triage.result import Effect, Metric


def effect_of(metric: Metric | None) -> Effect | None:
    """The effect that a paired comparison of after against before found; None where it could not be made."""
    if metric is None or metric.difference is None:
        return None
    rises = load_catalog().metrics[metric.id].direction == "higher"
    better = None
    if metric.interval is not None:
        low, high = metric.interval
        better = True if low > 0 else False if high < 0 else None
        better = better if rises or better is None else not better
    return Effect(
        metric.id,
        metric.label,
        metric.unit,
        metric.fp16,
        metric.exl2,
        metric.difference,
        metric.interval,
        metric.level,
        metric.n,
        better,
    )


def unpaired(before: Metric | None, after: Metric | None) -> Effect | None:
    """Two values, and no interval: for what was not measured on equal terms."""
    if before is None or after is None or before.exl2 is None or after.exl2 is None:
        return None
    difference = after.exl2 - before.exl2
    return Effect(
        after.id,
        after.label,
        after.unit,
        before.exl2,
        after.exl2,
        difference,
        None,
        after.level,
        after.n,
        None,
    )


def counted(effect: Effect) -> Effect:
    """The effect on a count of checks, which no chance is in: any difference is one."""
    if not effect.difference:
        return effect
    rises = load_catalog().metrics[effect.id].direction == "higher"
    return replace(effect, better=(effect.difference > 0) == rises)


def effect_json(effect: Effect | None) -> dict[str, Any] | None:
    """Plain JSON."""
    if effect is None:
        return None
    interval = list(effect.interval) if effect.interval else None
    return {**effect.__dict__, "interval": interval}


def primary_json(metric: Metric | None) -> dict[str, Any] | None:
    """The deciding metric after a change, as plain JSON."""
    return None if metric is None else metric_json(metric)


def metric_json(metric: Metric) -> dict[str, Any]:
    """A metric after a change, as plain JSON."""
    return {
        "id": metric.id,
        "label": metric.label,
        "unit": metric.unit,
        "fp16": metric.fp16,
        "after": metric.exl2,
        "n": metric.n,
        "state": str(metric.state) if metric.state else None,
        "note": metric.note,
        "gated_interval": list(metric.gated_interval) if metric.gated_interval else None,
    }


def rule_json(after: Metric, before: Metric | None, effect: Effect | None) -> dict[str, Any]:
    """A rule with a change in place, beside what it was without it; `effect` where it had failed."""
    state = str(before.state) if before is not None and before.state else None
    return {
        **metric_json(after),
        "before": before.exl2 if before is not None else None,
        "state_before": state,
        "effect": effect_json(effect),
    }
