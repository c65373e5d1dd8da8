"""Chart data of the chain probe: survival curves, divergence against the step, accuracy in three parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wfgy_triage.measure.chain import ChainEnd, parts
from wfgy_triage.measure.statistics import Interval, mean_interval
from wfgy_triage.measure.survival import Lifetime, kaplan_meier
from wfgy_triage.measure.trend import StepMean, step_means
from wfgy_triage.probes import chain_samples as read
from wfgy_triage.probes.chart_data import class_chart
from wfgy_triage.probes.paired import Payload, Sides
from wfgy_triage.probes.token_metrics import Divergence, bucket_chart


def chart_data(sides: Sides, tokens: Divergence, level: float, horizon: int) -> dict[str, Any]:
    """Everything the figures of this probe draw; a part without data is empty."""
    both = sides.both
    until_error = {
        "fp16": [read.until_error(sides.fp16[q]) for q in both],
        "exl2": [read.until_error(sides.exl2[q]) for q in both],
    }
    until_apart = {
        "twin": read.until_apart(sides.fp16, sides.floor),
        "exl2": read.until_apart(sides.fp16, sides.exl2),
    }
    return {
        "chain_survival": _curves(until_error, level, horizon),
        "chain_apart": _curves(until_apart, level, horizon),
        "chain_parts": _parts(sides, level, horizon),
        "chain_steps": _steps(sides, level, horizon),
        "failure_classes": class_chart(sides.each(lambda a: str(a["kind"])), [*map(str, ChainEnd)]),
        "kld_buckets": bucket_chart(tokens.exl2),
    }


def _curves(lives: Mapping[str, Sequence[Lifetime]], level: float, horizon: int) -> dict[str, Any]:
    found = {name: kaplan_meier(side, horizon, level) for name, side in lives.items()}
    drawn = {
        name: {
            "share": [round(p.share, 4) for p in curve.points],
            "low": [round(p.low, 4) for p in curve.points],
            "high": [round(p.high, 4) for p in curve.points],
            "chains": curve.chains,
            "events": curve.events,
            "median": curve.median,
            "median_interval": [curve.median_low, curve.median_high],
        }
        for name, curve in found.items()
        if curve is not None
    }
    return {"horizon": horizon, "curves": drawn} if drawn else {}


def _parts(sides: Sides, level: float, horizon: int) -> list[dict[str, Any]]:
    rows = []
    for first, last in parts(horizon):
        found = read.numbers(sides, read.accuracy(first, last))
        row: dict[str, Any] = {"first": first, "last": last, "n": len(found.both)}
        for name, side in (("fp16", found.fp16), ("exl2", found.exl2)):
            values = [side[q] for q in found.both]
            row[name] = sum(values) / len(values) if values else None
            row[f"{name}_interval"] = _within(mean_interval(values, level)) if len(values) > 1 else None
        rows.append(row)
    return rows if any(row["n"] for row in rows) else []


def _within(interval: Interval) -> list[float]:
    """A share's interval, cut to what a share can be."""
    return [max(0.0, interval.low), min(1.0, interval.high)]


def _steps(sides: Sides, level: float, horizon: int) -> dict[str, Any]:
    """Mean KL and entropies step by step, with the mean slope of the chains."""
    kl = _means(sides.pair, "kl", level, horizon)
    if not kl:
        return {}
    twin = {m.step: m.value for m in _means(sides.pair_floor, "kl", level, horizon)}
    entropy = {
        key: {m.step: m.value for m in _means(sides.pair, key, level, horizon)}
        for key in ("ref_entropy", "cand_entropy")
    }
    slopes = list(read.token_slopes(sides.pair, "kl", horizon).values())
    span = mean_interval(slopes, level) if len(slopes) > 1 else None
    return {
        "rows": [
            {
                "step": m.step,
                "kl": m.value,
                "interval": [max(0.0, m.interval.low), m.interval.high] if m.interval else None,
                "floor": twin.get(m.step),
                "fp16_entropy": entropy["ref_entropy"].get(m.step),
                "exl2_entropy": entropy["cand_entropy"].get(m.step),
                "chains": m.chains,
            }
            for m in kl
        ],
        "slope": sum(slopes) / len(slopes) if slopes else None,
        "slope_interval": list(span.bounds) if span else None,
    }


def _means(side: Any, key: str, level: float, horizon: int) -> list[StepMean]:
    payloads: list[Payload] = list(side.values())
    return step_means([read.token_series(p, key, horizon) for p in payloads], level)
