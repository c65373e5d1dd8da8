"""Figures of the retrieval probe: recall and ΔS against k for every arm, and where each right passage moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from wfgy_triage.report.chart_tables import numbers_table
from wfgy_triage.report.charts import (
    EXL2_COLOUR,
    FP16_COLOUR,
    GATE_COLOUR,
    GRID_COLOUR,
    Figure,
    base_layout,
    error_bars,
    figure_of,
    title_of,
)
from wfgy_triage.report.format import number

STYLES = {
    "fp16": {"color": FP16_COLOUR, "symbol": "circle-open", "dash": "solid"},
    "mixed": {"color": EXL2_COLOUR, "symbol": "diamond", "dash": "solid"},
    "rebuilt": {"color": "#7c3aed", "symbol": "square", "dash": "dash"},
    "independent": {"color": "#b45309", "symbol": "triangle-up", "dash": "dot"},
    "given": {"color": "#0369a1", "symbol": "star", "dash": "solid"},
    "given_fp16": {"color": "#0369a1", "symbol": "star-open", "dash": "dash"},
    "given_normalised": {"color": "#be185d", "symbol": "cross", "dash": "dot"},
}
RISK = 0.60
MOST_ROWS = 20
"""Questions in the picture of rank changes: those that moved most."""
SPREAD = 0.03
"""Arms are set apart sideways by this share of k, so that their intervals do not cover each other."""


def recall_figure(arms: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw recall against k with Wilson intervals.

    Args:
        arms: `{"arm", "label", "deployed", "n", "k", "recall", "interval"}`, one an arm.
    """
    layout = base_layout(height=400)
    layout["yaxis"] |= {"title": title_of("Right passage found"), "ticksuffix": " %", "range": [0, 102]}
    scaled = [
        {
            **a,
            "value": [100 * v for v in a["recall"]],
            "bounds": [[100 * b for b in i] for i in a["interval"]],
        }
        for a in arms
    ]
    return _lines(scaled, layout, "%{y:.0f} %")


def distance_figure(arms: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw mean ΔS of question and results against k, with the zone that the page calls risk.

    Args:
        arms: `{"arm", "label", "deployed", "n", "k", "ds", "interval"}`, one an arm.
    """
    layout = base_layout(height=360)
    layout["yaxis"] |= {"title": title_of("Mean ΔS of question and results")}
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": RISK, "y1": RISK}
    layout["shapes"] = [line | {"line": {"color": GATE_COLOUR, "dash": "dash", "width": 1.5}}]
    scaled = [{**a, "value": a["ds"], "bounds": a["interval"]} for a in arms]
    return _lines(scaled, layout, "ΔS %{y:.3f}")


def rank_figure(changes: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Draw the place of the right passage on both sides for the questions that moved most.

    Args:
        changes: `{"question", "fp16", "exl2"}` with places from 1, the largest change first.
    """
    rows = [c for c in changes if c["fp16"] != c["exl2"]][:MOST_ROWS][::-1]
    if not rows:
        return None
    names = [_short(r["question"]) for r in rows]
    places = list(range(len(rows)))
    joins: Figure = {
        "type": "scatter",
        "mode": "lines",
        "x": [],
        "y": [],
        "hoverinfo": "skip",
        "showlegend": False,
    }
    joins["line"] = {"color": GRID_COLOUR, "width": 3}
    for place, row in enumerate(rows):
        joins["x"] += [row["fp16"], row["exl2"], None]
        joins["y"] += [place, place, None]
    dots = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [r[side] for r in rows],
            "y": places,
            "text": [escape(r["question"]) for r in rows],
            "marker": {"color": colour, "symbol": symbol, "size": 11},
            "hovertemplate": "%{text}<br>place %{x}<extra>" + name + "</extra>",
        }
        for side, name, colour, symbol in (
            ("fp16", "FP16", FP16_COLOUR, "circle-open"),
            ("exl2", "EXL2 as deployed", EXL2_COLOUR, "diamond"),
        )
    ]
    layout = base_layout(height=120 + 26 * len(rows))
    layout["xaxis"] |= {"title": title_of("Place of the right passage (1 is best)"), "type": "log"}
    layout["xaxis"] |= {"tickvals": [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000]}
    layout["yaxis"] |= {"tickmode": "array", "tickvals": places, "ticktext": names, "showgrid": False}
    layout["yaxis"] |= {"range": [-0.6, len(rows) - 0.4]}
    return figure_of([joins, *dots], layout)


def recall_table(arms: Sequence[Mapping[str, Any]]) -> str:
    """Return recall of every arm at every k."""
    rows = [(a["label"], *(f"{100 * v:.0f} %" for v in a["recall"])) for a in arms]
    return numbers_table(("Searched with", *(f"k = {k}" for k in arms[0]["k"])), rows)


def distance_table(arms: Sequence[Mapping[str, Any]]) -> str:
    """Return mean ΔS of every arm at every k."""
    rows = [(a["label"], *(number(v) for v in a["ds"])) for a in arms]
    return numbers_table(("Searched with", *(f"k = {k}" for k in arms[0]["k"])), rows)


def rank_table(changes: Sequence[Mapping[str, Any]]) -> str:
    """Return the place of the right passage of every question that moved."""
    rows = [(c["question"], str(c["fp16"]), str(c["exl2"])) for c in changes if c["fp16"] != c["exl2"]]
    return numbers_table(("Question", "FP16", "EXL2"), rows, questions=True)


def _lines(arms: Sequence[Mapping[str, Any]], layout: Figure, shown: str) -> Figure | None:
    if not arms:
        return None
    traces = []
    for place, arm in enumerate(arms):
        style = STYLES[arm["arm"]]
        factor = 1 + SPREAD * (place - (len(arms) - 1) / 2)
        label = f"{arm['label']} (deployed)" if arm["deployed"] else arm["label"]
        trace: Figure = {
            "type": "scatter",
            "mode": "lines+markers",
            "name": label,
            "x": [k * factor for k in arm["k"]],
            "y": arm["value"],
            "customdata": arm["k"],
            "line": {"color": style["color"], "dash": style["dash"], "width": 3 if arm["deployed"] else 1.8},
            "marker": {"color": style["color"], "symbol": style["symbol"], "size": 10},
            "hovertemplate": "k = %{customdata}: " + shown + "<extra>" + escape(label) + "</extra>",
        }
        if any(arm["bounds"]):
            trace["error_y"] = error_bars(arm["value"], arm["bounds"], style["color"]) | {"thickness": 1}
        traces.append(trace)
    ks = arms[0]["k"]
    layout["xaxis"] |= {"title": title_of("Results looked at, k"), "type": "log"}
    layout["xaxis"] |= {"tickvals": ks, "ticktext": [str(k) for k in ks]}
    layout["legend"] |= {"y": 1.02}
    return figure_of(traces, layout)


def _short(text: str, width: int = 36) -> str:
    return escape(text if len(text) <= width else f"{text[: width - 1]}…")
