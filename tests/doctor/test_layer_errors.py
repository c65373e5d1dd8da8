"""Telling rounding, damage and another model apart: synthetic matrices with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.doctor.layer_errors import MatrixError, expected_error, judge_layers, matrix_error


def rounded(seed: int, bits: float = 4.0, scale: float = 1.0, groups: int = 4) -> MatrixError:
    """A normal matrix against itself with the noise that so many bits make, then scaled."""
    draw = np.random.default_rng(seed)
    original = draw.normal(size=(128, 96))
    decoded = scale * (original + draw.normal(size=original.shape) * expected_error(bits))
    sums = tuple((a * b).sum(0) for a, b in ((original, original), (original, decoded), (decoded, decoded)))
    return matrix_error(f"m{seed:02}", bits, sums, np.arange(96) * groups // 96)


def foreign(seed: int) -> MatrixError:
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=(2, 128, 96))
    return matrix_error(f"m{seed:02}", 4.0, tuple((x * y).sum(0) for x, y in ((a, a), (a, b), (b, b))), None)


def test_numbers_of_one_matrix():
    halved = rounded(0, bits=8.0, scale=0.5)
    assert halved.error == pytest.approx(0.5, abs=0.01)
    assert halved.gain == pytest.approx(2.0, abs=0.01)
    assert halved.cosine == pytest.approx(1.0, abs=0.001)
    assert len(halved.group_gains) == 4
    assert foreign(1).error == pytest.approx(np.sqrt(2), abs=0.05)


@pytest.mark.parametrize(("bits", "error"), [(2.3, 0.401), (4.2, 0.107), (6.65, 0.025), (8.2, 0.007)])
def test_the_expectation_is_that_of_normal_matrices(bits: float, error: float):
    assert expected_error(bits) == pytest.approx(error, rel=0.45)


@given(
    bits=st.lists(st.sampled_from([2.1, 3.1, 4.0, 5.0, 6.1, 8.0]), min_size=4, max_size=12),
    order=st.randoms(),
)
def test_rounding_alone_is_never_damage_whatever_the_order(bits, order):
    errors = [rounded(i, b) for i, b in enumerate(bits)]
    first = judge_layers(errors)
    order.shuffle(errors)
    assert judge_layers(errors) == first
    assert not first.other_model
    assert first.damaged == ()
    assert first.elsewhere is None


@given(
    victim=st.integers(0, 9),
    bits=st.sampled_from([2.1, 3.1, 4.0, 6.1, 8.0]),
    scale=st.sampled_from([0.25, 0.5, 2.0]),
)
def test_one_scaled_matrix_is_found(victim: int, bits: float, scale: float):
    errors = [rounded(i, bits, scale if i == victim else 1.0) for i in range(10)]
    assert [d.key for d in judge_layers(errors).damaged] == [f"m{victim:02}"]


@given(victim=st.integers(0, 9))
def test_one_foreign_matrix_is_damage_and_all_of_them_another_model(victim: int):
    errors = [foreign(i) if i == victim else rounded(i) for i in range(10)]
    report = judge_layers(errors)
    assert [d.key for d in report.damaged] == [f"m{victim:02}"]
    assert not report.other_model
    assert judge_layers([foreign(i) for i in range(10)]).other_model


def test_a_fine_tune_is_told_as_elsewhere():
    errors = [rounded(i, 3.0) for i in range(10)]
    moved = [MatrixError(e.key, 6.0, e.error, e.gain, e.cosine) for e in errors]
    assert judge_layers(moved).elsewhere > 3
    assert judge_layers(moved).damaged == ()


def test_zero_and_not_a_number():
    zeros = np.zeros(8)
    assert matrix_error("z", 4.0, (zeros, zeros, zeros), None).error == 0
    broken = MatrixError("b", 4.0, float("nan"), float("nan"), float("nan"))
    assert [d.key for d in judge_layers([rounded(0), rounded(1), rounded(2), broken]).damaged] == ["b"]
