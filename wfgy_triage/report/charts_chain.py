"""Figures of the chain probe: survival curves, divergence against the step, accuracy early, midway and late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wfgy_triage.report.chart_tables import numbers_table
from wfgy_triage.report.charts import (
    EXL2_COLOUR,
    FP16_COLOUR,
    TEXT_COLOUR,
    Figure,
    base_layout,
    error_bars,
    figure_of,
    title_of,
)
from wfgy_triage.report.format import interval, number, percent

BANDS = {FP16_COLOUR: "rgba(100,116,139,0.16)", EXL2_COLOUR: "rgba(13,148,136,0.18)"}
ERROR_NAMES = {"fp16": "FP16 against the truth", "exl2": "EXL2 against the truth"}
APART_NAMES = {"twin": "FP16 against itself", "exl2": "EXL2 against FP16"}
TABLE_STEPS = (1, 5, 10, 20, 30, 40)
"""Steps that the tables of curves name, besides the last."""


def survival_figure(data: Mapping[str, Any]) -> Figure | None:
    """Draw the share of chains without a wrong step, FP16 and EXL2, with bands.

    Args:
        data: `{"horizon", "curves": {"fp16" | "exl2": {"share", "low", "high", ...}}}`; lists over steps 0 to the
            horizon, shares in [0, 1].
    """
    return _curves_figure(data, ERROR_NAMES, "Chains without a wrong step")


def apart_figure(data: Mapping[str, Any]) -> Figure | None:
    """Draw the share of chains that still state what FP16 states, for EXL2 and for the FP16 twin.

    Args:
        data: as for `survival_figure`, with the curves `twin` and `exl2`.
    """
    return _curves_figure(data, APART_NAMES, "Chains that still say the same")


def steps_figure(data: Mapping[str, Any]) -> Figure | None:
    """Draw mean KL(FP16 to EXL2) step by step with its interval, the noise floor, and the mean slope.

    Args:
        data: `{"rows": [{"step", "kl", "interval", "floor", ...}], "slope", "slope_interval"}`, in nats.
    """
    rows = data.get("rows") or ()
    if not rows:
        return None
    steps, values = [r["step"] for r in rows], [r["kl"] for r in rows]
    bounds = [r.get("interval") or (r["kl"], r["kl"]) for r in rows]
    traces = [
        *_band(steps, [b[0] for b in bounds], [b[1] for b in bounds], EXL2_COLOUR, shape="linear"),
        _line("EXL2 against FP16", steps, values, EXL2_COLOUR, "solid", "%{y:.4f} nats"),
    ]
    floor = [(r["step"], r["floor"]) for r in rows if r.get("floor") is not None]
    if floor:
        x, y = map(list, zip(*floor, strict=True))
        traces.append(_line("FP16 against itself", x, y, FP16_COLOUR, "dot", "%{y:.4f} nats"))
    if data.get("slope") is not None:
        middle, mean = sum(steps) / len(steps), sum(values) / len(values)
        ends = [steps[0], steps[-1]]
        line = [mean + data["slope"] * (step - middle) for step in ends]
        traces.append(_line("Mean slope", ends, line, TEXT_COLOUR, "dash", "%{y:.4f} nats"))
    layout = base_layout(height=330)
    layout["xaxis"] |= {"title": title_of("Step"), "showgrid": False, "nticks": 8}
    layout["yaxis"] |= {"title": title_of("Mean KL, nats"), "rangemode": "tozero", "nticks": 6}
    return figure_of(traces, layout)


def parts_figure(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw the share of right steps early, midway and late, both sides with intervals.

    Args:
        rows: `{"first", "last", "fp16", "exl2", "fp16_interval", "exl2_interval", "n"}`, shares in [0, 1].
    """
    shown = [r for r in rows if r.get("fp16") is not None and r.get("exl2") is not None]
    if not shown:
        return None
    labels = [f"{r['first']}\N{EN DASH}{r['last']}" for r in shown]
    traces = []
    for side, name, colour, pattern in (
        ("fp16", "FP16", FP16_COLOUR, "/"),
        ("exl2", "EXL2", EXL2_COLOUR, ""),
    ):
        values = [100 * r[side] for r in shown]
        bounds = [
            [100 * v for v in r[f"{side}_interval"]] if r.get(f"{side}_interval") else None for r in shown
        ]
        marker: dict[str, Any] = {"color": colour}
        if pattern:
            marker["pattern"] = {"shape": pattern, "fgcolor": colour, "bgcolor": "rgba(0,0,0,0)", "size": 6}
        traces.append(
            {
                "type": "bar",
                "name": name,
                "x": labels,
                "y": values,
                "marker": marker,
                "error_y": error_bars(values, bounds, TEXT_COLOUR),
                "hovertemplate": "Steps %{x}: %{y:.1f} %<extra>" + name + "</extra>",
            }
        )
    layout = base_layout(height=310)
    layout |= {"barmode": "group", "bargap": 0.34, "bargroupgap": 0.08}
    layout["xaxis"] |= {"title": title_of("Steps"), "type": "category", "showgrid": False, "tickangle": 0}
    layout["yaxis"] |= {
        "title": title_of("Right steps"),
        "range": [0, 104],
        "ticksuffix": " %",
        "nticks": 6,
    }
    return figure_of(traces, layout)


def survival_table(data: Mapping[str, Any]) -> str:
    """Return the survival curves at some steps, with their bands and medians."""
    return _curves_table(data, ERROR_NAMES)


def apart_table(data: Mapping[str, Any]) -> str:
    """Return the curves of agreement with FP16 at some steps, with their bands and medians."""
    return _curves_table(data, APART_NAMES)


def steps_table(data: Mapping[str, Any]) -> str:
    """Return KL and entropies at every step, and the slope."""
    rows = [
        (
            str(r["step"]),
            number(r["kl"]),
            interval(tuple(r["interval"]) if r.get("interval") else None, "nats"),
            _maybe(r.get("floor")),
            _maybe(r.get("fp16_entropy")),
            _maybe(r.get("exl2_entropy")),
        )
        for r in data.get("rows") or ()
    ]
    if rows and data.get("slope") is not None:
        span = data.get("slope_interval")
        rows.append(
            (
                "Slope per step",
                number(data["slope"]),
                interval(tuple(span) if span else None, "nats"),
                "",
                "",
                "",
            )
        )
    heads = ("Step", "Mean KL, nats", "95 % interval", "FP16 against itself", "FP16 entropy", "EXL2 entropy")
    return numbers_table(heads, rows)


def parts_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the share of right steps in each part."""
    shown = [
        (
            _steps(r),
            *(_share_cell(r.get(side), r.get(f"{side}_interval")) for side in ("fp16", "exl2")),
            str(r["n"]),
        )
        for r in rows
    ]
    return numbers_table(("Steps", "FP16", "EXL2", "Chains"), shown)


def _curves_figure(data: Mapping[str, Any], names: Mapping[str, str], title: str) -> Figure | None:
    curves = data.get("curves") or {}
    traces: list[Figure] = []
    for key, name in names.items():
        curve = curves.get(key)
        if not curve:
            continue
        colour, dash = (EXL2_COLOUR, "solid") if key == "exl2" else (FP16_COLOUR, "dot")
        steps = list(range(len(curve["share"])))
        low, share, high = ([100 * v for v in curve[part]] for part in ("low", "share", "high"))
        traces += _band(steps, low, high, colour, shape="hv")
        line = _line(name, steps, share, colour, dash, "%{y:.0f} % of chains")
        line["line"]["shape"] = "hv"
        traces.append(line)
    if not traces:
        return None
    layout = base_layout(height=330)
    layout["xaxis"] |= {
        "title": title_of("Steps"),
        "range": [0, data["horizon"]],
        "showgrid": False,
        "nticks": 8,
    }
    layout["yaxis"] |= {"title": title_of(title), "range": [0, 103], "ticksuffix": " %", "nticks": 6}
    return figure_of(traces, layout)


def _curves_table(data: Mapping[str, Any], names: Mapping[str, str]) -> str:
    curves = {key: c for key, c in (data.get("curves") or {}).items() if key in names}
    if not curves:
        return ""
    horizon = int(data["horizon"])
    keys = [key for key in names if key in curves]
    rows = [
        (f"After step {step}", *(_at(curves[key], step) for key in keys))
        for step in (*[s for s in TABLE_STEPS if s < horizon], horizon)
    ]
    rows.append(("Half are past it at", *(_median(curves[key], horizon) for key in keys)))
    rows.append(("Chains", *(str(curves[key]["chains"]) for key in keys)))
    return numbers_table(("", *(names[key] for key in keys)), rows)


def _at(curve: Mapping[str, Any], step: int) -> str:
    return _share_cell(curve["share"][step], (curve["low"][step], curve["high"][step]))


def _median(curve: Mapping[str, Any], horizon: int) -> str:
    def word(value: Any) -> str:
        return f"beyond {horizon}" if value is None else str(value)

    low, high = curve["median_interval"]
    return f"{word(curve['median'])} ({word(low)} to {word(high)})"


def _share_cell(value: float | None, bounds: Sequence[float] | None) -> str:
    if value is None:
        return ""
    span = f" ({percent(bounds[0])} to {percent(bounds[1])})" if bounds else ""
    return f"{percent(value)} %{span}"


def _maybe(value: float | None) -> str:
    return "" if value is None else number(value)


def _steps(row: Mapping[str, Any]) -> str:
    return f"Steps {row['first']} to {row['last']}"


def _line(name: str, x: Sequence[float], y: Sequence[float], colour: str, dash: str, hover: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"color": colour, "dash": dash, "width": 2.5},
        "hovertemplate": "Step %{x}<br>" + hover + f"<extra>{name}</extra>",
    }


def _band(
    x: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str, shape: str
) -> list[Figure]:
    """An interval around a curve: two lines without ink, the space between them filled."""
    edge: Figure = {
        "type": "scatter",
        "mode": "lines",
        "x": list(x),
        "line": {"width": 0, "color": colour, "shape": shape},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    return [
        {**edge, "y": list(low)},
        {**edge, "y": list(high), "fill": "tonexty", "fillcolor": BANDS[colour]},
    ]
