"""The scale search: 4-bit column scales under one fp16 maximum for each group of rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from wfgy_triage.exl2.codec import group_scales

_P_MIN, _P_MAX, _P_STEPS = 0.70, 1.20, 96
_COARSE = 6
_NORM = 3.5
_SAMPLE_COLUMNS = 512


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
    library's grid of 97 points: every sixth point first, then all around the best. A single number is fitted,
    so of wide matrices a regular sample of the columns decides.

    Args:
        weights: float32 of shape (rows, columns).
        bits: width of the codes.
    """
    largest = weights.abs().amax(0).add_(1e-12) / ((2**bits - 1) / 2)
    top = largest.max()
    qscale = (largest / top).sqrt_().mul_(16).round_().clamp_(1, 16).to(torch.int32)
    stride = max(1, weights.shape[1] // _SAMPLE_COLUMNS)
    base = (qscale * qscale)[::stride].float() / 256 * top
    # In units of the column's unscaled step, one p fits all columns and errors weigh step^3.5.
    units = weights[:, ::stride] / base
    importance = (base / top) ** _NORM

    coarse = range(0, _P_STEPS + 1, _COARSE)
    middle = coarse[_best(units, importance, coarse, bits)]
    near = range(max(0, middle - _COARSE + 1), min(_P_STEPS, middle + _COARSE - 1) + 1)
    best = near[_best(units, importance, near, bits)]
    scale_max = (top * _factor(best)).to(torch.float16)
    return GroupScale(qscale, scale_max, group_scales(qscale, scale_max).float())


def safe_reciprocal(scale: torch.Tensor) -> torch.Tensor:
    """1 / scale, and 0 where the fp16 scale underflowed to 0 (such a column decodes to zero anyway)."""
    return torch.where(scale > 0, 1 / scale, torch.zeros_like(scale))


def _factor(step: int) -> float:
    return _P_MIN + (_P_MAX - _P_MIN) * step / _P_STEPS


def _best(units: torch.Tensor, importance: torch.Tensor, steps: range, bits: int) -> int:
    """Index into `steps` of the factor with the least weighted error."""
    half = 1 << (bits - 1)
    p = torch.tensor([_factor(step) for step in steps]).view(-1, 1, 1)
    scaled = units / p
    error = scaled.round().clamp_(-half, half - 1).sub_(scaled).abs_()
    # |e|^3.5 as e * e * e * sqrt(e): several times faster than a general power.
    root = error.sqrt()
    total = (root.mul_(error).mul_(error.square_()).sum(1) @ importance) * p.flatten() ** _NORM
    return int(total.argmin())
