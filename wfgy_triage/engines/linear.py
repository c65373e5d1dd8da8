"""Linear layers and embeddings in the form they are computed in: prepacked, and never held twice.

oneDNN keeps a weight in a blocked layout of its own; packing once instead of at every call is what makes
small-batch fp32 and bf16 products fast on CPU. The operators are private to torch, so they are tried once and
the ordinary product takes their place where they are missing.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import nn
from torch.nn import functional

# The batch size the layout is made for. From 32 up the fp32 kernels add up each row in the same order whatever
# the number of rows (checked by tests/engines/test_linear.py); a smaller hint picks other kernels.
_LAYOUT_ROWS = 64


@cache
def packing_works(dtype: torch.dtype) -> bool:
    """Whether this build of torch can prepack a weight of `dtype` and multiply by it correctly."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    # Small integers, so that the comparison is exact in every dtype.
    weight = (torch.arange(32 * 32).reshape(32, 32) % 5 - 2).to(dtype)
    rows = (torch.arange(2 * 32).reshape(2, 32) % 3 - 1).to(dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, _LAYOUT_ROWS)
        product = torch.ops.mkldnn._linear_pointwise(rows, packed, None, "none", [], "")
        summed = torch.ops.mkldnn._linear_pointwise.binary(rows, rows, packed, None, "add")
        scaled = torch.ops.mkldnn._linear_pointwise.binary(rows, rows, packed, None, "mul")
        swished = torch.ops.mkldnn._linear_pointwise(rows, packed, None, "swish", [], "")
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    expected = functional.linear(rows, weight)
    exact = ((product, expected), (summed, expected + rows), (scaled, expected * rows))
    close = torch.allclose(swished, functional.silu(expected), rtol=2e-2, atol=2e-2)
    return close and all(torch.equal(a, b) for a, b in exact)


class PackedLinear(nn.Module):
    """`y = x Wᵀ + b` with W of shape (out_features, in_features), held once in the layout of computation.

    Args:
        weight: (out_features, in_features), any float dtype; not kept.
        bias: (out_features,) or None.
        dtype: what is computed in.
        device: where.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        weight = weight.detach().to(device=device, dtype=dtype)
        self.packed = device.type == "cpu" and packing_works(dtype)
        if self.packed:
            # An opaque oneDNN tensor: kept as a plain attribute, since a module's .to() cannot convert it.
            self.matrix = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _LAYOUT_ROWS)
        else:
            self.matrix = weight.contiguous()
        self.bias = None if bias is None else bias.detach().to(device=device, dtype=dtype)
        self.nbytes = weight.numel() * weight.element_size()

    def forward(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Multiply, and add `residual` where given; `x` has shape (..., in_features)."""
        if not self.packed:
            product = functional.linear(x, self.matrix, self.bias)
            return product if residual is None else product + residual
        return self._packed(x, "none") if residual is None else self._packed_with(x, residual, "add")

    def swish(self, x: torch.Tensor) -> torch.Tensor:
        """`silu(x Wᵀ + b)`."""
        return self._packed(x, "swish") if self.packed else functional.silu(self(x))

    def times(self, x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """`(x Wᵀ + b) * factor`."""
        return self._packed_with(x, factor, "mul") if self.packed else self(x) * factor

    def _packed(self, x: torch.Tensor, after: str) -> torch.Tensor:
        rows = self._rows(x, self.in_features)
        out = torch.ops.mkldnn._linear_pointwise(rows, self.matrix, self.bias, after, [], "")
        return self._shaped(out, x)

    def _packed_with(self, x: torch.Tensor, other: torch.Tensor, after: str) -> torch.Tensor:
        rows, partner = self._rows(x, self.in_features), self._rows(other, self.out_features)
        out = torch.ops.mkldnn._linear_pointwise.binary(rows, partner, self.matrix, self.bias, after)
        return self._shaped(out, x)

    @staticmethod
    def _rows(x: torch.Tensor, width: int) -> torch.Tensor:
        rows = x.reshape(-1, width)
        # A single row would take a matrix-vector kernel that adds up in another order: it is given a twin.
        return (rows.expand(2, -1) if rows.shape[0] == 1 else rows).contiguous()

    def _shaped(self, out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        rows = x.numel() // self.in_features
        return out[:rows].view(*x.shape[:-1], self.out_features)


class CompactEmbedding(nn.Module):
    """A token embedding kept in its storage dtype and widened on lookup (exact from fp16 to fp32)."""

    def __init__(self, weight: torch.Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self.dtype = dtype

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up `ids` of any shape; the result has one more dimension, the hidden size."""
        return functional.embedding(ids, self.weight).to(self.dtype)


class FusedRMSNorm(nn.Module):
    """Root-mean-square norm in one call of torch, instead of the model file's six."""

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize the last dimension."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def replace_module(root: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` in the place of the submodule at `path` (dotted)."""
    parent, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent), name, new)


def fuse_norms(root: nn.Module) -> None:
    """Replace the norms that compute exactly a root-mean-square norm, found by trying each one."""
    for path, module in list(root.named_modules()):
        eps = getattr(module, "variance_epsilon", None)
        weight = getattr(module, "weight", None)
        if not isinstance(eps, float) or not isinstance(weight, torch.Tensor) or weight.ndim != 1:
            continue
        fused = FusedRMSNorm(weight, eps)
        # Gemma's norm, for one, multiplies by 1 + weight: a probe tells it apart.
        sample = torch.linspace(-3, 3, 2 * weight.numel(), dtype=torch.float32, device=weight.device)
        sample = sample.view(2, -1).to(weight.dtype)
        tolerance = 1e-5 if weight.dtype == torch.float32 else 2e-2
        if torch.allclose(module(sample), fused(sample), rtol=tolerance, atol=tolerance):
            replace_module(root, path, fused)
