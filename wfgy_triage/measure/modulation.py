"""BBAM as its source writes it: `a * exp(-gamma * sigma(a))`, here on a vector of logits.

All entries are multiplied by one positive factor below 1, so the order stays: greedy decoding is unchanged, and
sampling is that at the temperature exp(gamma * sigma), which is above 1 wherever logits differ. It flattens; as a
stabiliser it works the wrong way round, and nothing in this project applies it.

Source of the formula: WFGY 1.0, section on BBAM (gamma 0.5), and TXT OS (sigma as standard deviation, gamma 0.618).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

GAMMA_PAPER, GAMMA_TXT_OS = 0.5, 0.618


def attention_modulation(values: ArrayLike, gamma: float = GAMMA_TXT_OS) -> NDArray[np.float64]:
    """The literal formula, sigma being the standard deviation over all entries.

    Args:
        values: any shape, natural scale.
        gamma: strength, at least 0.

    Raises:
        ValueError: no entries, or one that is not finite.
    """
    a = np.asarray(values, dtype=np.float64)
    if not a.size or not np.isfinite(a).all():
        raise ValueError("no values, or one that is not finite")
    return np.asarray(a * math.exp(-gamma * float(a.std())), dtype=np.float64)


def equivalent_temperature(sigma: float, gamma: float = GAMMA_TXT_OS) -> float:
    """The sampling temperature that the formula amounts to on logits with this standard deviation."""
    return math.exp(gamma * sigma)
