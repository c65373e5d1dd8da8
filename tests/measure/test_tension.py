from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cosine

from wfgy_triage.measure.tension import Lambda, context_distance, course, flat_and_high, leads_away, observe

C, R, D, X = Lambda.CONVERGENT, Lambda.RECURSIVE, Lambda.DIVERGENT, Lambda.CHAOTIC


def test_distance_to_the_centroid():
    assert context_distance([1.0, 0.0], [[2.0, 0.0]]) == pytest.approx(0.0)
    assert context_distance([1.0, 0.0], [[1.0, 0.0], [0.0, 3.0]]) == pytest.approx(1 - np.sqrt(0.5))
    assert context_distance([1.0, 0.0], [[-1.0, 0.0]]) == pytest.approx(2.0)
    question, rows = np.array([1.0, 2.0, 3.0]), np.array([[4.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    center = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(0)
    assert context_distance(question, rows) == pytest.approx(cosine(question, center))
    with pytest.raises(ValueError, match="no passages"):
        context_distance([1.0], np.zeros((0, 1)))


@pytest.mark.parametrize(
    ("steps", "states"),
    [
        ([0.5, 0.4], (C,)),
        ([0.3, 0.31], (C,)),
        ([0.5, 0.51], (R,)),
        ([0.5, 0.53], (D,)),
        ([0.5, 0.55], (X,)),
        ([0.50, 0.515, 0.50, 0.515], (R, R, D)),
        ([0.9, 0.6, 0.61], (C, D)),  # level again, but E_resonance still falls
        ([0.4], ()),
    ],
)
def test_states_of_a_course(steps, states):
    assert observe(steps) == states


def test_leading_away_and_flat_courses():
    assert not leads_away([0.50, 0.51, 0.50])
    assert leads_away([0.50, 0.51, 0.58])
    assert flat_and_high([0.70, 0.71, 0.70])
    assert not flat_and_high([0.70, 0.65, 0.60])
    assert not flat_and_high([0.55, 0.55, 0.55])
    assert course({"20": 0.3, "5": 0.1, "10": 0.2}) == [0.1, 0.2, 0.3]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=12))
def test_every_step_has_a_state_and_a_falling_course_never_leads_away(steps):
    assert len(observe(steps)) == len(steps) - 1
    falling = [2 - 0.05 * i for i in range(len(steps))]
    assert not leads_away(falling)
