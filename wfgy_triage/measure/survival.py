"""How far chains get before something happens: Kaplan-Meier curves of steps, with bands and a median.

The unit is the chain. A chain that was watched to its end, or whose text was cut off, without the event is censored:
it counts up to where it was seen and says nothing about later steps. scipy makes the curve and its log-log band
(Greenwood's variance). Where that band is undefined (nothing has happened yet, or to everyone) the exact binomial
bound takes its place: of the chains still watched, none or all had the event.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from wfgy_triage.measure.statistics import clopper_pearson


@dataclass(frozen=True)
class Lifetime:
    """One chain: how many steps were good, and whether the event ended them (False: censored there)."""

    steps: int
    ended: bool


@dataclass(frozen=True)
class SurvivalPoint:
    """The share of chains that are past `step` without the event, with its band; `at_risk`: chains watched there."""

    step: int
    share: float
    low: float
    high: float
    at_risk: int


@dataclass(frozen=True)
class Survival:
    """A survival curve.

    Attributes:
        points: one for each step from 0 to the horizon.
        chains: how many chains.
        events: how many of them had the event.
        median: the step at which half of the chains have had the event; None when fewer than half have.
        median_low: lower bound of the median; None when even that is beyond the horizon.
        median_high: upper bound; None when it is beyond the horizon.
        level: two-sided confidence level of the band and of the median's bounds.
    """

    points: tuple[SurvivalPoint, ...]
    chains: int
    events: int
    median: int | None
    median_low: int | None
    median_high: int | None
    level: float


def kaplan_meier(lifetimes: Sequence[Lifetime], horizon: int, level: float = 0.95) -> Survival | None:
    """Estimate the survival curve; None without chains. The order of the chains does not matter.

    Args:
        lifetimes: one a chain; the event after `steps` good ones, or censored there.
        horizon: last step of the curve; nothing is known beyond it.
        level: two-sided confidence level.

    Raises:
        ValueError: a lifetime is negative or beyond the horizon.
    """
    if not lifetimes:
        return None
    if any(not 0 <= life.steps <= horizon for life in lifetimes):
        raise ValueError(f"a lifetime lies outside 0 to {horizon}")
    times = np.array([life.steps for life in lifetimes], dtype=np.float64)
    ended = np.array([life.ended for life in lifetimes], dtype=bool)
    curve = stats.ecdf(stats.CensoredData(uncensored=times[ended], right=times[~ended])).sf
    with warnings.catch_warnings():  # undefined bounds come back as NaN and are replaced below
        warnings.simplefilter("ignore", RuntimeWarning)
        band = curve.confidence_interval(level, method="log-log")
    points = []
    for step in range(horizon + 1):
        at_risk = int((times >= step).sum())
        place = int(np.searchsorted(curve.quantiles, step, side="right")) - 1
        share = float(curve.probabilities[place]) if place >= 0 else 1.0
        low = float(band.low.probabilities[place]) if place >= 0 else math.nan
        high = float(band.high.probabilities[place]) if place >= 0 else math.nan
        if not (math.isfinite(low) and math.isfinite(high)):
            low, high = _exact_bounds(share, lifetimes, step, level)
        points.append(SurvivalPoint(step, share, low, high, at_risk))
    return Survival(
        points=tuple(points),
        chains=len(lifetimes),
        events=int(ended.sum()),
        median=_first_at_or_below_half([p.share for p in points]),
        median_low=_first_at_or_below_half([p.low for p in points]),
        median_high=_first_at_or_below_half([p.high for p in points]),
        level=level,
    )


def restricted_median(curve: Survival, horizon: int) -> tuple[float, tuple[float, float]]:
    """The median and its bounds as numbers; what lies beyond the horizon becomes the horizon, the least it can be."""
    median, low, high = (
        float(horizon if v is None else v) for v in (curve.median, curve.median_low, curve.median_high)
    )
    return median, (low, high)


def _exact_bounds(
    share: float, lifetimes: Sequence[Lifetime], step: int, level: float
) -> tuple[float, float]:
    """Bounds where Greenwood's variance has no say: everybody is still there, or nobody."""
    if share >= 0.5:
        watched = sum(life.steps >= step for life in lifetimes)
        return clopper_pearson(watched, watched, level).low, 1.0
    ended = sum(life.ended for life in lifetimes)
    return 0.0, clopper_pearson(0, ended, level).high


def _first_at_or_below_half(shares: Sequence[float]) -> int | None:
    """The first step at which a curve is at one half or below; rounding in products of shares does not count."""
    return next((step for step, share in enumerate(shares) if share <= 0.5 + 1e-12), None)
