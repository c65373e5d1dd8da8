"""Intervals and tests over questions; scipy does the work where it has the method.

The unit is the question. Levels are two-sided (0.95 leaves 2.5 % on each side). Nothing here decides a verdict.

Methods: Wilson (display of rates), Clopper-Pearson (verdicts on rates), Tango's score interval (paired difference
of proportions; T. Tango, Statistics in Medicine 17:891-908, 1998), exact McNemar, t and BCa bootstrap (means; the
wider of the two, since each is too narrow somewhere at small n), Holm (several tests at once).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]
RESAMPLES = 5_000
_SEED = 20_250_905
_BATCH = 500


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval; `method` names how it was made."""

    low: float
    high: float
    level: float
    method: str

    @property
    def bounds(self) -> tuple[float, float]:
        """`(low, high)`, the form in which results carry it."""
        return self.low, self.high


@dataclass(frozen=True)
class PairedCounts:
    """Pass/fail of the same questions on both sides.

    Attributes:
        both: passed on both.
        only_reference: passed on the reference only (losses).
        only_candidate: passed on the candidate only (gains).
        neither: passed on neither.
    """

    both: int
    only_reference: int
    only_candidate: int
    neither: int

    @classmethod
    def from_outcomes(cls, reference: Sequence[bool], candidate: Sequence[bool]) -> PairedCounts:
        """Count question by question; both sequences are in the same order.

        Raises:
            ValueError: the sequences differ in length.
        """
        pairs = list(zip(map(bool, reference), map(bool, candidate), strict=True))
        return cls(
            both=pairs.count((True, True)),
            only_reference=pairs.count((True, False)),
            only_candidate=pairs.count((False, True)),
            neither=pairs.count((False, False)),
        )

    @property
    def n(self) -> int:
        """Number of questions."""
        return self.both + self.only_reference + self.only_candidate + self.neither

    @property
    def difference(self) -> float:
        """Candidate's rate minus reference's rate, in [-1, 1]; NaN without questions."""
        return (self.only_candidate - self.only_reference) / self.n if self.n else math.nan


def share(successes: int, n: int) -> float | None:
    """The rate, None without questions."""
    return successes / n if n else None


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a rate; the whole unit interval when `n` is 0."""
    return _binomial(successes, n, level, "wilson", "Wilson")


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Interval:
    """The exact interval of a rate; the whole unit interval when `n` is 0."""
    return _binomial(successes, n, level, "exact", "Clopper-Pearson")


@lru_cache(maxsize=4096)  # Survival curves ask for the same few counts at every step.
def _binomial(successes: int, n: int, level: float, method: str, name: str) -> Interval:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return Interval(0.0, 1.0, level, name)
    found = stats.binomtest(successes, n).proportion_ci(level, method=method)
    return Interval(float(found.low), float(found.high), level, name)


def mcnemar_exact(counts: PairedCounts) -> float:
    """Two-sided exact p-value that losses and gains are equally likely; 1 when there are none."""
    discordant = counts.only_reference + counts.only_candidate
    if discordant == 0:
        return 1.0
    return float(stats.binomtest(counts.only_reference, discordant, 0.5).pvalue)


def tango_z(gains: float, losses: float, n: float, difference: float) -> float:
    """Tango's score statistic against "the true difference is `difference`"; positive when more was observed.

    Fractional counts are allowed, for planning. The nuisance rate is its constrained maximum-likelihood estimate.
    """
    distance = gains - losses - n * difference
    linear = (2 * n - gains + losses) * difference - gains - losses
    product = losses * difference * (1 - difference)
    rate = (math.sqrt(linear * linear + 8 * n * product) - linear) / (4 * n)
    variance = n * (2 * rate + difference * (1 - difference))
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def tango(counts: PairedCounts, level: float = 0.95) -> Interval:
    """Interval of the paired difference, candidate minus reference; [-1, 1] without questions."""
    if counts.n == 0:
        return Interval(-1.0, 1.0, level, "Tango")
    limit = float(stats.norm.ppf((1 + level) / 2))

    def bound(sign: float, edge: float) -> float:
        def gap(difference: float) -> float:
            return tango_z(counts.only_candidate, counts.only_reference, counts.n, difference) - sign * limit

        inner, outer = counts.difference, edge
        near = outer + (inner - outer) * 1e-9
        if inner == outer or gap(near) * sign <= 0:
            return outer
        return float(optimize.brentq(gap, inner, near))

    return Interval(bound(1.0, -1.0), bound(-1.0, 1.0), level, "Tango")


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Interval of a mean over questions: the wider of t and BCa bootstrap. Independent of the values' order.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    return ratio_interval(values, np.ones(np.shape(values)), level)


def ratio_interval(sums: ArrayLike, weights: ArrayLike, level: float = 0.95) -> Interval:
    """Interval of `sum(sums) / sum(weights)` with the question as the unit: the wider of t and BCa bootstrap.

    Args:
        sums: per-question totals, e.g. of a token metric; shape (questions,).
        weights: per-question sizes, e.g. token counts, positive; shape (questions,).
        level: two-sided confidence level.

    Raises:
        ValueError: fewer than two questions, a value that is not finite, or a weight that is not positive.
    """
    top, bottom = _finite(sums), _finite(weights)
    if top.shape != bottom.shape or top.ndim != 1 or len(top) < 2 or (bottom <= 0).any():
        raise ValueError("needs two or more questions with positive weights")
    order = np.lexsort((bottom, top))  # resampling draws by position: sort, so that order cannot matter
    top, bottom = top[order], bottom[order]
    estimate = float(top.sum() / bottom.sum())
    residuals = (top - estimate * bottom) / bottom.mean()
    error = float(np.sqrt((residuals**2).sum() / (len(top) - 1) / len(top)))
    half = error * float(stats.t.ppf((1 + level) / 2, len(top) - 1))
    low, high = estimate - half, estimate + half
    method = "t"
    if not np.allclose(residuals, 0.0, atol=1e-12 * max(1.0, abs(estimate))):
        found = stats.bootstrap(
            (top, bottom),
            lambda a, b, axis=-1: a.sum(axis=axis) / b.sum(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=_BATCH,
            confidence_level=level,
            method="BCa",
            rng=np.random.default_rng(_SEED),
        ).confidence_interval
        if math.isfinite(found.low) and math.isfinite(found.high):
            low, high = min(low, float(found.low)), max(high, float(found.high))
            method = "wider of t and BCa bootstrap"
    return Interval(low, high, level, method)


def quantile_intervals(
    groups: Sequence[ArrayLike], quantiles: Sequence[float], level: float = 0.95
) -> list[tuple[float, Interval]]:
    """Quantiles of the pooled values with percentile-bootstrap intervals that resample whole groups (questions).

    Returns:
        For each quantile its value and interval. A quantile is the smallest value with at least that share of
        all values at or below it.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    arrays = sorted((_finite(g) for g in groups), key=lambda a: (a.size, a.sum()))
    pooled = np.concatenate(arrays) if arrays else np.empty(0)
    if not pooled.size:
        raise ValueError("no values")
    owner = np.repeat(np.arange(len(arrays)), [a.size for a in arrays])
    order = np.argsort(pooled, kind="stable")
    pooled, owner = pooled[order], owner[order]
    rng = np.random.default_rng(_SEED)
    drawn = np.empty((RESAMPLES // 5, len(quantiles)))
    for row in drawn:
        counts = rng.multinomial(len(arrays), np.full(len(arrays), 1 / len(arrays)))
        row[:] = _weighted_quantiles(pooled, counts[owner], quantiles)
    values = _weighted_quantiles(pooled, np.ones(len(pooled)), quantiles)
    tail = (1 - level) / 2
    lows, highs = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    name = "percentile bootstrap over questions"
    return [
        (float(v), Interval(min(float(lo), float(v)), max(float(hi), float(v)), level, name))
        for v, lo, hi in zip(values, lows, highs, strict=True)
    ]


def _weighted_quantiles(ordered: Floats, weights: NDArray[Any], quantiles: Sequence[float]) -> Floats:
    cumulative = np.cumsum(weights, dtype=np.float64)
    if cumulative[-1] == 0:  # only empty groups were drawn
        return np.full(len(quantiles), np.nan)
    wanted = np.asarray(quantiles) * cumulative[-1]
    positions = np.searchsorted(cumulative, wanted - 1e-9, side="left")
    found: Floats = ordered[np.minimum(positions, len(ordered) - 1)]
    return found


def _finite(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("a value is not finite")
    return array


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: reject those at or below the family's level."""
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def smallest_size(decides: Callable[[int], bool], above: int, cap: int) -> int | None:
    """The smallest size in (above, cap] at which `decides(size)` holds, None when there is none.

    `decides` must not turn false again as the size grows.
    """
    low, high = above, cap
    if high <= low or not decides(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
