"""Places compared: held against counted sign flips and scipy, calibrated without a difference, stronger with one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wfgy_triage.measure.places import moved
from wfgy_triage.measure.statistics import PairedCounts, clopper_pearson, mcnemar_exact

PLACES = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=9)


def counted(pairs: list[tuple[int, int]]) -> float:
    """Every flip of signs, one by one."""
    steps = [round(math.log(c / r), 9) for r, c in pairs if r != c]
    ranks = stats.rankdata(np.abs(steps)) * np.sign(steps)
    sums = [sum(s * abs(r) for s, r in zip(signs, ranks, strict=True))
            for signs in itertools.product((1, -1), repeat=len(ranks))]  # fmt: skip
    return min(1.0, 2 * sum(s >= abs(ranks.sum()) - 1e-9 for s in sums) / len(sums))


@given(PLACES)
def test_the_p_value_is_that_of_all_flips_and_does_not_depend_on_names(pairs: list[tuple[int, int]]):
    found = moved([r for r, _ in pairs], [c for _, c in pairs])
    assert found.later == sum(c > r for r, c in pairs)
    assert found.earlier == sum(c < r for r, c in pairs)
    turned = moved([c for _, c in pairs], [r for r, _ in pairs])
    assert (turned.later, turned.earlier, turned.p_value) == (found.earlier, found.later, found.p_value)
    lean = sum(np.sign(c - r) for r, c in pairs)
    if found.p_value < 1:
        assert lean != 0
        assert found.p_value == pytest.approx(counted(pairs))


def test_many_places_agree_with_the_normal_approximation():
    rng = np.random.default_rng(3)
    reference = rng.integers(1, 40, 60)
    candidate = np.maximum(1, np.round(reference * np.exp(rng.normal(0.25, 0.6, 60))))
    steps = np.round(np.log(candidate / reference), 9)
    near = stats.wilcoxon(steps[steps != 0], method="asymptotic").pvalue
    assert 0.001 < near < 0.2
    assert moved(reference.tolist(), candidate.tolist()).p_value == pytest.approx(near, rel=0.1)


def test_few_far_moves_one_way_and_many_short_ones_the_other_name_no_direction():
    reference = [10] * 8 + [1, 1, 1, 1, 1]
    candidate = [9] * 8 + [90, 80, 70, 60, 50]
    found = moved(reference, candidate)
    assert (found.later, found.earlier, found.p_value) == (5, 8, 1.0)


def test_equal_steps_are_equal_wherever_they_are():
    """1 to 2 and 10 to 20 share a rank, so one of each kind the other way leaves nothing over."""
    assert moved([1, 20, 30, 3], [2, 10, 15, 6]).p_value == 1.0
    assert moved([1, 10, 5, 7], [2, 20, 10, 14]).p_value == pytest.approx(2 / 16)


def test_nothing_moved_one_moved_and_a_passage_that_was_not_ranked():
    assert moved([], []).p_value == moved([3, 4], [3, 4]).p_value == moved([1], [9]).p_value == 1.0
    lost = moved([1, 2, 3, math.inf], [math.inf, 4, 9, math.inf])
    assert (lost.later, lost.earlier, lost.p_value) == (3, 0, pytest.approx(2 / 8))
    with pytest.raises(ValueError, match="counted from 1"):
        moved([0], [1])
    with pytest.raises(ValueError, match="zip"):
        moved([1], [1, 2])


def test_sides_that_could_be_exchanged_are_accused_no_more_often_than_was_asked():
    """Heavy tails and many ties, as places have them: at most 1 in 100 at p of 0.01, both directions together."""
    rng, hits, runs = np.random.default_rng(11), 0, 300
    for _ in range(runs):
        places = np.ceil(np.exp(rng.exponential(0.9, (2, 40))))
        hits += moved(*places.tolist()).p_value <= 0.01
    assert clopper_pearson(hits, runs).low <= 0.01
    assert hits <= 8  # 1 in 100 would give more in one case of 250


def test_it_finds_far_moves_that_the_sign_test_misses():
    """Sixty passages move, three in five of them later, and those farther."""
    rng, found, signs, runs = np.random.default_rng(5), 0, 0, 100
    for _ in range(runs):
        later = rng.random(60) < 0.6
        steps = np.where(later, 2.0, 0.5) * rng.exponential(1.0, 60)
        reference = np.exp(rng.uniform(4, 5, 60))
        candidate = np.maximum(1, reference * np.exp(np.where(later, steps, -steps)))
        both = moved(reference.tolist(), candidate.tolist())
        found += both.p_value <= 0.01
        signs += mcnemar_exact(PairedCounts(0, both.later, both.earlier, 0)) <= 0.01
    assert found > 0.7 * runs > 2 * signs
