"""The shapes inside a drawn figure as SVG: markers, lines, bands, bars, bars of uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from wfgy_triage.report.export.scales import Axis

CHARACTER = 6.8
"""About the width of a character of the labels, in picture units."""
DASHES = {"dash": "7 4", "dot": "2 3"}
Point = tuple[float, float] | None
"""A place in the picture; None ends a line."""


@dataclass(frozen=True)
class Frame:
    """The area that is drawn on, in picture units, with its two axes. y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float
    x: Axis
    y: Axis

    def at_x(self, value: Any) -> float:
        """The horizontal place of a value."""
        return self.at_x_number(self.x.number(value))

    def at_y(self, value: Any) -> float:
        """The vertical place of a value."""
        return self.at_y_number(self.y.number(value))

    def at_x_number(self, number: float) -> float:
        """The same for a number of the axis, which for categories is a place between them."""
        return self.left + self.x.share(number) * (self.right - self.left)

    def at_y_number(self, number: float) -> float:
        """The same for the other axis."""
        return self.bottom - self.y.share(number) * (self.bottom - self.top)

    def points(self, trace: Mapping[str, Any]) -> list[Point]:
        """The places of a trace's values."""
        pairs = zip(trace["x"], trace["y"], strict=True)
        return [None if x is None or y is None else (self.at_x(x), self.at_y(y)) for x, y in pairs]


def symbol(name: str, at: tuple[float, float], size: float, colour: str) -> str:
    """Return a marker of Plotly's name, with its ink; unknown names are circles."""
    x, y = at
    shape, _, kind = name.partition("-open")
    hollow = bool(kind) or name.endswith("-open")
    ink = f'fill="none" stroke="{colour}" stroke-width="2.2"' if hollow else f'fill="{colour}"'
    r = size / 2
    if shape == "line-ew":
        return (
            f'<path d="M{x - r:.1f} {y:.1f}H{x + r:.1f}" fill="none" stroke="{colour}" stroke-width="2.2"/>'
        )
    corners = {
        "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "triangle-up": ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
        "cross": (
            (-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4),
            (0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4),
        ),
        "star": (
            (0, -1.4), (0.35, -0.45), (1.35, -0.43), (0.55, 0.18), (0.85, 1.15),
            (0, 0.58), (-0.85, 1.15), (-0.55, 0.18), (-1.35, -0.43), (-0.35, -0.45),
        ),
    }.get(shape)  # fmt: skip
    if corners is None:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" {ink}/>'
    path = " ".join(f"{x + dx * r:.1f},{y + dy * r:.1f}" for dx, dy in corners)
    return f'<polygon points="{path}" {ink}/>'


def line_path(points: Sequence[Point], stepped: bool = False) -> str:
    """Return path data through the points; `stepped` goes across first, then up or down."""
    parts, pen_down = [], False
    for point in points:
        if point is None:
            pen_down = False
            continue
        x, y = point
        across = f"H{x:.1f}V{y:.1f}" if stepped else f"L{x:.1f} {y:.1f}"
        parts.append(across if pen_down else f"M{x:.1f} {y:.1f}")
        pen_down = True
    return "".join(parts)


def stroke(line: Mapping[str, Any]) -> str:
    """Return the ink of a line: colour, width, dashes."""
    dash = DASHES.get(str(line.get("dash")), "")
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'fill="none" stroke="{_colour(line)}" stroke-width="{float(line.get("width", 2)):g}"{dashes}'


def scatter(trace: Mapping[str, Any], frame: Frame, before: Sequence[Point]) -> str:
    """Return lines, bands, uncertainties and markers of a trace.

    Args:
        trace: a Plotly trace of type `scatter`.
        frame: where it is drawn.
        before: points of the trace before it, the other edge of a band.
    """
    points, line = frame.points(trace), trace.get("line") or {}
    stepped = line.get("shape") == "hv"
    drawn = []
    if trace.get("fill"):
        drawn.append(_filled(trace, points, before, stepped))
    if "lines" in trace["mode"] and float(line.get("width", 2)) > 0:
        drawn.append(f'<path d="{line_path(points, stepped)}" {stroke(line)}/>')
    drawn.append(uncertainties(trace, frame, points))
    if "markers" in trace["mode"]:
        marker = trace["marker"]
        drawn += [
            symbol(str(marker.get("symbol", "circle")), p, float(marker.get("size", 8)), _colour(marker))
            for p in points
            if p is not None
        ]
    return "".join(drawn)


def uncertainties(trace: Mapping[str, Any], frame: Frame, points: Sequence[Point]) -> str:
    """Return a trace's intervals as bars with ends."""
    drawn = []
    for along, axis_at in (("x", frame.at_x), ("y", frame.at_y)):
        error = trace.get(f"error_{along}")
        if not error:
            continue
        values = trace[along]
        for value, more, less, point in zip(values, error["array"], error["arrayminus"], points, strict=True):
            if point is None or (not more and not less):
                continue
            low, high = axis_at(value - less), axis_at(value + more)
            x, y = point
            bar = (
                f"M{low:.1f} {y - 4:.1f}v8M{low:.1f} {y:.1f}H{high:.1f}M{high:.1f} {y - 4:.1f}v8"
                if along == "x"
                else f"M{x - 4:.1f} {low:.1f}h8M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {high:.1f}h8"
            )
            width = float(error.get("thickness", 1.5))
            drawn.append(f'<path d="{bar}" fill="none" stroke="{_colour(error)}" stroke-width="{width:g}"/>')
    return "".join(drawn)


def bars(traces: Sequence[Mapping[str, Any]], frame: Frame, gaps: tuple[float, float], names: str) -> str:
    """Return grouped bars with their texts.

    Args:
        traces: Plotly traces of type `bar`, all upright or all lying.
        frame: where they are drawn.
        gaps: share of a place left between groups, and within a group between bars.
        names: prefix of the ids of hatchings, unique in the document.
    """
    drawn = []
    across = (1 - gaps[0]) / max(1, len(traces))
    for order, trace in enumerate(traces):
        thick = float(trace.get("width") or across * (1 - gaps[1]))
        offset = 0.0 if len(traces) == 1 else (order - (len(traces) - 1) / 2) * across
        lying = trace.get("orientation") == "h"
        texts = trace.get("text") or [""] * len(trace["x"])
        ink, pattern = _bar_ink(trace, f"{names}-{order}")
        drawn.append(pattern)
        tips: list[Point] = []
        for x, y, text in zip(trace["x"], trace["y"], texts, strict=True):
            box, tip = _bar(frame, x, y, offset, thick, lying)
            tips.append(tip)
            drawn.append(f"<rect {box} {ink}/>")
            if text and trace.get("textposition") != "none":
                room = tip[0] - frame.at_x(0) if lying and trace.get("textposition") == "auto" else 0.0
                drawn.append(_bar_text(str(text), tip, lying, room))
        drawn.append(uncertainties(trace, frame, tips))
    return "".join(drawn)


def _bar(
    frame: Frame, x: Any, y: Any, offset: float, thick: float, lying: bool
) -> tuple[str, tuple[float, float]]:
    """A bar as the attributes of a rectangle, and the middle of its end."""
    if lying:
        row = frame.y.number(y) + offset
        a, b = sorted((frame.at_y_number(row - thick / 2), frame.at_y_number(row + thick / 2)))
        start, end = frame.at_x(0), frame.at_x(x)
        box = (min(start, end), a, abs(end - start), b - a)
        return _rect(box), (end, (a + b) / 2)
    place = frame.x.number(x) + offset
    a, b = sorted((frame.at_x_number(place - thick / 2), frame.at_x_number(place + thick / 2)))
    start, end = frame.at_y(0), frame.at_y(y)
    return _rect((a, min(start, end), b - a, abs(end - start))), ((a + b) / 2, end)


def _rect(box: tuple[float, float, float, float]) -> str:
    x, y, width, height = box
    return f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'


def _bar_ink(trace: Mapping[str, Any], name: str) -> tuple[str, str]:
    """The fill of a bar, and the hatching that it refers to, if it has one."""
    marker = trace["marker"]
    colour, shape = _colour(marker), (marker.get("pattern") or {}).get("shape")
    if not shape:
        return f'fill="{colour}" fill-opacity="{float(marker.get("opacity", 1)):g}"', ""
    lines = "M0 6L6 0" + ("M0 0L6 6" if shape == "x" else "")
    pattern = (
        f'<pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<path d="{lines}" stroke="{colour}" stroke-width="1.4"/></pattern>'
    )
    return f'fill="url(#{name})" stroke="{colour}"', pattern


def _bar_text(text: str, tip: tuple[float, float], lying: bool, room: float) -> str:
    """The words of a bar: at its end, or inside it where there is room for them."""
    x, y = tip
    if not lying:
        return f'<text x="{x:.1f}" y="{y - 5:.1f}" text-anchor="middle">{escape(text)}</text>'
    if room > CHARACTER * len(text) + 12:
        return f'<text class="on-bar" x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    return f'<text x="{x + 6:.1f}" y="{y + 4:.1f}">{escape(text)}</text>'


def _filled(trace: Mapping[str, Any], points: Sequence[Point], before: Sequence[Point], stepped: bool) -> str:
    colour = escape(str(trace.get("fillcolor", "none")))
    if trace["fill"] == "toself":
        return f'<path d="{line_path(points)}" fill="{colour}" stroke="none"/>'
    # The way there along this edge, the way back along the other; a stepped edge turns its corners on both ways.
    back = [p for p in before if p is not None][::-1]
    there = [p for p in points if p is not None]
    if stepped:
        back, there = _corners(back[::-1])[::-1], _corners(there)
    return f'<path d="{line_path([*there, *back])}Z" fill="{colour}" stroke="none"/>'


def _corners(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    found = list(points[:1])
    for (_, y), (next_x, next_y) in pairwise(points):
        found += [(next_x, y), (next_x, next_y)]
    return found


def _colour(ink: Mapping[str, Any]) -> str:
    return escape(str(ink.get("color", "#64748b")))
