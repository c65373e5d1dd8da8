"""Round-to-nearest quantization of one linear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from wfgy_triage.exl2.layout import RowGroup
from wfgy_triage.exl2.scales import GroupScale, safe_reciprocal, search_scales


@dataclass(frozen=True)
class QuantizedLinear:
    """Codes and scales of one linear, rows in activation order.

    Attributes:
        codes: int32 of shape (rows, columns), 0..2^bits-1.
        qscale: int32 of shape (groups, columns), 1..16.
        scale_max: fp16 of shape (groups,).
        groups: the row groups.
        permutation: stored row r is input feature permutation[r].
        weight: fp16 of shape (out_features, in_features): what the codes decode to.
    """

    codes: torch.Tensor
    qscale: torch.Tensor
    scale_max: torch.Tensor
    groups: tuple[RowGroup, ...]
    permutation: torch.Tensor
    weight: torch.Tensor


def quantize_rtn(
    weight: torch.Tensor, groups: Sequence[RowGroup], permutation: torch.Tensor
) -> QuantizedLinear:
    """Round every weight to the nearest level of its group.

    Args:
        weight: (out_features, in_features), any float dtype.
        groups: row groups covering in_features.
        permutation: activation order, int64 of shape (in_features,).
    """
    rows = weight.to(torch.float32).T[permutation].contiguous()
    codes = torch.empty(rows.shape, dtype=torch.int32)
    scales: list[GroupScale] = []
    for group in groups:
        block = rows[group.row : group.row + group.rows]
        scales.append(search_scales(block, group.bits))
        codes[group.row : group.row + group.rows] = round_to_codes(block, scales[-1].scale, group.bits)
    return assemble(codes, scales, groups, permutation)


def round_to_codes(values: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Nearest codes 0..2^bits-1 as float32; `scale` has one value per column."""
    zero = 1 << (bits - 1)
    return (values * safe_reciprocal(scale)).round_().add_(zero).clamp_(0, 2 * zero - 1)


def assemble(
    codes: torch.Tensor, scales: Sequence[GroupScale], groups: Sequence[RowGroup], permutation: torch.Tensor
) -> QuantizedLinear:
    """Put the groups together and compute the fp16 weight with the loader's own roundings."""
    stored = torch.empty(codes.shape, dtype=torch.float16)
    for group, scale in zip(groups, scales, strict=True):
        rows = slice(group.row, group.row + group.rows)
        stored[rows] = (codes[rows] - (1 << (group.bits - 1))).to(torch.float16) * scale.scale.to(
            torch.float16
        )
    return QuantizedLinear(
        codes=codes,
        qscale=torch.stack([s.qscale for s in scales]),
        scale_max=torch.stack([s.scale_max for s in scales]),
        groups=tuple(groups),
        permutation=permutation,
        weight=stored[torch.argsort(permutation)].T.contiguous(),
    )
