"""`Result.charts` as Plotly figures, built as plain dicts: the web process needs no plotly import.

Colours, text and lines are chosen to read on a light and on a dark page; backgrounds are transparent. Sides
differ by marker shape and fill as well as colour. Gates are dashed, noise floors dotted.
Each builder returns None when it has nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Any

from wfgy_triage.report.words import class_words

Figure = dict[str, Any]

FP16_COLOUR = "#64748b"
EXL2_COLOUR = "#0d9488"
GATE_COLOUR = "#dc2626"
TEXT_COLOUR = "#64748b"
GRID_COLOUR = "rgba(128,140,150,0.22)"
FONT = "IBM Plex Sans, ui-sans-serif, system-ui, sans-serif"
ROW_HEIGHT = 74
LABEL_WIDTH = 17
HALF_ROW = 0.38


def rates_figure(rates: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw each rate of both sides with its interval, its gate and its noise floor.

    Args:
        rates: `{"metric", "label", "fp16", "exl2", "fp16_interval", "exl2_interval", "floor", "gate",
            "gate_op"}`; values are shares in [0, 1], intervals `[lo, hi]`. `floor` is by how much a second
            FP16 run differed (a difference of shares). Missing pieces are left out.
    """
    rows = [rate for rate in rates if rate.get("fp16") is not None or rate.get("exl2") is not None]
    if not rows:
        return None
    traces = [
        _rate_trace(rows, "fp16", "FP16", 0.14, {"symbol": "circle-open", "color": FP16_COLOUR, "size": 11}),
        _rate_trace(rows, "exl2", "EXL2", -0.14, {"symbol": "diamond", "color": EXL2_COLOUR, "size": 12}),
    ]
    traces = [*_floor_bands(rows), *traces, *_gate_lines(rows)]
    values = [v for r in rows for v in _all_values(r)]
    low = max(0.0, min(values) * 100 - 6)
    layout = base_layout(height=112 + ROW_HEIGHT * len(rows))
    layout["xaxis"] |= {"range": [low, 101.5], "ticksuffix": " %", "nticks": 6}
    layout["yaxis"] |= {
        "tickmode": "array",
        "tickvals": [len(rows) - 1 - i for i in range(len(rows))],
        "ticktext": [wrapped_label(str(r.get("label") or r.get("metric") or "")) for r in rows],
        "range": [-0.55, len(rows) - 0.45],
        "showgrid": False,
    }
    return figure_of(traces, layout)


def kld_figure(buckets: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw mean KL(FP16 to EXL2) in nats by how sure FP16 was of its own token, with intervals.

    Args:
        buckets: `{"lo", "hi", "n", "mean", "interval"}`, `lo` and `hi` being FP16's top probability. Buckets
            without tokens are left out.
    """
    rows = [b for b in buckets if b.get("mean") is not None]
    if not rows:
        return None
    labels = [f"{b['lo'] * 100:.0f}\N{EN DASH}{b['hi'] * 100:.0f}" for b in rows]
    means = [b["mean"] for b in rows]
    counts = [int(b.get("n") or 0) for b in rows]
    bar = {
        "type": "bar",
        "name": "EXL2 against FP16",
        "x": labels,
        "y": means,
        "customdata": counts,
        "marker": {"color": EXL2_COLOUR, "opacity": 0.82},
        "text": [f"{n:,} tokens" for n in counts],
        "textposition": "none",
        "hovertemplate": "FP16 %{x} % sure<br>mean %{y:.4f} nats<br>%{customdata:,} tokens<extra></extra>",
        "width": 0.62,
        "showlegend": False,
    }
    bounds = [b.get("interval") for b in rows]
    if any(bounds):
        bar["error_y"] = error_bars(means, bounds, TEXT_COLOUR)
    layout = base_layout(height=330)
    layout["xaxis"] |= {
        "title": title_of("How sure FP16 was of its own token, %"),
        "showgrid": False,
        "type": "category",
        "tickangle": 0,
        "tickfont": {"size": 11},
    }
    layout["yaxis"] |= {"title": title_of("Mean KL divergence, nats"), "rangemode": "tozero", "nticks": 6}
    return figure_of([bar], layout)


def failures_figure(classes: Mapping[str, Any]) -> Figure | None:
    """Draw how many answers of each side fell into each class.

    Args:
        classes: `{"labels": [...], "fp16": [...], "exl2": [...]}`; ids of classes and counts of questions.
    """
    labels = list(classes.get("labels") or ())
    if not labels:
        return None
    ticks = [wrapped_label(class_words(str(label)), 22) for label in labels]
    traces = []
    for side, name, colour, pattern in (
        ("fp16", "FP16", FP16_COLOUR, "/"),
        ("exl2", "EXL2", EXL2_COLOUR, ""),
    ):
        counts = list(classes.get(side) or ())
        if len(counts) != len(labels):
            continue
        marker: dict[str, Any] = {"color": colour}
        if pattern:
            marker["pattern"] = {"shape": pattern, "fgcolor": colour, "bgcolor": "rgba(0,0,0,0)", "size": 6}
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "x": counts,
                "y": ticks,
                "marker": marker,
                "text": [str(c) if c else "" for c in counts],
                "textposition": "outside",
                "cliponaxis": False,
                "hovertemplate": "%{y}: %{x} questions<extra>" + name + "</extra>",
            }
        )
    if not traces:
        return None
    layout = base_layout(height=110 + 46 * len(labels))
    layout |= {"barmode": "group", "bargap": 0.34, "bargroupgap": 0.08}
    layout["xaxis"] |= {"title": title_of("Questions"), "rangemode": "tozero", "dtick": _count_step(traces)}
    layout["yaxis"] |= {"autorange": "reversed", "showgrid": False, "type": "category"}
    return figure_of(traces, layout)


def _rate_trace(
    rows: Sequence[Mapping[str, Any]], side: str, name: str, offset: float, marker: dict[str, Any]
) -> Figure:
    shown = [(i, r) for i, r in enumerate(rows) if r.get(side) is not None]
    values = [r[side] * 100 for _, r in shown]
    bounds = [
        [v * 100 for v in r[f"{side}_interval"]] if r.get(f"{side}_interval") else None for _, r in shown
    ]
    trace: Figure = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": values,
        "y": [len(rows) - 1 - i + offset for i, _ in shown],
        "marker": {**marker, "line": {"width": 2.5 if marker["symbol"].endswith("open") else 0}},
        "text": [escape(str(r.get("label") or r.get("metric") or "")) for _, r in shown],
        "hovertemplate": "%{text}<br>%{x:.1f} %<extra>" + name + "</extra>",
    }
    if any(bounds):
        trace["error_x"] = error_bars(values, bounds, marker["color"])
    return trace


def _gate_lines(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """A dashed line across each row that has a gate; None ends a line, so all share one legend entry."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for place, row in enumerate(reversed(rows)):
        if row.get("gate") is not None:
            xs += [row["gate"] * 100, row["gate"] * 100, None]
            ys += [place - HALF_ROW, place + HALF_ROW, None]
    if not xs:
        return []
    line = {"color": GATE_COLOUR, "dash": "dash", "width": 2}
    return [_outline("Gate", xs, ys, line) | {"hovertemplate": "Gate %{x:.1f} %<extra></extra>"}]


def _floor_bands(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """A dotted band around FP16 in each row: as far as FP16 differs from itself. No noise gives one line."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for place, row in enumerate(reversed(rows)):
        if row.get("floor") is not None and row.get("fp16") is not None:
            low, high = (100 * min(1.0, max(0.0, row["fp16"] + s * row["floor"])) for s in (-1, 1))
            bottom, top = place - HALF_ROW, place + HALF_ROW
            xs += [low, high, high, low, low, None]
            ys += [bottom, bottom, top, top, bottom, None]
    if not xs:
        return []
    line = {"color": FP16_COLOUR, "dash": "dot", "width": 1.5}
    band = _outline("Noise floor around FP16", xs, ys, line)
    return [band | {"fill": "toself", "fillcolor": "rgba(100,116,139,0.16)", "hoverinfo": "skip"}]


def _outline(name: str, xs: list[float | None], ys: list[float | None], line: Figure) -> Figure:
    return {"type": "scatter", "mode": "lines", "name": name, "x": xs, "y": ys, "line": line}


def _all_values(rate: Mapping[str, Any]) -> list[float]:
    singles = [rate.get(k) for k in ("fp16", "exl2", "gate")]
    bounds = [v for k in ("fp16_interval", "exl2_interval") for v in (rate.get(k) or ())]
    return [float(v) for v in [*singles, *bounds] if v is not None]


def error_bars(values: Sequence[float], bounds: Sequence[Sequence[float] | None], colour: str) -> Figure:
    """Intervals around values as Plotly's error bars; a value without bounds has none."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, b[1] - v) if b else 0.0 for v, b in zip(values, bounds, strict=True)],
        "arrayminus": [max(0.0, v - b[0]) if b else 0.0 for v, b in zip(values, bounds, strict=True)],
        "color": colour,
        "thickness": 1.6,
        "width": 5,
    }


def _count_step(traces: Sequence[Figure]) -> int:
    """Whole numbers on a count axis, at most about six of them."""
    largest = max((max(t["x"], default=0) for t in traces), default=0)
    return max(1, -(-int(largest) // 6))


def wrapped_label(text: str, width: int = LABEL_WIDTH) -> str:
    """Return a label broken into lines of about `width` characters, escaped."""
    return "<br>".join(escape(line) for line in wrap(text, width)) or "&nbsp;"


def title_of(text: str) -> Figure:
    """Return an axis title."""
    return {"text": text, "font": {"size": 12}, "standoff": 12}


def base_layout(height: int) -> Figure:
    """Return the layout that all figures begin with: transparent, legend on top, axes without zoom."""
    axis = {
        "gridcolor": GRID_COLOUR,
        "zeroline": False,
        "automargin": True,
        "tickfont": {"size": 12},
        "fixedrange": True,
        "linecolor": GRID_COLOUR,
    }
    return {
        "template": "none",
        "height": height,
        "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": TEXT_COLOUR},
        "margin": {"l": 10, "r": 18, "t": 40, "b": 40},
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 12}},
        "xaxis": dict(axis),
        "yaxis": dict(axis),
        "hoverlabel": {"font": {"family": FONT, "size": 12}},
    }


def figure_of(traces: list[Figure], layout: Figure) -> Figure:
    """Return a figure without Plotly's tool bar."""
    return {"data": traces, "layout": layout, "config": {"displayModeBar": False, "responsive": True}}
