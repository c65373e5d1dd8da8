from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.measure.voting import elect, path_weights

DISTANCES = st.lists(st.floats(0, 2), min_size=1, max_size=9)


def test_golden_weights():
    # exp(0), exp(-ln 2), exp(-ln 4) are 1, 1/2, 1/4: of 7 quarters 4, 2 and 1.
    assert path_weights([0.0, math.log(2), math.log(4)]) == pytest.approx([4 / 7, 2 / 7, 1 / 7])


@given(DISTANCES)
def test_weights_sum_to_one_and_follow_the_distance(distances):
    weights = path_weights(distances)
    assert weights.sum() == pytest.approx(1.0)
    assert weights.max() <= weights.min() * math.e**2 * (1 + 1e-9)
    order = np.argsort(distances, kind="stable")
    assert all(a >= b for a, b in zip(weights[order], weights[order][1:], strict=False))


@pytest.mark.parametrize("distances", [[], [math.nan], [[0.1]]])
def test_what_is_no_list_of_distances_is_refused(distances):
    with pytest.raises(ValueError, match="no paths"):
        path_weights(distances)


def test_the_majority_wins_up_to_white_space():
    assert elect(["a", "b  c", "b c"], [1, 1, 1], [-0.1, -0.5, -0.9]) == 1


def test_of_equally_many_the_likeliest_wins_then_the_first():
    assert elect(["a", "b", "c"], [1, 1, 1], [-0.3, -0.1, -0.2]) == 1
    assert elect(["a", "b"], [1, 1], [-0.1, -0.1]) == 0


def test_weights_can_outvote_a_majority():
    assert elect(["a", "a", "b"], [0.2, 0.2, 0.6], [-1, -1, -1]) == 2


@given(DISTANCES)
def test_equal_distances_are_a_majority_vote(distances):
    texts = [str(round(d)) for d in distances]
    equal = list(path_weights([1.0] * len(texts)))
    likelihoods = [-d for d in distances]
    assert elect(texts, equal, likelihoods) == elect(texts, [1.0] * len(texts), likelihoods)


def test_no_answers_are_refused():
    with pytest.raises(ValueError, match="no answers"):
        elect([], [], [])
