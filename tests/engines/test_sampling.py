"""Seeded draws: right distribution, right nucleus, and nothing but the request's own seed and step in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import chisquare

from wfgy_triage.engines.sampling import gumbel, nucleus, sample

LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -3.0], dtype=np.float32)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.8)])
def test_draws_follow_the_distribution(temperature, top_p):
    expected = softmax(LOGITS.astype(float) / temperature)
    kept = np.cumsum(expected) - expected < top_p
    expected = np.where(kept, expected, 0) / expected[kept].sum()
    draws = [sample(LOGITS, temperature, top_p, seed, 0).token for seed in range(4000)]
    counts = np.bincount(draws, minlength=6)
    assert not counts[~kept].any()
    # Fixed seeds: this cannot flicker. A wrong temperature or nucleus gives p below 1e-20.
    assert chisquare(counts[kept], expected[kept] * 4000).pvalue > 0.01


def test_steps_and_seeds_are_independent_streams():
    assert not np.array_equal(gumbel(1, 0, 8), gumbel(1, 1, 8))
    assert not np.array_equal(gumbel(1, 0, 8), gumbel(2, 0, 8))
    assert np.array_equal(gumbel(-1, 3, 8), gumbel(2**64 - 1, 3, 8))
    # A longer vocabulary (padding) leaves the noise of the ids before it alone.
    assert np.array_equal(gumbel(5, 2, 8), gumbel(5, 2, 30)[:8])


def test_a_low_temperature_is_greedy():
    assert {sample(LOGITS, 1e-4, 1.0, seed, 0).token for seed in range(50)} == {0}


def test_a_draw_at_the_edge_of_the_nucleus_has_no_gap():
    """Two of four equal tokens fill the nucleus exactly: rounding decides on the third, so the gap must say so."""
    logits = np.zeros(4, dtype=np.float32)
    gaps = [sample(logits, 1.0, 0.5, seed, 0).gap for seed in range(60)]
    assert 0.0 in gaps


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=40),
    st.floats(0.01, 1.0),
)
def test_nucleus_is_the_smallest_set_that_reaches_its_mass(values, top_p):
    logits = np.array(values)
    chosen = nucleus(logits, top_p)
    probabilities = softmax(logits)
    assert probabilities[chosen].sum() >= top_p - 1e-9
    assert probabilities[chosen[:-1]].sum() < top_p
    left_out = np.delete(probabilities, chosen)
    assert left_out.size == 0 or left_out.max() <= probabilities[chosen].min() + 1e-15


@given(
    st.integers(0, 2**32), st.integers(0, 99), st.sampled_from([0.05, 0.3, 0.7, 1.0, 4.0]), st.floats(0.1, 9)
)
def test_tokens_that_are_not_looked_at_could_not_have_won(seed, step, temperature, spread):
    """Against an argmax over the whole vocabulary, every token with its own noise."""
    logits = (np.random.default_rng(seed).standard_normal(2000) * spread).astype(np.float32)
    perturbed = logits.astype(np.float64) / temperature + gumbel(seed, step, 2000)
    choice = sample(logits, temperature, 1.0, seed, step)
    second, best = np.sort(perturbed)[-2:]
    assert choice.token == int(np.argmax(perturbed))
    assert choice.gap == pytest.approx(min(1.0, (best - second) * temperature))


@given(
    st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=30), st.integers(0, 2**70), st.integers(0, 999)
)
def test_the_gap_says_how_far_logits_may_move(values, seed, step):
    """Moving every logit by less than half the gap never changes the token."""
    logits = np.array(values, dtype=np.float64)
    choice = sample(logits, 0.7, 1.0, seed, step)
    push = np.full(len(logits), 0.49 * min(choice.gap, 5.0))
    push[choice.token] *= -1
    if choice.gap > 1e-9:
        assert sample(logits + push, 0.7, 1.0, seed, step).token == choice.token
