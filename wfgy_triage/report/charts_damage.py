"""Damage by part of the model: how much of the drift goes away when a part's FP16 weights are put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfgy_triage.localized import ORDER
from wfgy_triage.report.chart_tables import numbers_table
from wfgy_triage.report.charts import EXL2_COLOUR, Figure, base_layout, figure_of, title_of, wrapped_label
from wfgy_triage.report.format import number


def damage_figure(damage: Mapping[str, Any]) -> Figure | None:
    """Draw one bar a part, the most damaging first.

    Args:
        damage: `{"kl", "measure", "questions", "parts": [{"label", "kl_left", "share", "restored", "asked"}]}`; `kl`
            and `kl_left` are nats, or 1 − ρ where `measure` is "order"; `share` is the part that goes away, at most 1.
    """
    parts = sorted(damage.get("parts") or (), key=lambda p: -p["share"])
    if not parts:
        return None
    ordered = damage.get("measure") == ORDER
    labels = [wrapped_label(p["label"], 26) for p in parts]
    bar = {
        "type": "bar",
        "orientation": "h",
        "x": [100 * p["share"] for p in parts],
        "y": labels,
        "marker": {"color": EXL2_COLOUR, "opacity": 0.82},
        "text": [_came_back(p, ordered) for p in parts],
        "textposition": "auto",
        "insidetextanchor": "end",
        "insidetextfont": {"color": "white"},
        "hovertemplate": "%{y}: %{x:.0f} % of the drift goes<extra></extra>",
        "showlegend": False,
    }
    layout = base_layout(height=90 + 30 * len(parts))
    title = "Drift that goes away, %"
    if ordered:
        title = "Change in the order of the passages (1 − ρ) that goes away, %"
    layout["xaxis"] |= {"title": title_of(title), "ticksuffix": " %", "nticks": 6}
    layout["yaxis"] |= {"autorange": "reversed", "showgrid": False, "type": "category"}
    return figure_of([bar], layout)


def damage_table(damage: Mapping[str, Any]) -> str:
    """Return the numbers of the figure."""
    parts = sorted(damage.get("parts") or (), key=lambda p: -p["share"])
    ordered = damage.get("measure") == ORDER
    rows = [
        (p["label"], number(p["kl_left"]), f"{100 * p['share']:.0f} %", _came_back(p, ordered)) for p in parts
    ]
    left, gone = ("1 − ρ left", "1 − ρ gone") if ordered else ("Drift left, nats", "Drift gone")
    lost = "Lost passages" if ordered else "Lost answers"
    return numbers_table(("Put back to FP16", left, gone, lost), rows)


def _came_back(part: Mapping[str, Any], ordered: bool) -> str:
    if not part.get("asked") or part.get("restored") is None:
        return ""
    if ordered:
        return f"{part['restored']} of {part['asked']} passages are found again"
    return f"{part['restored']} of {part['asked']} answers come back"
