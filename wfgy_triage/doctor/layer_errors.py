"""How far each quantized matrix is from its FP16 original, and which matrices are further than their bits explain.

Three numbers a matrix W and its decoded twin Q: the relative error |W-Q|/|W|; the *gain* <W,Q>/<Q,Q>, the factor that
would bring Q closest to W (1 for rounding, 2 where scales were halved); the *cosine* <W,Q>/(|W||Q|), which is near 0
for unrelated matrices and for one whose rows were put in another order. Gain and cosine are also taken over each row
group, since one damaged scale changes a group only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNRELATED_COSINE = 0.6
"""Below it a matrix is not a rounded copy: 2-bit rounding stays near 0.92, another model near 0."""
MOSTLY = 0.5
"""From this share of unrelated matrices on it is another model, not damage."""
GAIN_OFF = 1.3
"""A gain beyond this factor (or its inverse) is no rounding: 2-bit rounding stays within 10 %."""
GROUP_GAIN_OFF = 1.6
"""The same for one row group, which is smaller and hence noisier."""
OUTLIER_SPREADS = 8.0
"""Robust spreads (scaled MAD of the log ratio) by which a damaged matrix stands out of the others."""
OUTLIER_FACTOR = 2.0
"""And at least this many times the typical ratio, however even the others are."""
ELSEWHERE_FACTOR = 3.0
"""From this typical ratio of error to expectation on the two are perhaps not the same revision; rounding by the
library's method stays within 0.9 to 1.7."""
WORTH_TELLING = 0.05
"""Relative errors below it hurt no answer, whatever their bits would allow."""
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class MatrixError:
    """One matrix against its original.

    Attributes:
        key: module name.
        bits: mean bits per weight of its groups, side tensors left out.
        error: relative Frobenius error.
        gain: factor that brings the decoded matrix closest to the original.
        cosine: of the two matrices as vectors.
        group_gains: gain of each row group, first to last; empty where it is not known.
        group_cosines: the same for the cosine.
    """

    key: str
    bits: float
    error: float
    gain: float
    cosine: float
    group_gains: tuple[float, ...] = ()
    group_cosines: tuple[float, ...] = ()


@dataclass(frozen=True)
class Damage:
    """A matrix that its bits do not explain, and what it looks like."""

    key: str
    looks: str


@dataclass(frozen=True)
class LayerReport:
    """What the errors of all matrices say together.

    Attributes:
        other_model: most matrices are unrelated.
        elsewhere: typical ratio of error to expectation where it is suspicious; None where it is not.
        damaged: the matrices that stand out, worst first.
        median: typical relative error.
        largest: the matrix with the largest error.
    """

    other_model: bool
    elsewhere: float | None
    damaged: tuple[Damage, ...]
    median: float
    largest: MatrixError


def matrix_error(
    key: str, bits: float, sums: tuple[npt.NDArray[np.float64], ...], group_of: npt.NDArray[np.int64] | None
) -> MatrixError:
    """From per-input-feature sums to the numbers of a matrix.

    Args:
        key: module name.
        bits: mean bits per weight.
        sums: `(sum W*W, sum W*Q, sum Q*Q)` over the outputs, each of shape (in_features,).
        group_of: row group of each input feature; None where groups are not known.
    """
    ww, wq, qq = (float(s.sum()) for s in sums)
    gains: tuple[float, ...] = ()
    cosines: tuple[float, ...] = ()
    if group_of is not None:
        by_group = [np.bincount(group_of, weights=s) for s in sums]
        gains = tuple(_gain(b, c) for b, c in zip(by_group[1], by_group[2], strict=True))
        cosines = tuple(_cosine(*g) for g in zip(*by_group, strict=True))
    error = math.sqrt(max(ww - 2 * wq + qq, 0.0) / ww) if ww > 0 else (0.0 if qq == 0 else math.inf)
    return MatrixError(key, bits, error, _gain(wq, qq), _cosine(ww, wq, qq), gains, cosines)


def expected_error(bits: float) -> float:
    """Relative error of rounding a bell-shaped matrix to so many bits with one scale a row group.

    Measured on normal matrices: 0.40 at 2.3 bits, 0.107 at 4.2, 0.025 at 6.7, 0.007 at 8.2; a straight line in the
    logarithm is within a factor 1.3 of all.
    """
    return float(0.40 * 2.0 ** (-(bits - 2.0) * 0.97))


def judge_layers(errors: Iterable[MatrixError]) -> LayerReport:
    """Tell another model, an uneven revision and single damaged matrices apart.

    Args:
        errors: of every comparable matrix, in any order; at least one.
    """
    matrices = sorted(errors, key=lambda m: m.key)
    unrelated = [m for m in matrices if not m.cosine >= UNRELATED_COSINE]
    largest = max(matrices, key=lambda m: (m.error, m.key))
    median = float(np.median([m.error for m in matrices]))
    if len(unrelated) >= max(MOSTLY * len(matrices), 1) and len(matrices) > 1:
        return LayerReport(True, None, (), median, largest)
    related = [m for m in matrices if m not in unrelated]
    ratios = np.array([m.error / expected_error(m.bits) for m in related] or [1.0])
    typical = float(np.median(ratios))
    damaged = [(m.error, Damage(m.key, _looks(m))) for m in unrelated]
    limit = _limit(ratios)
    for matrix, ratio in zip(related, ratios, strict=False):
        looks = _wrong_gain(matrix)
        if not looks and ratio > limit and matrix.error > WORTH_TELLING:
            times = ratio / typical
            looks = (
                f"relative error {matrix.error:.3f} at {matrix.bits:.1f} bits, {times:.1f} times the usual"
            )
        if looks:
            damaged.append((matrix.error, Damage(matrix.key, looks)))
    damaged.sort(key=lambda item: (-item[0], item[1].key))
    elsewhere = typical if typical > ELSEWHERE_FACTOR and median > WORTH_TELLING else None
    return LayerReport(False, elsewhere, tuple(d for _, d in damaged), median, largest)


def _limit(ratios: npt.NDArray[np.float64]) -> float:
    """The ratio of error to expectation beyond which a matrix stands out of the others."""
    logs = np.log(np.maximum(ratios, 1e-6))
    middle = float(np.median(logs))
    spread = _MAD_TO_SIGMA * float(np.median(np.abs(logs - middle)))
    return math.exp(middle + max(OUTLIER_SPREADS * spread, math.log(OUTLIER_FACTOR)))


def _wrong_gain(matrix: MatrixError) -> str:
    groups = [i for i, g in enumerate(matrix.group_gains) if _off(g, GROUP_GAIN_OFF)]
    lost = [i for i, c in enumerate(matrix.group_cosines) if not c >= UNRELATED_COSINE]
    if _off(matrix.gain, GAIN_OFF) and len(groups) in (0, len(matrix.group_gains)):
        return f"its values are {1 / matrix.gain:.2f} times what they should be"
    if groups:
        factor = 1 / matrix.group_gains[groups[0]] if matrix.group_gains[groups[0]] else math.inf
        return f"row group {groups[0]} of {len(matrix.group_gains)} has {factor:.2f} times the values it should have"
    if lost:
        return f"row group {lost[0]} of {len(matrix.group_cosines)} does not resemble the original"
    return ""


def _looks(matrix: MatrixError) -> str:
    return f"it does not resemble the original (relative error {matrix.error:.2f}): scrambled rows or foreign data"


def _off(gain: float, factor: float) -> bool:
    return not 1 / factor <= gain <= factor


def _gain(wq: float, qq: float) -> float:
    # Both zero: a group of zeros, stored as zeros.
    return float(wq / qq) if qq > 0 else (1.0 if wq == 0 else math.inf)


def _cosine(ww: float, wq: float, qq: float) -> float:
    product = ww * qq
    return float(wq / math.sqrt(product)) if product > 0 else (1.0 if ww == qq else 0.0)
