"""Which of several answers to one question counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def path_weights(distances: ArrayLike) -> NDArray[np.float64]:
    """Weights of paths by ΔS to an anchor: softmax(-ΔS), which is exp(-ΔS) scaled to the sum 1.

    The weight exp(-ΔS) is that of TXT OS for BBPF. ΔS lies in [0, 2], so no weight is more than e² times another.

    Args:
        distances: (paths,), ΔS of each path.

    Raises:
        ValueError: no paths, or a distance that is not finite.
    """
    d = np.asarray(distances, dtype=np.float64)
    if d.ndim != 1 or not d.size or not np.isfinite(d).all():
        raise ValueError("no paths, or a distance that is not finite")
    weights = np.exp(d.min() - d)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def elect(texts: Sequence[str], weights: Sequence[float], likelihoods: Sequence[float]) -> int:
    """Place of the elected answer: the first of those that say what has the most weight.

    Answers say the same when their text is the same up to white space. Of equally heavy ones the one with the
    likeliest path wins, then the first.

    Args:
        texts: the answers.
        weights: of each; equal ones make it a majority vote.
        likelihoods: mean log-probability of each.

    Raises:
        ValueError: no answers, or lists of different lengths.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place, (text, _, _) in enumerate(zip(texts, weights, likelihoods, strict=True)):
        groups[" ".join(text.split())].append(place)
    if not groups:
        raise ValueError("no answers")

    def strength(group: Sequence[int]) -> tuple[float, float]:
        # Rounded: sums of the same weights in another order are a tie.
        return round(sum(weights[i] for i in group), 9), max(likelihoods[i] for i in group)

    return max(groups.values(), key=strength)[0]
