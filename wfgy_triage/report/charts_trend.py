"""The figure of a trend, and its table: values of both sides by date of the sessions, with intervals and gate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from html import escape
from urllib.parse import quote

from wfgy_triage.report.charts import (
    EXL2_COLOUR,
    FP16_COLOUR,
    GATE_COLOUR,
    Figure,
    base_layout,
    error_bars,
    figure_of,
    title_of,
)
from wfgy_triage.report.format import MISSING, STATE_LOOKS, gate_text, interval, moment, quantity, state_chip
from wfgy_triage.report.trend import Trend, TrendPoint
from wfgy_triage.result import Gate, State

SYMBOLS = {
    State.PASS: "diamond",
    State.FAIL: "x",
    State.INCONCLUSIVE: "diamond-open",
    State.NOT_MEASURED: "diamond-wide-open",
}
"""EXL2's marker by the verdict of the session: never by colour alone."""
HEIGHT = 400


def trend_figure(trend: Trend) -> Figure | None:
    """Draw the trend; None where no session has a value."""
    newest = trend.newest
    if newest is None or not (trend.joined or trend.alone):
        return None
    scale = 100.0 if newest.unit == "share" else 1.0
    traces = [
        *_fp16(trend.joined, scale),
        *_line(trend.joined, scale),
        *(t for state in State for t in _exl2(trend.joined, state, scale)),
        *_alone(trend.alone, scale),
        *_gate(trend.joined, scale),
    ]
    layout = base_layout(HEIGHT)
    layout["xaxis"] |= {"type": "date", "showgrid": False, "nticks": 6, "range": _days(trend)}
    layout["yaxis"] |= {
        "title": title_of(newest.label),
        "ticksuffix": " %" if newest.unit == "share" else "",
        "nticks": 6,
    }
    if newest.unit == "share":
        layout["yaxis"]["range"] = _range(trend, scale)
    return figure_of(traces, layout)


def trend_table(trend: Trend) -> str:
    """Return every session with its numbers, newest first, each linked; why it is not joined, where it is not."""
    rows = "".join(
        _row(point, why) for point, why in reversed([*zip(trend.points, trend.apart, strict=True)])
    )
    older = (
        f'<p class="dim small table-note">{trend.left_out} older sessions are not shown.</p>'
        if trend.left_out
        else ""
    )
    heads = "".join(
        f'<th scope="col">{h}</th>' for h in ("Session", "FP16", "EXL2", "Gate", "Verdict", "Comparable")
    )
    return (
        '<div class="card table-card"><table class="sessions trend"><caption>Sessions of this trend</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{older}</div>"
    )


def _row(p: TrendPoint, why: tuple[str, ...]) -> str:
    at = moment(p.at)
    name = f"<br><b>{escape(p.title)}</b>" if p.title else ""
    imported = ' <span class="tag">imported</span>' if p.imported else ""
    gate = gate_text(Gate(p.gate_op, p.gate, ""), p.unit) if p.gate is not None else MISSING
    # Each in an element of its own, so that it is translated as the sentence that it is.
    comparable = f"<span>no</span>: {', '.join(f'<span>{escape(w)}</span>' for w in why)}" if why else "yes"
    return (
        f'<tr><th scope="row"><a href="./?run={quote(p.run_id)}" aria-label="Open the session of {at}">{at}</a>'
        f'{name}{imported}</th><td data-l="FP16">{_value(p.fp16, p.fp16_interval, p.unit)}</td>'
        f'<td data-l="EXL2">{_value(p.exl2, p.exl2_interval, p.unit)}</td><td data-l="Gate">{gate}</td>'
        f'<td data-l="Verdict">{state_chip(p.state)}</td><td data-l="Comparable">{comparable}</td></tr>'
    )


def _value(value: float | None, bounds: tuple[float, float] | None, unit: str) -> str:
    if value is None:
        return '<span class="dim">not measured</span>'
    spread = f" <small>{interval(bounds, unit)}</small>" if bounds else ""
    return f"<span>{quantity(value, unit)}</span>{spread}"


def _fp16(points: Sequence[TrendPoint], scale: float) -> list[Figure]:
    shown = [p for p in points if p.fp16 is not None]
    if not shown:
        return []
    values = [(p.fp16 or 0.0) * scale for p in shown]
    return [
        _trace("FP16", shown, values, [p.fp16_interval for p in shown], scale, FP16_COLOUR, "FP16")
        | {
            "mode": "lines+markers",
            "line": {"color": FP16_COLOUR, "width": 1.5, "dash": "dot"},
            "marker": {"symbol": "circle-open", "color": FP16_COLOUR, "size": 10, "line": {"width": 2}},
        }
    ]


def _line(points: Sequence[TrendPoint], scale: float) -> list[Figure]:
    """The line that joins what is comparable; the markers on it are traces of their own."""
    if len(points) < 2:
        return []
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [p.at.isoformat() for p in points],
            "y": [(p.exl2 or 0.0) * scale for p in points],
            "line": {"color": EXL2_COLOUR, "width": 2},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]


def _exl2(points: Sequence[TrendPoint], state: State, scale: float) -> list[Figure]:
    shown = [p for p in points if p.state is state]
    if not shown:
        return []
    name = f"EXL2, {STATE_LOOKS[state].word.lower()}"
    values = [(p.exl2 or 0.0) * scale for p in shown]
    bounds = [p.exl2_interval for p in shown]
    return [
        _trace(name, shown, values, bounds, scale, EXL2_COLOUR, "EXL2")
        | {"marker": {"symbol": SYMBOLS[state], "color": EXL2_COLOUR, "size": 12, "line": {"width": 2}}}
    ]


def _alone(points: Sequence[TrendPoint], scale: float) -> list[Figure]:
    if not points:
        return []
    values = [(p.exl2 or 0.0) * scale for p in points]
    bounds = [p.exl2_interval for p in points]
    return [
        _trace("EXL2, not comparable", points, values, bounds, scale, FP16_COLOUR, "EXL2")
        | {"marker": {"symbol": "square-open", "color": FP16_COLOUR, "size": 9, "line": {"width": 2}}}
    ]


def _gate(points: Sequence[TrendPoint], scale: float) -> list[Figure]:
    """Each session's own gate: where it is on a loss, it moves with FP16."""
    shown = [p for p in points if p.gate is not None]
    if not shown:
        return []
    line = {"color": GATE_COLOUR, "dash": "dash", "width": 2}
    return [
        {
            "type": "scatter",
            "mode": "lines" if len(shown) > 1 else "markers",
            "name": "Gate",
            "x": [p.at.isoformat() for p in shown],
            "y": [(p.gate or 0.0) * scale for p in shown],
            "line": line,
            "marker": {"symbol": "line-ew-open", "color": GATE_COLOUR, "size": 22, "line": {"width": 2}},
            "hoverinfo": "skip",
        }
    ]


def _trace(
    name: str,
    points: Sequence[TrendPoint],
    values: Sequence[float],
    bounds: Sequence[tuple[float, float] | None],
    scale: float,
    colour: str,
    side: str,
) -> Figure:
    scaled = [[v * scale for v in b] if b else None for b in bounds]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [p.at.isoformat() for p in points],
        "y": list(values),
        "hovertext": [
            f"{moment(p.at)}<br>{side} {quantity(p.exl2 if side == 'EXL2' else p.fp16, p.unit)}, "
            f"{p.questions} questions"
            for p in points
        ],
        "hoverinfo": "text",
        **({"error_y": error_bars(values, scaled, colour)} if any(scaled) else {}),
    }


def _days(trend: Trend) -> list[str]:
    """From before the first session to after the last: around a single one the axis would count microseconds."""
    times = [p.at for p in (*trend.joined, *trend.alone)]
    room = max(0.06 * (max(times) - min(times)), timedelta(hours=3))
    return [(min(times) - room).isoformat(), (max(times) + room).isoformat()]


def _range(trend: Trend, scale: float) -> list[float]:
    values = [
        v
        for p in (*trend.joined, *trend.alone)
        for v in (p.exl2, p.fp16, p.gate, *(p.exl2_interval or ()), *(p.fp16_interval or ()))
        if v is not None
    ]
    low, high = min(values) * scale, max(values) * scale
    room = max(0.08 * (high - low), 2.0)
    return [max(-3.0, low - room), min(103.0, high + room)]
