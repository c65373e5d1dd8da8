"""One pair and one symptom over time: what each finished session measured, and which of them can be set side by side.

A line joins only sessions that measured the same thing: the metric in its present version, the same question set, as
many questions, the same way of sampling. The newest session says what that is; the others are shown, and say why they
are not joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from wfgy_triage.report.charts_fix import fp16_interval, gate_line, value_interval
from wfgy_triage.result import Result, State, question_set
from wfgy_triage.store.records import RunRecord

FIRST_VERSION = "1"
"""Version of the metrics in sessions from before results named it."""
METRICS = "metrics"
"""Name of that version among a result's versions."""

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


@dataclass(frozen=True)
class Trend:
    """The points, oldest first, with why each is not comparable with the newest; empty where it is.

    `left_out` is how many older sessions are not among them.
    """

    points: tuple[TrendPoint, ...]
    apart: tuple[str, ...]
    left_out: int = 0

    @property
    def newest(self) -> TrendPoint | None:
        """The point that the others are held against."""
        return self.points[-1] if self.points else None

    @property
    def joined(self) -> tuple[TrendPoint, ...]:
        """The points that are comparable and have a value."""
        return tuple(
            p for p, why in zip(self.points, self.apart, strict=True) if not why and p.exl2 is not None
        )

    @property
    def alone(self) -> tuple[TrendPoint, ...]:
        """The points that have a value and are not comparable, but in the same unit."""
        unit = self.points[-1].unit if self.points else ""
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
    )


def trend_of(points: Sequence[TrendPoint], left_out: int = 0) -> Trend:
    """Order the points by time and hold each against the newest."""
    ordered = tuple(sorted(points, key=lambda p: (p.at, p.run_id)))
    return Trend(ordered, tuple(_apart(p, ordered[-1]) for p in ordered), left_out)


def _apart(point: TrendPoint, newest: TrendPoint) -> str:
    """Why a point cannot be joined with the newest, in a few words; empty where it can."""
    reasons = [
        ("another metric", (point.metric, point.unit) != (newest.metric, newest.unit)),
        ("another version of the metric", point.version != newest.version),
        ("another question set", point.workload != newest.workload),
        ("other sampling settings", point.sampling != newest.sampling),
        (f"{point.questions} questions, not {newest.questions}", point.questions != newest.questions),
    ]
    return ", ".join(words for words, differs in reasons if differs)
