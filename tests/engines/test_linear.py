"""Packed products: the same numbers as the ordinary ones, and the same bits whatever the number of rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from wfgy_triage.engines import linear
from wfgy_triage.engines.linear import CompactEmbedding, FusedRMSNorm, PackedLinear, fuse_norms

CPU = torch.device("cpu")


def weights(out_features, in_features):
    generator = torch.Generator().manual_seed(3)
    return (
        torch.randn(out_features, in_features, generator=generator) * 0.1,
        torch.randn(out_features, generator=generator),
        torch.randn(130, in_features, generator=generator),
        torch.randn(130, out_features, generator=generator),
    )


@pytest.mark.parametrize("shape", [(576, 576), (960, 576), (576, 1536), (3072, 576), (48, 40)])
def test_a_row_has_the_same_bits_whatever_the_batch(shape):
    """The ground of the reproducible mode: fp32 products add up a row in one order."""
    weight, bias, x, residual = weights(*shape)
    layer = PackedLinear(weight, bias, torch.float32, CPU)
    whole, added = layer(x), layer(x, residual=residual)
    swished, scaled = layer.swish(x), layer.times(x, residual)
    assert layer.packed
    for rows in (1, 2, 3, 4, 7, 8, 9, 16, 17, 31, 33, 60, 64, 65, 129):
        assert torch.equal(layer(x[:rows]), whole[:rows])
        assert torch.equal(layer(x[:rows], residual=residual[:rows]), added[:rows])
        assert torch.equal(layer.swish(x[:rows]), swished[:rows])
        assert torch.equal(layer.times(x[:rows], residual[:rows]), scaled[:rows])
    order = torch.arange(129, -1, -1)
    assert torch.equal(layer(x[order]), whole[order])


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_ordinary_product(monkeypatch, packing, bias):
    if not packing:
        monkeypatch.setattr(linear, "packing_works", lambda _dtype: False)
    weight, shift, x, residual = weights(48, 40)
    shift = shift if bias else None
    layer = PackedLinear(weight, shift, torch.float32, CPU)
    assert layer.packed is packing
    expected = functional.linear(x, weight, shift)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer(x.view(10, 13, 40)), expected.view(10, 13, 48))
    torch.testing.assert_close(layer(x, residual=residual), expected + residual)
    torch.testing.assert_close(layer.swish(x), functional.silu(expected), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.times(x, residual), expected * residual)
    torch.testing.assert_close(layer(x.view(10, 13, 40)[:, 2]), expected.view(10, 13, 48)[:, 2])


def test_the_embedding_is_widened_exactly():
    table = torch.randn(20, 8).half()
    ids = torch.tensor([[3, 19], [0, 3]])
    looked_up = CompactEmbedding(table, torch.float32)(ids)
    assert looked_up.dtype == torch.float32
    assert torch.equal(looked_up, table.float()[ids])


class _Norm(nn.Module):
    """Root-mean-square norm in the form of most model files; `offset` 1 makes it Gemma's."""

    def __init__(self, offset):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 2, 12))
        self.variance_epsilon = 1e-5
        self.offset = offset

    def forward(self, x):
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return (self.offset + self.weight) * (x * scale)


def test_only_true_rms_norms_are_fused():
    model = nn.ModuleDict({"plain": _Norm(0.0), "gemma": _Norm(1.0)})
    x = torch.randn(5, 12)
    expected = {name: norm(x) for name, norm in model.items()}
    fuse_norms(model)
    assert isinstance(model["plain"], FusedRMSNorm)
    assert isinstance(model["gemma"], _Norm)
    for name, norm in model.items():
        torch.testing.assert_close(norm(x), expected[name])
