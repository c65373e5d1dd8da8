from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy

from wfgy_triage.measure.modulation import GAMMA_PAPER, attention_modulation, equivalent_temperature

VECTORS = st.lists(st.floats(-20, 20), min_size=2, max_size=30)


@pytest.mark.parametrize(
    ("sigma", "paper", "txt_os"),
    [(1, 1.65, 1.86), (2, 2.72, 3.44), (3, 4.48, 6.39), (4, 7.39, 11.85)],
)
def test_the_formula_is_a_temperature_above_one(sigma, paper, txt_os):
    assert equivalent_temperature(sigma, GAMMA_PAPER) == pytest.approx(paper, abs=0.01)
    assert equivalent_temperature(sigma) == pytest.approx(txt_os, abs=0.01)


def test_golden_value():
    # The standard deviation of 1, 3 is 1, so the factor is exp(-0.5).
    assert attention_modulation([1.0, 3.0], 0.5) == pytest.approx([math.exp(-0.5), 3 * math.exp(-0.5)])


@given(VECTORS, st.floats(0, 1))
def test_it_never_changes_the_likeliest_entry_and_never_sharpens(values, gamma):
    changed = attention_modulation(values, gamma)
    assert changed[int(np.argmax(values))] == changed.max()
    assert entropy(softmax(changed)) >= entropy(softmax(values)) - 1e-9
    # It is softmax at the equivalent temperature, and nothing else.
    heat = equivalent_temperature(float(np.std(values)), gamma)
    assert softmax(changed) == pytest.approx(softmax(np.array(values) / heat))


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, 1.0]])
def test_what_is_no_vector_is_refused(values):
    with pytest.raises(ValueError, match="not finite"):
        attention_modulation(values)
