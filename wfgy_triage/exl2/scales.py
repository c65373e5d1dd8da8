"""The scale search: 4-bit column scales under one fp16 maximum for each group of rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wfgy_triage.exl2.codec import group_scales

_P_MIN, _P_MAX, _P_STEPS = 0.70, 1.20, 96
_COARSE = 6


@dataclass(frozen=True)
class GroupScale:
    """Scales of one row group.

    Attributes:
        qscale: int32 of shape (columns,), 1..16.
        scale_max: fp16 scalar.
        scale: float32 of shape (columns,): exactly the fp16 scale that a loader computes.
    """

    qscale: torch.Tensor
    scale_max: torch.Tensor
    scale: torch.Tensor


def search_scales(weights: torch.Tensor, bits: int) -> GroupScale:
    """Find the scales of a group that minimise sum |error|^3.5 after rounding.

    The column scales are set from the column maxima; one factor p on the group's maximum is searched on the
    library's grid of 97 points, first every sixth point, then all around the best.

    Args:
        weights: float32 of shape (rows, columns).
        bits: width of the codes.
    """
    largest = weights.abs().amax(0).add_(1e-12) / ((2**bits - 1) / 2)
    top = largest.max()
    qscale = (largest / top).sqrt_().mul_(16).round_().clamp_(1, 16).to(torch.int32)
    buffer = torch.empty_like(weights), torch.empty_like(weights)

    def error(step: int) -> float:
        p = _P_MIN + (_P_MAX - _P_MIN) * step / _P_STEPS
        scale = group_scales(qscale, (top * p).to(torch.float16)).float()
        return _error(weights, scale, bits, buffer)

    coarse = {step: error(step) for step in range(0, _P_STEPS + 1, _COARSE)}
    middle = min(coarse, key=coarse.__getitem__)
    near = range(max(0, middle - _COARSE + 1), min(_P_STEPS, middle + _COARSE - 1) + 1)
    errors = {**{step: error(step) for step in near if step not in coarse}, **coarse}
    best = min(errors, key=errors.__getitem__)
    scale_max = (top * (_P_MIN + (_P_MAX - _P_MIN) * best / _P_STEPS)).to(torch.float16)
    return GroupScale(qscale, scale_max, group_scales(qscale, scale_max).float())


def safe_reciprocal(scale: torch.Tensor) -> torch.Tensor:
    """1 / scale, and 0 where the fp16 scale underflowed to 0 (such a column decodes to zero anyway)."""
    return torch.where(scale > 0, 1 / scale, torch.zeros_like(scale))


def _error(
    weights: torch.Tensor, scale: torch.Tensor, bits: int, buffer: tuple[torch.Tensor, torch.Tensor]
) -> float:
    half = 1 << (bits - 1)
    diff, root = buffer
    torch.mul(weights, safe_reciprocal(scale), out=diff)
    diff.round_().clamp_(-half, half - 1).mul_(scale).sub_(weights).abs_()
    torch.sqrt(diff, out=root)
    # |e|^3.5 as e * e * e * sqrt(e): several times faster than a general power.
    return float(torch.dot(root.mul_(diff).flatten(), diff.square_().flatten()))
