from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.measure.trend import per_step, rolling_mean, slope, step_means

numbers = st.floats(-1e3, 1e3)


def test_tokens_are_averaged_step_by_step():
    assert per_step([1.0, 3.0, 5.0, 9.0, 2.0], [1, 1, 3, 0, 7], 3) == [2.0, None, 5.0]


def test_a_token_without_a_step_is_an_error():
    with pytest.raises(ValueError, match="argument"):
        per_step([1.0], [1, 2], 3)


def test_rolling_mean_begins_with_what_is_there():
    assert rolling_mean([1.0, 3.0, None, 5.0], window=2) == [1.0, 2.0, None, 4.0]


@given(st.lists(numbers, min_size=10, max_size=60))
def test_rolling_mean_of_five_is_the_mean_of_five(values: list[float]):
    assert rolling_mean(values)[9] == pytest.approx(np.mean(values[5:10]), abs=1e-9)


@given(numbers, st.floats(-10, 10), st.sets(st.integers(0, 47), max_size=30))
def test_the_slope_of_a_line_is_its_slope_whatever_is_missing(start: float, change: float, missing: set[int]):
    values = [None if k in missing else start + change * k for k in range(48)]
    assert slope(values) == pytest.approx(change, abs=1e-6)


def test_the_slope_is_that_of_least_squares():
    rng = np.random.default_rng(1)
    values = rng.normal(size=48)
    assert slope(list(values)) == pytest.approx(np.polyfit(np.arange(48), values, 1)[0])


def test_too_few_steps_have_no_slope():
    assert slope([1.0] * 9) is None
    assert slope([1.0] * 9 + [None] * 30) is None


def test_step_means_against_numpy():
    chains = [[1.0, 2.0, None], [3.0, 6.0], [8.0, None, 4.0]]
    means = step_means(chains)
    assert [(m.step, m.value, m.chains) for m in means] == [(1, 4.0, 3), (2, 4.0, 2), (3, 4.0, 1)]
    # t(2; 0.975) = 4.302653; standard deviation of 1, 3, 8 is 3.605551
    assert means[0].interval is not None
    assert means[0].interval.high - 4 == pytest.approx(4.302653 * 3.605551 / np.sqrt(3), rel=1e-6)
    assert means[2].interval is None
