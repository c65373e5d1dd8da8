"""The axes of a drawn figure: from values to places, and where the ticks are. Linear, logarithmic or by category."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.report.format import number

PADDING = 0.05
"""Room beyond the outermost value, as a share of the span."""


@dataclass(frozen=True)
class Tick:
    """A marked place: a value of the axis, and its label (lines separated by `<br>`, escaped)."""

    value: float
    label: str


@dataclass(frozen=True)
class Axis:
    """One axis in figure units.

    Attributes:
        low: value at the beginning of the axis.
        high: value at its end.
        log: whether it is logarithmic.
        categories: names by place; empty for numbers. A category's value is its place, from 0.
        ticks: the marked places, inside the range.
        layout: Plotly's settings of this axis.
    """

    low: float
    high: float
    log: bool
    categories: tuple[str, ...]
    ticks: tuple[Tick, ...]
    layout: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The axis title, empty without one."""
        return str((self.layout.get("title") or {}).get("text") or "")

    @property
    def grid(self) -> bool:
        """Whether each tick has a line across the figure."""
        return bool(self.layout.get("showgrid", True))

    def number(self, value: Any) -> float:
        """A value of a trace as a number of this axis."""
        return float(self.categories.index(str(value))) if self.categories else float(value)

    def share(self, value: float) -> float:
        """Where a value lies along the axis, 0 at its beginning and 1 at its end."""
        if self.log:
            low, high, value = (math.log10(max(v, 1e-12)) for v in (self.low, self.high, value))
            return (value - low) / ((high - low) or 1.0)
        return (value - self.low) / ((self.high - self.low) or 1.0)


def axis_of(values: Sequence[Any], layout: Mapping[str, Any], zero: bool) -> Axis:
    """Make the axis that holds all values.

    Args:
        values: everything that is drawn along it: numbers, or names of categories.
        layout: Plotly's settings of the axis.
        zero: whether bars begin at zero on it.
    """
    if layout.get("type") == "category" or any(isinstance(v, str) for v in values):
        return _category_axis(values, layout)
    log = layout.get("type") == "log"
    numbers = [float(v) for v in values if v is not None and (not log or v > 0)] or [0.0, 1.0]
    low, high = _range(numbers, layout, zero, log)
    ticks = tuple(t for t in _ticks(low, high, log, layout) if low <= t.value <= high)
    return Axis(low, high, log, (), ticks, layout)


def _category_axis(values: Iterable[Any], layout: Mapping[str, Any]) -> Axis:
    names = tuple(dict.fromkeys(str(v) for v in values))
    ticks = tuple(Tick(float(i), name) for i, name in enumerate(names))
    low, high = -0.5, len(names) - 0.5
    if layout.get("autorange") == "reversed":
        low, high = high, low
    return Axis(low, high, False, names, ticks, layout)


def _range(numbers: Sequence[float], layout: Mapping[str, Any], zero: bool, log: bool) -> tuple[float, float]:
    if layout.get("range"):
        low, high = (float(v) for v in layout["range"])
        return low, high
    low, high = min(numbers), max(numbers)
    if log:
        return low / 1.15, high * 1.15
    if zero or layout.get("rangemode") == "tozero":
        low, high = min(0.0, low), max(0.0, high)
    room = PADDING * ((high - low) or 1.0)
    return (low if low == 0 else low - room), (high if high == 0 else high + room)


def _ticks(low: float, high: float, log: bool, layout: Mapping[str, Any]) -> Iterable[Tick]:
    if layout.get("showticklabels") is False:
        return
    suffix = str(layout.get("ticksuffix") or "")
    if layout.get("tickvals") is not None:
        labels = layout.get("ticktext") or [_plain(v) + suffix for v in layout["tickvals"]]
        yield from (Tick(float(v), str(t)) for v, t in zip(layout["tickvals"], labels, strict=True))
        return
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        yield from (Tick(10.0**p, _plain(10.0**p)) for p in powers)
        return
    step = float(layout.get("dtick") or _nice_step(high - low, int(layout.get("nticks") or 6)))
    first = math.ceil(low / step - 1e-9)
    for i in range(first, math.floor(high / step + 1e-9) + 1):
        yield Tick(i * step, _plain(round(i * step, 10)) + suffix)


def _nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that gives about `most` ticks at most."""
    rough = (span or 1.0) / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9))


def _plain(value: float) -> str:
    return number(float(value), 4)
