"""One pair and one symptom over time: what each finished session measured, and which of them can be set side by side.

A line joins only sessions that measured the same thing: the metric in its present version, the same question set, as
many questions, the same settings. The newest session says what that is; the others are shown, and say why they
are not joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from wfgy_triage.options import options_of
from wfgy_triage.report.charts_fix import fp16_interval, gate_line, value_interval
from wfgy_triage.result import Result, State, question_set
from wfgy_triage.store.records import RunRecord

FIRST_VERSION = "1"
"""Version of the metrics in sessions from before results named it."""
METRICS = "metrics"
"""Name of that version among a result's versions."""

_TOLD_APART = frozenset({"level", "chains", "sampling"})
"""Options that tell question sets apart, or that have a reason of their own."""

Bounds = tuple[float, float] | None


@dataclass(frozen=True)
class TrendPoint:
    """What one session measured of the metric that decides its symptom.

    Attributes:
        run_id: the session.
        at: when it ended (aware, UTC).
        title: what people call it; may be empty.
        imported: measured elsewhere.
        state: its verdict.
        metric: id of the metric; empty where the result has none that decides.
        label: its name in words.
        unit: of the values.
        fp16: the baseline's value, with its interval where it was stored.
        exl2: the EXL2 side's value, with its interval.
        gate: bound of the EXL2 side's value, and which way.
        questions: how many were asked.
        workload: what tells the question set from others.
        version: of the metrics.
        rules: how many metrics decide.
        sampling: `neutral`, or `suggested` where each side was asked with sampling settings of its own.
        options: the symptom's other settings by name (`k`, `mode`); empty where a session does not say what its probe
            chose.
    """

    run_id: str
    at: datetime
    title: str
    imported: bool
    state: State
    metric: str
    label: str
    unit: str
    fp16: float | None
    fp16_interval: Bounds
    exl2: float | None
    exl2_interval: Bounds
    gate: float | None
    gate_op: str
    questions: int
    workload: str
    version: str
    rules: int
    sampling: str = "neutral"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trend:
    """The points, oldest first, with why each is not comparable with the newest; empty where it is.

    `left_out` is how many older sessions are not among them.
    """

    points: tuple[TrendPoint, ...]
    apart: tuple[tuple[str, ...], ...]
    left_out: int = 0

    @property
    def newest(self) -> TrendPoint | None:
        """The point that the others are held against: see `trend_of`."""
        return _newest(self.points)

    @property
    def joined(self) -> tuple[TrendPoint, ...]:
        """The points that are comparable and have a value."""
        return tuple(
            p for p, why in zip(self.points, self.apart, strict=True) if not why and p.exl2 is not None
        )

    @property
    def alone(self) -> tuple[TrendPoint, ...]:
        """The points that have a value and are not comparable, but in the same unit."""
        unit = self.newest.unit if self.newest else ""
        return tuple(
            p
            for p, why in zip(self.points, self.apart, strict=True)
            if why and p.exl2 is not None and p.unit == unit
        )


def trend_point(record: RunRecord, result: Result) -> TrendPoint:
    """Read a finished session."""
    rules = [m for m in result.metrics if m.primary]
    metric = rules[0] if rules else None
    line = gate_line(metric.gate, metric.fp16) if metric else {}
    fp16_bounds = fp16_interval(result, metric) if metric else None
    return TrendPoint(
        run_id=record.id,
        at=record.finished_at or record.created_at,
        title=record.title,
        imported=record.imported,
        state=result.state,
        metric=metric.id if metric else "",
        label=metric.label if metric else "",
        unit=metric.unit if metric else "",
        fp16=metric.fp16 if metric else None,
        fp16_interval=(fp16_bounds[0], fp16_bounds[1]) if fp16_bounds else None,
        exl2=metric.exl2 if metric else None,
        exl2_interval=value_interval(metric.fp16, metric.gated_interval, metric.gate) if metric else None,
        gate=line.get("gate"),
        gate_op=line.get("gate_op", ""),
        questions=int(result.workload["questions"]),
        workload=question_set(result),
        version=str(result.versions.get(METRICS, FIRST_VERSION)),
        rules=len(rules),
        sampling=str(result.settings.get("sampling") or "neutral"),
        options=_options(result),
    )


def _options(result: Result) -> dict[str, str]:
    """As the probe has chosen, where it says so; else as asked, or as usual."""
    found = {**result.settings, **result.workload}
    asked = (o for o in options_of(result.symptom) if not o.file and o.name not in _TOLD_APART)
    return {o.name: str(o.usual if found.get(o.name) in (None, "") else found[o.name]) for o in asked}


def trend_of(points: Sequence[TrendPoint], left_out: int = 0) -> Trend:
    """Order the points by time and hold each against the newest that has a value, where any has one.

    A session whose models could not be loaded says nothing of what the others measured.
    """
    ordered = tuple(sorted(points, key=lambda p: (p.at, p.run_id)))
    newest = _newest(ordered)
    return Trend(ordered, tuple(_apart(p, newest) if newest else () for p in ordered), left_out)


def _newest(ordered: Sequence[TrendPoint]) -> TrendPoint | None:
    return next((p for p in reversed(ordered) if p.exl2 is not None), ordered[-1] if ordered else None)


def _apart(point: TrendPoint, newest: TrendPoint) -> tuple[str, ...]:
    """Why a point cannot be joined with the newest, each reason in a few words; empty where it can."""
    both = [name for name, value in point.options.items() if value and newest.options.get(name)]
    others = [name for name in both if point.options[name] != newest.options[name]]
    reasons = [
        ("another metric", bool(point.metric) and (point.metric, point.unit) != (newest.metric, newest.unit)),
        ("another version of the metric", point.version != newest.version),
        ("another question set", point.workload != newest.workload),
        ("other sampling settings", point.sampling != newest.sampling),
        (f"other settings ({' and '.join(others)})", bool(others)),
        (f"{point.questions} questions, not {newest.questions}", point.questions != newest.questions),
    ]
    return tuple(words for words, differs in reasons if differs)
