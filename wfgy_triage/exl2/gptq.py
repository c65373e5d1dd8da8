"""GPTQ: rounding that lets the rows still to come absorb the error of the rows already rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from wfgy_triage.errors import ProbeError
from wfgy_triage.exl2.layout import RowGroup
from wfgy_triage.exl2.rtn import QuantizedLinear, assemble
from wfgy_triage.exl2.scales import GroupScale, safe_reciprocal, search_scales

DAMPING = 0.12
"""Share of the mean diagonal that is added to the Hessian, as in the library."""

_BLOCK_ROWS = 32
_ATTEMPTS = 10


@dataclass(frozen=True)
class InputStatistics:
    """What GPTQ needs to know about the inputs of a linear.

    Attributes:
        permutation: features by mean square, largest first; int64 of shape (in_features,).
        factor: upper Cholesky factor of the inverse damped Hessian in that order, float32.
    """

    permutation: torch.Tensor
    factor: torch.Tensor


def input_hessian(inputs: torch.Tensor) -> torch.Tensor:
    """X^T X / tokens of inputs (tokens, in_features), float32."""
    return (inputs.T @ inputs).div_(max(1, inputs.shape[0]))


def prepare_inputs(hessian: torch.Tensor, damping: float = DAMPING) -> InputStatistics:
    """Order the features and factor the inverse Hessian; more damping is added where that is not possible.

    Raises:
        ProbeError: when the Hessian holds values that are not finite or cannot be inverted.
    """
    permutation = torch.argsort(hessian.diagonal(), descending=True, stable=True)
    ordered = hessian[permutation][:, permutation]
    step = max(damping * float(ordered.diagonal().mean()), 1e-5)
    for _ in range(_ATTEMPTS):
        ordered.diagonal().add_(step)
        lower, failed = torch.linalg.cholesky_ex(ordered)
        if not bool(failed):
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not bool(failed) and bool(torch.isfinite(upper).all()):
                return InputStatistics(permutation, upper)
    raise ProbeError(
        "The calibration inputs of a layer cannot be used (not finite, or degenerate).",
        "Use other calibration text, and check that the FP16 model gives sensible text.",
    )


def quantize_gptq(
    weight: torch.Tensor, groups: Sequence[RowGroup], statistics: InputStatistics
) -> QuantizedLinear:
    """Quantize one linear, minimising the error of its output on the calibration inputs.

    Args:
        weight: (out_features, in_features), any float dtype.
        groups: row groups covering in_features.
        statistics: prepared inputs; linears that share an input share it.
    """
    rows = weight.to(torch.float32).T[statistics.permutation].contiguous()
    factor = statistics.factor
    codes = torch.empty(rows.shape, dtype=torch.int32)
    scales: list[GroupScale] = []
    for group in groups:
        end = group.row + group.rows
        scales.append(search_scales(rows[group.row : end], group.bits))
        errors = torch.empty((group.rows, rows.shape[1]))
        for start in range(group.row, end, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, end)
            block = errors[start - group.row : stop - group.row]
            codes[start:stop] = _quantize_block(
                rows[start:stop], factor[start:stop, start:stop], scales[-1].scale, group.bits, block
            )
            if stop < end:
                rows[stop:end].addmm_(factor[start:stop, stop:end].T, block, alpha=-1)
        if end < rows.shape[0]:
            rows[end:].addmm_(factor[group.row : end, end:].T, errors, alpha=-1)
    return assemble(codes, scales, groups, statistics.permutation)


def _quantize_block(
    rows: torch.Tensor, factor: torch.Tensor, scale: torch.Tensor, bits: int, errors: torch.Tensor
) -> torch.Tensor:
    """Round row by row, passing each error on inside the block; fills `errors`, returns the codes."""
    zero = 1 << (bits - 1)
    reciprocal = safe_reciprocal(scale)
    diagonal = factor.diagonal().tolist()
    codes = torch.empty_like(rows)
    for i in range(rows.shape[0]):
        row, error, code = rows[i], errors[i], codes[i]
        torch.mul(row, reciprocal, out=code)
        code.round_().clamp_(-zero, zero - 1)
        torch.addcmul(row, code, scale, value=-1, out=error)
        error.div_(diagonal[i])
        if i + 1 < rows.shape[0]:
            rows[i + 1 :].addr_(factor[i, i + 1 :], error, alpha=-1)
    return codes.add_(zero)
