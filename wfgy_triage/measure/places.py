"""Whether the right passage stands later on one side than on the other, over the same questions.

The test is Wilcoxon's signed-rank test (F. Wilcoxon, Biometrics Bulletin 1:80-83, 1945) of the logarithms of the
places: from 1 to 2 is as far as from 10 to 20. It sees how far a passage moves, where a sign test counts only how many
move, and like that one it asks for nothing but that the two sides could be exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FLIPS = 19_999
"""Flips of signs that are drawn; with 14 moved passages or fewer there are fewer flips in all, and each is counted."""
_SEED = 20_250_905
_DECIMALS = 9
"""Steps that agree so far are equally long: 1 to 2 and 10 to 20 differ in the last bits of their logarithms."""


@dataclass(frozen=True)
class Moved:
    """Where the passages of a candidate stand against a reference.

    Attributes:
        later: questions whose passage comes later than on the reference.
        earlier: likewise, earlier.
        p_value: two-sided, that places move as far one way as the other; 1 when none moves, and when more move one way
            but farther the other, since no direction could be named.
    """

    later: int
    earlier: int
    p_value: float


def moved(reference: Sequence[float], candidate: Sequence[float]) -> Moved:
    """Compare places (from 1; infinite where a passage was not ranked), both in the order of the questions.

    Raises:
        ValueError: the sequences differ in length, or a place is below 1.
    """
    steps = [_step(r, c) for r, c in zip(reference, candidate, strict=True)]
    signs = np.sign([s for s in steps if s])
    later, earlier = int((signs > 0).sum()), int((signs < 0).sum())
    ranks = signs * stats.rankdata([abs(s) for s in steps if s])
    lean = float(ranks.sum())
    # A single one moves either way with equal chance, so its p-value is 1 as well.
    undirected = (later - earlier) * lean <= 0 or len(ranks) < 2
    return Moved(later, earlier, 1.0 if undirected else _p_value(ranks))


def _step(reference: float, candidate: float) -> float:
    if reference < 1 or candidate < 1:
        raise ValueError("places are counted from 1")
    if reference == candidate:
        return 0.0
    return round(math.log(candidate) - math.log(reference), _DECIMALS)


def _p_value(ranks: NDArray[np.float64]) -> float:
    def total(values: NDArray[np.float64], axis: int) -> Any:
        return np.sum(values, axis=axis)

    found = stats.permutation_test(
        (ranks,),
        total,
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        batch=2_000,
        rng=np.random.default_rng(_SEED),
    )
    return float(found.pvalue)
