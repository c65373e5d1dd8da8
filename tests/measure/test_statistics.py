"""Intervals and tests against published tables, statsmodels, brute force, and exact coverage."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from wfgy_triage.measure.statistics import (
    PairedCounts,
    clopper_pearson,
    holm,
    mcnemar_exact,
    mean_interval,
    quantile_intervals,
    ratio_interval,
    share,
    smallest_size,
    tango,
    tango_z,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (14, 20, 0.481, 0.855),
        (16, 20, 0.584, 0.919),
        (18, 20, 0.699, 0.972),
        (19, 20, 0.764, 0.991),
        (20, 20, 0.839, 1),
    ],
)
def test_wilson_by_hand(successes, n, low, high):
    z = 1.959964
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    found = wilson(successes, n)
    assert found.bounds == pytest.approx((low, high), abs=6e-4)
    assert found.bounds == pytest.approx((centre - half, min(1.0, centre + half)), abs=1e-6)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 20), (3, 20), (20, 20), (77, 100), (995, 1000)]
)
def test_rate_intervals_equal_statsmodels(successes, n, level):
    assert wilson(successes, n, level).bounds == pytest.approx(
        proportion_confint(successes, n, 1 - level, "wilson"), abs=1e-9
    )
    assert clopper_pearson(successes, n, level).bounds == pytest.approx(
        proportion_confint(successes, n, 1 - level, "beta"), abs=1e-9
    )


def test_exact_interval_of_all_right_answers():
    assert clopper_pearson(20, 20).low == pytest.approx(0.025 ** (1 / 20))
    assert clopper_pearson(0, 20).high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_no_questions_means_no_knowledge():
    assert wilson(0, 0).bounds == clopper_pearson(0, 0).bounds == (0.0, 1.0)
    assert share(0, 0) is None
    assert share(3, 4) == 0.75
    assert tango(PairedCounts(0, 0, 0, 0)).bounds == (-1.0, 1.0)
    assert math.isnan(PairedCounts(0, 0, 0, 0).difference)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (1, 0)])
def test_impossible_counts_are_refused(successes, n):
    with pytest.raises(ValueError, match="successes of"):
        wilson(successes, n)


@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize("rate", [0.5, 0.7, 0.9, 1.0])
def test_exact_coverage_of_rate_intervals(n, rate):
    """No simulation needed: the chance of every outcome is known."""
    chances = stats.binom.pmf(np.arange(n + 1), n, rate)

    def coverage(method):
        spans = [method(k, n).bounds for k in range(n + 1)]
        return sum(c for c, (lo, hi) in zip(chances, spans, strict=True) if lo <= rate <= hi + 1e-12)

    assert coverage(clopper_pearson) >= 0.95
    assert coverage(wilson) >= 0.93
    assert coverage(wilson) <= (1.0 if rate == 1.0 else 0.98)


@pytest.mark.parametrize(
    ("losses", "gains", "p"),
    [(0, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (0, 6, 0.03125), (7, 1, 0.0703125), (8, 1, 0.0390625), (3, 3, 1.0)],
)  # fmt: skip
def test_mcnemar_by_hand_and_by_statsmodels(losses, gains, p):
    counts = PairedCounts(10, losses, gains, 2)
    assert mcnemar_exact(counts) == pytest.approx(p)
    if losses + gains:
        table = [[10, losses], [gains, 2]]
        assert mcnemar_exact(counts) == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_paired_counts_from_outcomes():
    reference = [True, True, True, False, False, True]
    candidate = [True, False, False, True, False, True]
    counts = PairedCounts.from_outcomes(reference, candidate)
    assert counts == PairedCounts(both=2, only_reference=2, only_candidate=1, neither=1)
    assert counts.n == 6
    assert counts.difference == pytest.approx(-1 / 6)
    with pytest.raises(ValueError, match="shorter|longer"):
        PairedCounts.from_outcomes([True], [])


def _score_by_maximisation(gains, losses, n, difference):
    """Tango's statistic with the constrained likelihood maximised numerically instead of in closed form."""
    low, high = max(0.0, -difference), (1 - difference) / 2

    def negative(loss_rate):
        gain_rate, rest = loss_rate + difference, 1 - 2 * loss_rate - difference
        terms = ((gains, gain_rate), (losses, loss_rate), (n - gains - losses, rest))
        return -sum(count * math.log(max(rate, 1e-300)) for count, rate in terms if count)

    found = optimize.minimize_scalar(negative, bounds=(low, high), method="bounded", options={"xatol": 1e-13})
    variance = n * (2 * found.x + difference * (1 - difference))
    return (gains - losses - n * difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("gains", "losses", "n"), [(2, 12, 50), (0, 3, 20), (5, 5, 44), (1, 0, 30), (9, 2, 25)]
)
@pytest.mark.parametrize("difference", [-0.6, -0.2, -0.01, 0.1, 0.35])
def test_tango_statistic_equals_numerical_maximisation(gains, losses, n, difference):
    expected = _score_by_maximisation(gains, losses, n, difference)
    assert tango_z(gains, losses, n, difference) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("n", [1, 5, 20, 200])
def test_tango_without_discordant_pairs(n):
    z2 = stats.norm.ppf(0.975) ** 2
    assert tango(PairedCounts(n, 0, 0, 0)).bounds == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), abs=1e-6)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_tango_holds_the_estimate_and_is_symmetric(both, losses, gains, neither):
    counts = PairedCounts(both, losses, gains, neither)
    low, high = tango(counts).bounds
    assert -1.0 <= low <= high <= 1.0
    if counts.n:
        assert low <= counts.difference + 1e-9
        assert high >= counts.difference - 1e-9
    mirrored = tango(PairedCounts(both, gains, losses, neither)).bounds
    assert mirrored == pytest.approx((-high, -low), abs=1e-6)


@pytest.mark.parametrize(
    ("gain", "loss"), [(0.0, 0.0), (0.0, 0.05), (0.05, 0.05), (0.05, 0.2), (0.3, 0.3), (0.0, 0.6)]
)
def test_exact_coverage_of_the_paired_difference(gain, loss):
    n, covered = 20, 0.0
    for gains in range(n + 1):
        for losses in range(n + 1 - gains):
            rest = n - gains - losses
            chance = stats.multinomial.pmf([gains, losses, rest], n, [gain, loss, 1 - gain - loss])
            if chance > 1e-9:
                low, high = tango(PairedCounts(rest, losses, gains, 0)).bounds
                covered += chance * (low - 1e-9 <= gain - loss <= high + 1e-9)
    assert covered >= 0.93


def test_mean_interval_is_at_least_the_t_interval():
    values = [0.01, 0.02, 0.05, 0.2, 0.03, 0.01, 0.08]
    low, high = mean_interval(values).bounds
    t_low, t_high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert low <= t_low + 1e-12
    assert high >= t_high - 1e-12


def test_ratio_interval_holds_scipys_bca_and_the_clustered_t():
    rng = np.random.default_rng(3)
    sizes = rng.integers(5, 60, 25).astype(float)
    sums = sizes * rng.gamma(0.5, 0.4, 25)
    low, high = ratio_interval(sums, sizes).bounds
    estimate = sums.sum() / sizes.sum()
    # Leave-one-out standard error: another road to the clustered one.
    left_out = np.array([(sums.sum() - s) / (sizes.sum() - w) for s, w in zip(sums, sizes, strict=True)])
    error = math.sqrt(24 / 25 * ((left_out - left_out.mean()) ** 2).sum())
    assert high - estimate >= 1.9 * error
    bca = stats.bootstrap(
        (sums, sizes), lambda a, b: a.sum() / b.sum(), paired=True, vectorized=False, n_resamples=2000, rng=1
    ).confidence_interval
    assert low <= bca.low + 0.02
    assert high >= bca.high - 0.02


def test_coverage_of_the_mean_interval():
    rng = np.random.default_rng(11)
    normal = [mean_interval(rng.normal(0.1, 0.05, 20)).bounds for _ in range(300)]
    skewed = [mean_interval(rng.exponential(0.1, 20)).bounds for _ in range(300)]
    assert 0.92 <= np.mean([lo <= 0.1 <= hi for lo, hi in normal]) <= 0.99
    assert np.mean([lo <= 0.1 <= hi for lo, hi in skewed]) >= 0.90


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
def test_mean_interval_refuses_what_has_no_spread(values):
    with pytest.raises(ValueError, match="finite|two or more"):
        mean_interval(values)


def test_equal_values_give_a_point():
    assert mean_interval([0.25] * 8).bounds == pytest.approx((0.25, 0.25))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.randoms(use_true_random=False))
def test_order_of_questions_does_not_matter(values, random):
    shuffled = values.copy()
    random.shuffle(shuffled)
    assert mean_interval(shuffled).bounds == pytest.approx(mean_interval(values).bounds, rel=1e-9, abs=1e-12)


def test_quantiles_equal_numpys_and_their_intervals_follow_the_questions():
    rng = np.random.default_rng(5)
    groups = [rng.exponential(scale, 40) for scale in rng.uniform(0.2, 2.0, 15)]
    found = quantile_intervals(groups, (0.5, 0.9, 0.99))
    pooled = np.concatenate(groups)
    for (value, interval), q in zip(found, (0.5, 0.9, 0.99), strict=True):
        assert value == np.quantile(pooled, q, method="inverted_cdf")
        assert interval.low <= value <= interval.high
    # Questions that are alike inside and differ from each other: tokens must not count as independent.
    blocks = [np.full(100, v) for v in np.linspace(0, 1, 11)]
    scattered = np.random.default_rng(0).permutation(np.concatenate(blocks)).reshape(11, 100)
    wide = quantile_intervals(blocks, (0.5,))[0][1]
    narrow = quantile_intervals(list(scattered), (0.5,))[0][1]
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_quantiles_refuse_nothing_and_nan():
    with pytest.raises(ValueError, match="no values"):
        quantile_intervals([], (0.5,))
    with pytest.raises(ValueError, match="not finite"):
        quantile_intervals([[1.0, math.nan]], (0.5,))


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_holm_equals_statsmodels(size):
    p_values = list(np.random.default_rng(size).beta(0.3, 1.0, size))
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.integers(0, 200), st.integers(1, 200))
def test_smallest_size_is_the_smallest(threshold, cap):
    found = smallest_size(lambda n: n >= threshold, 0, cap)
    assert found == next((n for n in range(1, cap + 1) if n >= threshold), None)


def test_intervals_shrink_with_the_level_and_with_questions():
    widths = [np.ptp(clopper_pearson(9 * m, 10 * m).bounds) for m in (1, 2, 5, 20, 100)]
    assert all(a > b for a, b in pairwise(widths))
    assert np.ptp(wilson(9, 10, 0.8).bounds) < np.ptp(wilson(9, 10, 0.99).bounds)
