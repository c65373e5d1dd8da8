"""The citation probe's own figure: which passage answers point at, against where the right one stood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfgy_triage.report.chart_tables import numbers_table
from wfgy_triage.report.charts import (
    EXL2_COLOUR,
    FP16_COLOUR,
    GATE_COLOUR,
    Figure,
    base_layout,
    figure_of,
    title_of,
)

_SERIES = (
    ("gold", "Where the answer stands", GATE_COLOUR, "x"),
    ("fp16", "FP16 cites", FP16_COLOUR, "/"),
    ("exl2", "EXL2 cites", EXL2_COLOUR, ""),
)


def places_figure(places: Mapping[str, Any]) -> Figure | None:
    """Draw how often each place in the prompt is right, and how often each side cites it first.

    Args:
        places: `{"labels": [...], "gold": [...], "fp16": [...], "exl2": [...]}`, counts of questions.
    """
    labels = list(places.get("labels") or ())
    if not labels:
        return None
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": labels,
            "y": list(places[key]),
            "marker": {
                "color": colour,
                "pattern": {"shape": shape, "fgcolor": colour, "bgcolor": "rgba(0,0,0,0)", "size": 6},
            },
            "hovertemplate": "%{x}: %{y} questions<extra>" + name + "</extra>",
        }
        for key, name, colour, shape in _SERIES
    ]
    layout = base_layout(height=320)
    layout |= {"barmode": "group", "bargap": 0.3, "bargroupgap": 0.06}
    layout["xaxis"] |= {"title": title_of("Passage in the prompt"), "showgrid": False, "type": "category"}
    layout["yaxis"] |= {"title": title_of("Questions"), "rangemode": "tozero", "nticks": 6}
    return figure_of(traces, layout)


def places_table(places: Mapping[str, Any]) -> str:
    """Return the same counts as a table."""
    rows = [
        [str(label), *(str(places[key][i]) for key, *_ in _SERIES)]
        for i, label in enumerate(places.get("labels") or ())
    ]
    return numbers_table(("Passage", *(name for _, name, *_ in _SERIES)), rows)
