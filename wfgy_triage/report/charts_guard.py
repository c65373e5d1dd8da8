"""The course of the guarded rates: one panel a gate, all on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from wfgy_triage.guard.overview import Course
from wfgy_triage.report.chart_tables import numbers_table
from wfgy_triage.report.charts import (
    EXL2_COLOUR,
    GATE_COLOUR,
    Figure,
    base_layout,
    error_bars,
    figure_of,
    wrapped_label,
)
from wfgy_triage.report.format import interval, moment, quantity

PANEL = 150
_GAP = 0.09


def courses_figure(courses: Sequence[Course]) -> Figure | None:
    """Draw every rate over time with its gate; None without any."""
    if not courses:
        return None
    layout = base_layout(height=70 + PANEL * len(courses))
    axis_x, axis_y = layout.pop("xaxis"), layout.pop("yaxis")
    traces, shapes, notes = [], [], []
    height = (1 - _GAP * (len(courses) - 1)) / len(courses)
    for place, course in enumerate(courses):
        number = "" if place == 0 else str(place + 1)
        top = 1 - place * (height + _GAP)
        domain = [max(0.0, top - height), top]
        layout[f"yaxis{number}"] = axis_y | {
            "domain": domain, "ticksuffix": " %", "nticks": 4, "range": _range(course)
        }  # fmt: skip
        traces.append(_trace(course, f"y{number}"))
        bound = 100 * course.watch.gate.value
        shapes.append(
            {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": f"y{number}", "y0": bound, "y1": bound,
                "line": {"color": GATE_COLOUR, "dash": "dash", "width": 1.5},
            }
        )  # fmt: skip
        notes.append(
            {
                "text": wrapped_label(course.watch.label, 60), "xref": "paper", "x": 0, "xanchor": "left",
                "yref": "paper", "y": top, "yanchor": "bottom", "showarrow": False, "font": {"size": 12},
            }
        )  # fmt: skip
    last = "" if len(courses) == 1 else str(len(courses))
    layout["xaxis"] = axis_x | {
        "type": "date", "showgrid": False, "nticks": 4, "anchor": f"y{last}", "tickformat": _moments(courses)
    }  # fmt: skip
    layout |= {"shapes": shapes, "annotations": notes, "showlegend": False}
    return figure_of(traces, layout)


def courses_table(courses: Sequence[Course]) -> str:
    """Return the numbers of the figure."""
    rows = [
        (
            moment(p.at),
            c.watch.label,
            quantity(p.value, "share"),
            interval((p.low, p.high), "share") if p.low is not None and p.high is not None else "",
            str(p.answers),
        )
        for c in courses
        for p in c.points
    ]
    return numbers_table(("From", "Rate", "Value", "95 % interval", "Answers"), rows)


def _trace(course: Course, axis: str) -> Figure:
    values = [100 * p.value for p in course.points]
    bounds = [None if p.low is None or p.high is None else (100 * p.low, 100 * p.high) for p in course.points]
    trace: Figure = {
        "type": "scatter",
        "mode": "lines+markers",
        "cliponaxis": False,
        "x": [p.at.strftime("%Y-%m-%d %H:%M:%S") for p in course.points],
        "y": values,
        "yaxis": axis,
        "customdata": [p.answers for p in course.points],
        "line": {"color": EXL2_COLOUR, "width": 2},
        "marker": {"color": EXL2_COLOUR, "symbol": "diamond", "size": 9},
        "hovertemplate": "%{x}<br>%{y:.1f} % of %{customdata} answers<extra></extra>",
    }
    if any(bounds):
        trace["error_y"] = error_bars(values, bounds, EXL2_COLOUR)
    return trace


def _moments(courses: Sequence[Course]) -> str:
    """How the time axis is written: so that no two of its words are the same."""
    moments = [p.at for c in courses for p in c.points]
    span = max(moments) - min(moments)
    if span < timedelta(minutes=15):
        return "%H:%M:%S"
    return "%H:%M" if span < timedelta(hours=20) else "%d %b %H:%M"


def _range(course: Course) -> list[float]:
    lows = [p.value if p.low is None else p.low for p in course.points]
    return [max(-2.0, 100 * min([*lows, course.watch.gate.value]) - 6), 103.0]
