"""Choosing the next token: greedy, or a seeded draw that depends on nothing but its own request.

The draw is an argmax over perturbed logits (Gumbel-max), so greedy and sampled choices share one notion of
a near tie: the gap between the two best candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

_MASK64 = (1 << 64) - 1
# Gaps above this (in logits) are not told apart: tokens that far behind the winner are not looked at.
_GAP_TOLD = 1.0
# How much the cumulative probability at the nucleus' edge may be off by rounding.
_NUCLEUS_SLACK = 1e-5


@dataclass(frozen=True)
class Choice:
    """A chosen token.

    Attributes:
        token: its id.
        gap: distance to the second best candidate, in logits (0 when the nucleus' edge decided); of a draw at
            most 1, which stands for everything above.
    """

    token: int
    gap: float


def gumbel(seed: int, step: int, count: int) -> np.ndarray:
    """Gumbel noise for `count` token ids, float64, keyed by (seed, step) alone."""
    return _noise(uniform_noise(seed, step, count))


def uniform_noise(seed: int, step: int, count: int) -> np.ndarray:
    """Uniform numbers inside (0, 1), float64 of 53 bits, keyed by (seed, step) alone."""
    generator = np.random.Generator(np.random.Philox(key=np.array([seed & _MASK64, step], dtype=np.uint64)))
    whole: np.ndarray = generator.integers(0, 1 << 53, count, dtype=np.uint64).astype(np.float64)
    return (whole + 0.5) * 2.0**-53


def _noise(uniform: np.ndarray) -> np.ndarray:
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
    uniform = uniform_noise(seed, step, len(scaled))
    if top_p >= 1.0:
        return best_of(_reachable(scaled, uniform, temperature), scaled, uniform, temperature)
    narrow = best_of(nucleus(scaled, top_p - _NUCLEUS_SLACK), scaled, uniform, temperature)
    wide = best_of(nucleus(scaled, min(1.0, top_p + _NUCLEUS_SLACK)), scaled, uniform, temperature)
    if narrow.token == wide.token:
        return narrow
    exact = best_of(nucleus(scaled, top_p), scaled, uniform, temperature)
    return Choice(exact.token, 0.0)


def _reachable(scaled: np.ndarray, uniform: np.ndarray, temperature: float) -> np.ndarray:
    """Tokens that win, or come close, with at most the largest noise of this draw: few of a vocabulary.

    The winner is at least as high as the likeliest token with its own noise, so two logarithms tell who is left.
    """
    top = int(np.argmax(scaled))
    own, largest = _noise(np.array([uniform[top], uniform.max()]))
    return np.flatnonzero(scaled >= scaled[top] + own - largest - _GAP_TOLD / temperature)


def best_of(candidates: np.ndarray, scaled: np.ndarray, uniform: np.ndarray, temperature: float) -> Choice:
    """The candidate that wins the draw.

    Args:
        candidates: token ids that may be drawn, at least one.
        scaled: (vocab,) logits divided by the temperature.
        uniform: (vocab,) numbers of `uniform_noise`.
        temperature: that the gap is given back in logits by.
    """
    perturbed = scaled[candidates] + _noise(uniform[candidates])
    best = int(np.argmax(perturbed))
    token, highest = int(candidates[best]), float(perturbed[best])
    perturbed[best] = -np.inf
    return Choice(token, min(_GAP_TOLD, (highest - float(perturbed.max())) * temperature))


def greedy(logits: torch.Tensor) -> list[Choice]:
    """Most likely token of each row of `logits` (rows, vocab), which is left as it was."""
    best, tokens = logits.max(dim=-1)
    tokens = tokens[:, None]
    logits.scatter_(1, tokens, -torch.inf)
    second = logits.amax(dim=-1)
    logits.scatter_(1, tokens, best[:, None])
    return [Choice(t, g) for t, g in zip(tokens[:, 0].tolist(), (best - second).tolist(), strict=True)]
