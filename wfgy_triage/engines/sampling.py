"""Choosing the next token: greedy, or a seeded draw that depends on nothing but its own request.

The draw is an argmax over perturbed logits (Gumbel-max), so greedy and sampled choices share one notion of
a near tie: the gap between the two best candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

_MASK64 = (1 << 64) - 1
# Gumbel noise from 53-bit uniforms lies within (-3.7, 36.8): no token this far below the best can win.
_NOISE_SPAN = 40.5
# How much the cumulative probability at the nucleus' edge may be off by rounding.
_NUCLEUS_SLACK = 1e-5


@dataclass(frozen=True)
class Choice:
    """A chosen token.

    Attributes:
        token: its id.
        gap: distance to the second best candidate, in logits (0 when the nucleus' edge decided).
    """

    token: int
    gap: float


def gumbel(seed: int, step: int, count: int) -> np.ndarray:
    """Gumbel noise for `count` token ids, float64, keyed by (seed, step) alone."""
    generator = np.random.Generator(np.random.Philox(key=np.array([seed & _MASK64, step], dtype=np.uint64)))
    uniform = (generator.integers(0, 1 << 53, count, dtype=np.uint64).astype(np.float64) + 0.5) * 2.0**-53
    noise: np.ndarray = -np.log(-np.log(uniform))
    return noise


def nucleus(scaled: np.ndarray, top_p: float) -> np.ndarray:
    """Indices of the smallest set of candidates whose probability reaches `top_p`, most likely first."""
    order = np.argsort(-scaled, kind="stable")
    weights = np.exp(scaled[order] - scaled[order[0]])
    cumulative = np.cumsum(weights) / weights.sum()
    return order[: int(np.searchsorted(cumulative, top_p, side="left")) + 1]


def sample(logits: np.ndarray, temperature: float, top_p: float, seed: int, step: int) -> Choice:
    """Draw from softmax(logits / temperature), cut to its nucleus.

    Args:
        logits: (vocab,), natural scale.
        temperature: above 0.
        top_p: nucleus mass in (0, 1]; 1 keeps everything.
        seed: the request's seed.
        step: number of the token within the answer.
    """
    scaled = logits.astype(np.float64) / temperature
    noise = gumbel(seed, step, len(scaled))
    if top_p >= 1.0:
        candidates = np.flatnonzero(scaled >= scaled.max() - _NOISE_SPAN)
        return _best(candidates, scaled, noise, temperature)
    narrow = _best(nucleus(scaled, top_p - _NUCLEUS_SLACK), scaled, noise, temperature)
    wide = _best(nucleus(scaled, min(1.0, top_p + _NUCLEUS_SLACK)), scaled, noise, temperature)
    if narrow.token == wide.token:
        return narrow
    exact = _best(nucleus(scaled, top_p), scaled, noise, temperature)
    return Choice(exact.token, 0.0)


def _best(candidates: np.ndarray, scaled: np.ndarray, noise: np.ndarray, temperature: float) -> Choice:
    perturbed = scaled[candidates] + noise[candidates]
    best = int(np.argmax(perturbed))
    token = int(candidates[best])
    if len(candidates) == 1:
        return Choice(token, float("inf"))
    perturbed[best] = -np.inf
    gap = float(scaled[token] + noise[token] - perturbed.max()) * temperature
    return Choice(token, gap)


def greedy(logits: torch.Tensor) -> list[Choice]:
    """Most likely token of each row of `logits` (rows, vocab), which is left as it was."""
    best, tokens = logits.max(dim=-1)
    tokens = tokens[:, None]
    logits.scatter_(1, tokens, -torch.inf)
    second = logits.amax(dim=-1)
    logits.scatter_(1, tokens, best[:, None])
    return [Choice(t, g) for t, g in zip(tokens[:, 0].tolist(), (best - second).tolist(), strict=True)]
