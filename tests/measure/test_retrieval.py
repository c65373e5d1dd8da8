from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference
from sklearn.preprocessing import normalize

from wfgy_triage.measure.retrieval import (
    found_at,
    geometry,
    gold_rank,
    rank_correlation,
    rank_order,
    reciprocal_rank,
    section_coverage,
    top_overlap,
    unit_rows,
)

SCORES = arrays(np.float64, st.integers(2, 30), elements=st.integers(-50, 50).map(float), unique=True)


def test_by_hand():
    order = rank_order([0.1, 0.9, 0.5, 0.5])
    assert order.tolist() == [1, 2, 3, 0]
    assert gold_rank(order, {3}) == 3
    assert gold_rank(order, {3, 2}) == 2
    assert gold_rank(order, {9}) is None
    assert [found_at(r, 2) for r in (1, 2, 3, None)] == [True, True, False, False]
    assert [reciprocal_rank(r) for r in (1, 4, None)] == [1.0, 0.25, 0.0]
    assert top_overlap(["a", "b", "c"], ["b", "a", "x"], 2) == 1.0
    assert top_overlap(["a", "b", "c"], ["b", "x", "y"], 3) == pytest.approx(1 / 3)
    assert section_coverage([0, 7], [0, 1], {0: 30, 1: 10}) == 0.75
    assert section_coverage([0], [], {}) is None


def test_vectors_are_centred_and_scaled():
    rows = unit_rows([[3.0, 4.0], [0.0, 0.0]])
    assert rows.tolist() == [[0.6, 0.8], [0.0, 0.0]]
    assert unit_rows([[4.0, 1.0]], center=[1.0, 1.0]).tolist() == [[1.0, 0.0]]
    found = geometry([[3.0, 4.0], [0.0, 2.0]])
    assert (found.vectors, found.dimensions, found.norm_low, found.norm_high) == (2, 2, 2.0, 5.0)
    assert not found.unit
    assert geometry(unit_rows(np.eye(3) * 7)).unit


@pytest.mark.parametrize("bad", [[[np.nan, 1.0]], [[np.inf, 1.0]], [1.0, 2.0]])
def test_broken_vectors_are_refused(bad):
    with pytest.raises(ValueError, match="finite|dimensions"):
        unit_rows(bad)


def test_empty_questions_are_refused():
    with pytest.raises(ValueError, match="no vectors"):
        geometry(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="nothing was ranked"):
        top_overlap([], ["a"], 5)


@given(SCORES, st.integers(1, 25), st.data())
def test_ranks_agree_with_scikit_learn(scores, k, data):
    gold = data.draw(st.integers(0, len(scores) - 1))
    rank = gold_rank(rank_order(scores), {gold})
    truth = np.array([[float(i == gold) for i in range(len(scores))]])
    mrr = reference.label_ranking_average_precision_score(truth, scores[None])
    assert reciprocal_rank(rank) == pytest.approx(mrr)
    assert found_at(rank, k) == (reference.coverage_error(truth, scores[None]) <= k)
    classes = np.arange(len(scores))
    top_k = (
        reference.top_k_accuracy_score([gold], scores[None], k=k, labels=classes)
        if len(classes) > 2
        else None
    )
    assert top_k is None or bool(top_k) == found_at(rank, k)


@given(SCORES)
def test_correlation_of_a_ranking_with_itself_and_its_reverse(scores):
    assert rank_correlation(scores, 3 * scores + 1) == pytest.approx(1.0)
    assert rank_correlation(scores, -scores) == pytest.approx(-1.0)


def test_correlation_by_the_textbook_formula():
    a, b = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0]
    assert rank_correlation(a, b) == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert rank_correlation([1.0, 1.0], [1.0, 2.0]) is None
    assert rank_correlation([1.0], [2.0]) is None
    with pytest.raises(ValueError, match="length"):
        rank_correlation([1.0, 2.0], [1.0])


@given(arrays(np.float64, (5, 4), elements=st.integers(-9, 9).map(float)), st.permutations(range(5)))
def test_cosines_do_not_depend_on_scale_or_order(rows, order):
    ours = unit_rows(rows)
    np.testing.assert_allclose(ours, normalize(rows), atol=1e-12)
    np.testing.assert_allclose(unit_rows(rows[order] * 7.5), ours[order], atol=1e-12)


@given(SCORES, st.integers(1, 40), st.data())
def test_a_larger_k_never_loses_a_passage(scores, k, data):
    gold = {data.draw(st.integers(0, len(scores) - 1))}
    rank = gold_rank(rank_order(scores), gold)
    assert found_at(rank, len(scores))
    assert not found_at(rank, k) or found_at(rank, k + 1)
