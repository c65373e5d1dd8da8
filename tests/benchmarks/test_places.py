"""False accusations by the place of the right passage: none beyond chance without a difference, most runs with one."""

from __future__ import annotations

import numpy as np

from benchmarks.bench_places import count_runs


def drawn(seed: int) -> np.ndarray:
    """Places of 60 questions in four wordings; a question that is hard in one is so in the others."""
    rng = np.random.default_rng(seed)
    return (
        np.ceil(np.exp(rng.exponential(0.8, (60, 1)) + rng.normal(0, 0.5, (60, 4)))).clip(1).astype(np.int64)
    )


def test_one_model_in_other_words_is_hardly_ever_accused_and_never_in_the_same():
    places = drawn(1)
    other = count_runs(places, places, True, 40, 300)
    assert (other["questions"], other["runs"]) == (40, 300)
    assert other["later"]["interval"][0] <= 0.005
    assert other["later"]["count"] <= 5  # of 300 at 0.5 % more come in one case of two hundred
    same = count_runs(places, places, False, 40, 20)
    assert same["later"]["count"] == same["sign"]["count"] == 0


def test_passages_that_come_three_times_later_are_found():
    places = drawn(2)
    found = count_runs(places, 3 * places, True, 40, 50)
    assert found["later"]["count"] == 50
    earlier = count_runs(3 * places, places, True, 40, 50)
    assert earlier["later"]["count"] == 0
