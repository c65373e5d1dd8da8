"""How fluent a text is, without asking anybody: is it likely, is it varied, does it repeat itself?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PHRASE = 4
"""Words of a phrase whose return counts as repetition."""


def mean_logprob(logprobs: Sequence[float]) -> float | None:
    """Mean token log-probability (nats) of a text; exp(-x) is its perplexity. None for an empty text."""
    return float(np.mean(logprobs)) if len(logprobs) else None


def distinct_2(text: str) -> float | None:
    """Distinct pairs of neighbouring words over all pairs (Li et al. 2016); None under two words."""
    pairs = _phrases(text, 2)
    return len(set(pairs)) / len(pairs) if pairs else None


def repetition(text: str) -> float:
    """Share of four-word phrases that stood in the text before; 0 for a text too short to repeat one."""
    phrases = _phrases(text, PHRASE)
    return 1 - len(set(phrases)) / len(phrases) if phrases else 0.0


def _phrases(text: str, width: int) -> list[tuple[str, ...]]:
    words = text.casefold().split()
    return [tuple(words[i : i + width]) for i in range(len(words) - width + 1)]
