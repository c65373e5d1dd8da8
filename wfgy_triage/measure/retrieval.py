"""How good a ranking of passages is, and how alike two rankings of the same passages are.

Scores are cosines of unit vectors. A question has one or more gold passages; it counts as found at k when one of them
is among the first k, which is recall@k wherever a question has a single gold passage (as in the built-in corpus).
Equal scores are ordered by the passage's place in the index, so that a ranking never depends on the sorting routine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
UNIT_TOLERANCE = 1e-3
"""How far a norm may be from 1 and still count as unit length (the retrieval playbook's own bound)."""


@dataclass(frozen=True)
class Geometry:
    """Shape and lengths of the vectors of an index.

    Attributes:
        vectors: how many.
        dimensions: of each.
        norm_low: the shortest Euclidean length.
        norm_high: the longest.
    """

    vectors: int
    dimensions: int
    norm_low: float
    norm_high: float

    @property
    def unit(self) -> bool:
        """Whether every vector has length one."""
        return abs(self.norm_low - 1) < UNIT_TOLERANCE and abs(self.norm_high - 1) < UNIT_TOLERANCE


def geometry(vectors: ArrayLike) -> Geometry:
    """Describe vectors of shape (vectors, dimensions).

    Raises:
        ValueError: no vectors, or a number that is not finite.
    """
    rows = _matrix(vectors)
    if not len(rows):
        raise ValueError("no vectors")
    norms = np.linalg.norm(rows, axis=1)
    return Geometry(len(rows), rows.shape[1], float(norms.min()), float(norms.max()))


def unit_rows(vectors: ArrayLike, center: ArrayLike | None = None) -> Floats:
    """Rows (n, dimensions) less `center` (dimensions,), scaled to length one; a row of zeros stays zero.

    Raises:
        ValueError: a number that is not finite.
    """
    rows = _matrix(vectors)
    if center is not None:
        rows = rows - np.asarray(center, np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return scaled


def rank_order(scores: ArrayLike) -> NDArray[np.int64]:
    """Indices of `scores` (passages,) from the best to the worst; ties keep their order."""
    order: NDArray[np.int64] = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    return order


def gold_rank(order: Sequence[int] | NDArray[np.int64], gold: Collection[int]) -> int | None:
    """Place (from 1) of the best-ranked gold passage; None when none of them was ranked."""
    return next((place for place, index in enumerate(order, 1) if int(index) in gold), None)


def found_at(rank: int | None, k: int) -> bool:
    """Whether a gold passage is among the first `k`."""
    return rank is not None and rank <= k


def reciprocal_rank(rank: int | None) -> float:
    """1 / rank, 0 when no gold passage was ranked; its mean over questions is MRR."""
    return 0.0 if rank is None else 1.0 / rank


def rank_correlation(left: ArrayLike, right: ArrayLike) -> float | None:
    """Spearman's ρ of two scorings of the same passages; None where one of them is constant or has one passage."""
    a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError("the scorings differ in length")
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(stats.spearmanr(a, b).statistic)


def top_overlap(left: Sequence[str], right: Sequence[str], k: int) -> float:
    """Share of the first `k` results that two rankings have in common; over what is there when it is fewer."""
    size = min(k, len(left), len(right))
    if size < 1:
        raise ValueError("nothing was ranked")
    return len(set(left[:size]) & set(right[:size])) / size


def section_coverage(
    retrieved: Collection[int], target: Collection[int], tokens: Mapping[int, int]
) -> float | None:
    """Tokens of the target section that were retrieved ÷ its tokens; None when the section has none.

    Args:
        retrieved: passages among the first k.
        target: passages of the section that holds the answer.
        tokens: length of each passage of the target, without what it shares with others (its heading).
    """
    whole = sum(tokens[i] for i in target)
    return sum(tokens[i] for i in set(target) & set(retrieved)) / whole if whole else None


def _matrix(vectors: ArrayLike) -> Floats:
    rows = np.asarray(vectors, np.float64)
    if rows.ndim != 2:
        raise ValueError("vectors need two dimensions")
    if not np.isfinite(rows).all():
        raise ValueError("a number is not finite")
    return rows
