from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.measure.duplicates import duplicate_texts, duplicate_vectors, shingles

TEXT = "The pump must be rinsed every twelve days, or the motor stops and the red lamp blinks."


def test_shingles_ignore_case_and_punctuation():
    assert shingles("The pump, stops!") == {("the", "pump", "stops")}
    assert shingles("a b c d") == {("a", "b", "c"), ("b", "c", "d")}
    assert shingles("One") == {("one",)}


def test_copies_with_a_changed_letter_case_or_end_are_found():
    texts = [TEXT, "Something else entirely stands here.", TEXT.upper() + "!", TEXT.replace("red", "green")]
    # Of 15 shingles a changed word in the middle moves three: 12 shared of 18, below the threshold.
    assert duplicate_texts(texts).tolist() == [True, False, True, False]
    assert duplicate_texts([TEXT]).tolist() == [False]
    assert duplicate_texts([]).tolist() == []


def test_vectors_that_point_the_same_way():
    rows = np.array([[1.0, 0.0], [5.0, 0.01], [0.0, 1.0], [0.0, -1.0]])
    assert duplicate_vectors(rows).tolist() == [True, True, False, False]


@given(st.lists(st.text("abc ", min_size=1, max_size=30), max_size=12))
def test_like_counting_pair_by_pair(texts):
    def alike(i: int, j: int) -> bool:
        a, b = shingles(texts[i]), shingles(texts[j])
        return len(a & b) / len(a | b) >= 0.8

    n = len(texts)
    assert duplicate_texts(texts).tolist() == [any(alike(i, j) for j in range(n) if j != i) for i in range(n)]
