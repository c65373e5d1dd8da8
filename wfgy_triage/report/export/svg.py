"""A Plotly figure, as the builders of `report/charts*.py` make them, drawn as SVG without a script.

Knows what those builders use of Plotly and no more. The picture has a fixed width and scales with its card; its
colours for text and grid come from the style sheet, so that it reads on light, on dark and on paper.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape, unescape
from textwrap import wrap
from typing import Any

from wfgy_triage.report.charts import Figure
from wfgy_triage.report.export.marks import CHARACTER, Frame, Point, bars, line_path, scatter, stroke, symbol
from wfgy_triage.report.export.scales import Tick, axis_of

WIDTH = 440
LINE = 15
_TAG = re.compile(r"</?b>")


def figure_svg(figure: Figure, title: str, names: str) -> str:
    """Return the picture.

    Args:
        figure: `{"data", "layout"}`.
        title: what a screen reader says it is.
        names: prefix of the ids in the picture, unique in the document.
    """
    traces, layout = list(figure["data"]), figure["layout"]
    x = axis_of(list(_values(traces, "x")), layout["xaxis"], _bars_from_zero(traces, lying=True))
    y = axis_of(list(_values(traces, "y")), layout["yaxis"], _bars_from_zero(traces, lying=False))
    legend, legend_height = _legend(traces, layout)
    height = int(layout["height"])
    below = 10 + LINE * max((_lines(t) for t in x.ticks), default=0) + (22 if x.title else 4)
    top = 10 + legend_height + (18 if layout.get("annotations") else 0)
    title_room = 5 + LINE * len(_title_lines(y.title, height - below - top)) if y.title else 0
    left = 10 + max((_width(t.label) for t in y.ticks), default=0) + title_room
    frame = Frame(left, top, WIDTH - 18, height - below, x, y)
    parts = [_axes(frame), _shapes(layout, frame), _marks(traces, layout, frame, names), legend]
    parts.append(_annotations(layout, frame))
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _values(traces: Sequence[Mapping[str, Any]], along: str) -> Iterator[Any]:
    """Every value along one axis, the ends of intervals and the feet of bars with them."""
    for trace in traces:
        yield from (v for v in trace[along] if v is not None)
        error = trace.get(f"error_{along}")
        if error:
            for value, more, less in zip(trace[along], error["array"], error["arrayminus"], strict=True):
                yield from (value - less, value + more)
        if trace["type"] == "bar" and not isinstance(next(iter(trace[along]), ""), str):
            upright = trace.get("orientation") != "h"
            if upright and along == "x":  # a bar at a number reaches half a place to both sides
                yield from (min(trace[along]) - 0.5, max(trace[along]) + 0.5)


def _bars_from_zero(traces: Sequence[Mapping[str, Any]], lying: bool) -> bool:
    return any(t["type"] == "bar" and (t.get("orientation") == "h") is lying for t in traces)


def _marks(traces: Sequence[Mapping[str, Any]], layout: Mapping[str, Any], frame: Frame, names: str) -> str:
    gaps = (float(layout.get("bargap", 0.2)), float(layout.get("bargroupgap", 0)))
    drawn = [bars([t for t in traces if t["type"] == "bar"], frame, gaps, names)]
    before: Sequence[Point] = ()
    for trace in traces:
        if trace["type"] == "scatter":
            drawn.append(scatter(trace, frame, before))
            before = frame.points(trace)
    return "".join(drawn)


def _axes(frame: Frame) -> str:
    drawn = []
    for tick in frame.x.ticks:
        x = frame.at_x_number(tick.value)
        if frame.x.grid:
            drawn.append(f'<path class="grid" d="M{x:.1f} {frame.top:.1f}V{frame.bottom:.1f}"/>')
        drawn.append(_label(tick.label, x, frame.bottom + 16, "middle"))
    for tick in frame.y.ticks:
        y = frame.at_y_number(tick.value)
        if frame.y.grid:
            drawn.append(f'<path class="grid" d="M{frame.left:.1f} {y:.1f}H{frame.right:.1f}"/>')
        lines = _lines(tick)
        drawn.append(_label(tick.label, frame.left - 8, y + 4 - (lines - 1) * LINE / 2, "end"))
    drawn.append(f'<path class="grid" d="M{frame.left:.1f} {frame.bottom:.1f}H{frame.right:.1f}"/>')
    return "".join(drawn) + _axis_titles(frame)


def _axis_titles(frame: Frame) -> str:
    drawn = ""
    if frame.x.title:
        below = frame.bottom + 24 + LINE * max((_lines(t) for t in frame.x.ticks), default=0)
        half = CHARACTER * len(unescape(frame.x.title)) / 2
        middle = max(half, min((frame.left + frame.right) / 2, WIDTH - half))
        drawn += _label(escape(frame.x.title), middle, below, "middle")
    if frame.y.title:
        middle = (frame.top + frame.bottom) / 2
        lines = "<br>".join(map(escape, _title_lines(frame.y.title, frame.bottom - frame.top)))
        drawn += _label(lines, 12, middle, "middle", f' transform="rotate(-90 12 {middle:.1f})"')
    return drawn


def _title_lines(title: str, room: float) -> list[str]:
    """A title in as many lines as its axis is short."""
    return wrap(unescape(title), max(8, int(room / CHARACTER)))


def _label(text: str, x: float, y: float, anchor: str, turned: str = "") -> str:
    """Text of one or more lines. In another language the lines are one text, and each bold one is by itself."""
    lines = "".join(
        f'<tspan class="line" x="{x:.1f}" dy="{LINE if i else 0}">{_line(line)}</tspan>'
        for i, line in enumerate(text.split("<br>"))
    )
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{lines}</text>'


def _line(line: str) -> str:
    """The words of a line; bold where the figure says so."""
    words = escape(unescape(_TAG.sub("", line)))
    return f'<tspan font-weight="700">{words}</tspan>' if "<b>" in line else words


def _shapes(layout: Mapping[str, Any], frame: Frame) -> str:
    drawn = []
    for shape in layout.get("shapes") or ():
        across, up = shape.get("xref") == "paper", shape.get("yref") == "paper"
        xs = (frame.left, frame.right) if across else (frame.at_x(shape["x0"]), frame.at_x(shape["x1"]))
        ys = (frame.bottom, frame.top) if up else (frame.at_y(shape["y0"]), frame.at_y(shape["y1"]))
        if not (across or frame.left <= xs[0] <= frame.right):
            continue
        if not (up or frame.top <= ys[0] <= frame.bottom):
            continue
        drawn.append(
            f'<path d="{line_path(list(zip(xs, ys, strict=True)))}" {stroke(shape.get("line") or {})}/>'
        )
    return "".join(drawn)


def _annotations(layout: Mapping[str, Any], frame: Frame) -> str:
    anchors = {"left": "start", "right": "end"}
    return "".join(
        _label(
            str(a["text"]), frame.at_x(a["x"]), frame.top - 6, anchors.get(str(a.get("xanchor")), "middle")
        )
        for a in layout.get("annotations") or ()
    )


def _legend(traces: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> tuple[str, int]:
    """The names of the traces with their marks, in rows above the figure; and the height they take."""
    named = [t for t in traces if t.get("name") and t.get("showlegend") is not False]
    if layout.get("showlegend") is False or len(traces) < 2 or not named:
        return "", 0
    x, y, drawn = 6.0, 14.0, []
    for trace in named:
        room = 44 + CHARACTER * len(trace["name"])
        if x > 6 and x + room > WIDTH:
            x, y = 6.0, y + 20
        drawn.append(_legend_mark(trace, x, y))
        drawn.append(_label(escape(str(trace["name"])), x + 28, y + 4, "start"))
        x += room
    return "".join(drawn), int(y) + 12


def _legend_mark(trace: Mapping[str, Any], x: float, y: float) -> str:
    marker, line = trace.get("marker") or {}, trace.get("line") or {}
    if trace["type"] == "bar":
        hatched = bool((marker.get("pattern") or {}).get("shape"))
        colour = escape(str(marker.get("color")))
        ink = f'fill="none" stroke="{colour}" stroke-width="2"' if hatched else f'fill="{colour}"'
        return f'<rect x="{x + 5:.1f}" y="{y - 5:.1f}" width="12" height="10" {ink}/>'
    drawn = ""
    if "lines" in trace["mode"]:
        drawn = f'<path d="M{x:.1f} {y:.1f}h22" {stroke(line)}/>'
    if "markers" in trace["mode"]:
        colour = escape(str(marker.get("color")))
        drawn += symbol(str(marker.get("symbol", "circle")), (x + 11, y), 9, colour)
    return drawn


def _width(label: str) -> float:
    return CHARACTER * max(len(unescape(_TAG.sub("", line))) for line in label.split("<br>"))


def _lines(tick: Tick) -> int:
    return tick.label.count("<br>") + 1
