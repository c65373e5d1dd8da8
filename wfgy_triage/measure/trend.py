"""Quantities that are followed over the steps of a chain: means a step, rolling means, slopes.

A chain is a sequence with one number a step, None where the step has none. A slope is fitted to each chain alone, so
that the chain stays the unit: the mean of slopes and its interval then come from `statistics.mean_interval`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from wfgy_triage.measure.statistics import Interval

MIN_POINTS = 10
"""Steps that a slope needs."""
Steps = Sequence[float | None]


@dataclass(frozen=True)
class StepMean:
    """The mean over chains at one step (from 1); the interval is None with fewer than two chains there."""

    step: int
    value: float
    interval: Interval | None
    chains: int


def per_step(values: Sequence[float], steps: Sequence[int], horizon: int) -> list[float | None]:
    """Mean of token values step by step.

    Args:
        values: one number a token.
        steps: the step that each token belongs to, from 1; 0 for none.
        horizon: length of the result.

    Raises:
        ValueError: the two differ in length.
    """
    sums: list[list[float]] = [[] for _ in range(horizon)]
    for value, step in zip(values, steps, strict=True):
        if 1 <= step <= horizon:
            sums[step - 1].append(value)
    return [float(np.mean(part)) if part else None for part in sums]


def rolling_mean(values: Steps, window: int = 5) -> list[float | None]:
    """Mean of the last `window` numbers at each step; steps without a number are passed over and have no mean."""
    recent: list[float] = []
    rolled: list[float | None] = []
    for value in values:
        if value is None:
            rolled.append(None)
            continue
        recent = [*recent, value][-window:]
        rolled.append(float(np.mean(recent)))
    return rolled


def slope(values: Steps) -> float | None:
    """Least-squares change a step; None with fewer than `MIN_POINTS` numbers."""
    points = [(step, value) for step, value in enumerate(values, 1) if value is not None]
    if len(points) < MIN_POINTS:
        return None
    steps, numbers = zip(*points, strict=True)
    return float(stats.linregress(steps, numbers).slope)


def step_means(chains: Sequence[Steps], level: float = 0.95) -> list[StepMean]:
    """Mean over chains at every step that any of them has, with a t interval."""
    means = []
    for step in range(1, max((len(c) for c in chains), default=0) + 1):
        here = [c[step - 1] for c in chains if step <= len(c)]
        found = np.array([v for v in here if v is not None], dtype=np.float64)
        if not found.size:
            continue
        value = float(found.mean())
        interval = None
        if found.size > 1:
            half = float(
                stats.t.ppf((1 + level) / 2, found.size - 1) * found.std(ddof=1) / np.sqrt(found.size)
            )
            interval = Interval(value - half, value + half, level, "t")
        means.append(StepMean(step, value, interval, int(found.size)))
    return means
