"""The common decoder layer with its products joined: fewer, larger calls than the model file's own.

Only a layer that is shown to compute the same is replaced: each one is run against the original on a sample when
the model is opened. Any other architecture keeps transformers' own layers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers.activations import SiLUActivation

from wfgy_triage.engines.attention import cascade_attention, causal_mask
from wfgy_triage.engines.linear import FusedRMSNorm, PackedLinear
from wfgy_triage.engines.storage import KVShape, SegmentedCache

_LAYER_PARTS = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}
_ATTENTION_PARTS = {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"}
_MLP_PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}
_SAMPLE_TOKENS = 6


class FusedLayer(nn.Module):
    """Pre-norm attention and gated MLP, as in Llama, Mistral, Qwen2 and Qwen3.

    Args:
        layer: the transformers layer, its norms fused and its linear weights in place.
        shape: sizes of the key-value storage; gives dtype and device too.
    """

    def __init__(self, layer: Any, shape: KVShape) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.layer_idx = int(attention.layer_idx)
        self.attention_type = getattr(layer, "attention_type", None)
        self.scaling = float(attention.scaling)
        self.kv_heads, self.head_dim = shape.heads, shape.head_dim
        self.heads = attention.q_proj.out_features // shape.head_dim
        self.input_norm = layer.input_layernorm
        self.mlp_norm = layer.post_attention_layernorm
        self.q_norm = getattr(attention, "q_norm", None)
        self.k_norm = getattr(attention, "k_norm", None)
        self.act = mlp.act_fn
        self.is_silu = isinstance(mlp.act_fn, (nn.SiLU, SiLUActivation))
        self.qkv = _join([attention.q_proj, attention.k_proj, attention.v_proj], shape)
        self.out = _join([attention.o_proj], shape)
        self.gate = _join([mlp.gate_proj], shape)
        self.up = _join([mlp.up_proj], shape)
        self.down = _join([mlp.down_proj], shape)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        kv_store: SegmentedCache,
        **_: Any,
    ) -> torch.Tensor:
        """Run the layer on (rows, steps, hidden); called by the model class in the place of its own layer."""
        rows, steps, _width = hidden_states.shape
        joined = self.qkv(self.input_norm(hidden_states)).view(rows, steps, -1, self.head_dim)
        turned, value = joined[:, :, : -self.kv_heads], joined[:, :, -self.kv_heads :]
        if self.q_norm is not None and self.k_norm is not None:
            query, key = turned[:, :, : self.heads], turned[:, :, self.heads :]
            turned = torch.cat([self.q_norm(query), self.k_norm(key)], dim=2)
        turned = rotate(turned, *position_embeddings).transpose(1, 2)
        query, key, value = turned[:, : self.heads], turned[:, self.heads :], value.transpose(1, 2)
        kv_store.update(key, value, self.layer_idx)
        mixed, _weights = cascade_attention(self, query, key, value, None, self.scaling, kv_store)
        hidden_states = self.out(mixed.reshape(rows, steps, -1), residual=hidden_states)
        normed = self.mlp_norm(hidden_states)
        gate = self.gate.swish(normed) if self.is_silu else self.act(self.gate(normed))
        output: torch.Tensor = self.down(self.up.times(normed, gate), residual=hidden_states)
        return output


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions on x (rows, steps, heads, head_dim); cos and sin are (rows, steps, head_dim)."""
    first, second = x.chunk(2, dim=-1)
    swapped = torch.cat([-second, first], dim=-1)
    return (x * cos[:, :, None]).addcmul_(swapped, sin[:, :, None])


def fuse_layer(layer: nn.Module, rotary: nn.Module, shape: KVShape) -> FusedLayer | None:
    """The fused form of a layer, or None where it is of another kind or computes something else.

    Args:
        layer: a transformers decoder layer in the dtype of computation, with its own attention.
        rotary: the model's rotary embedding.
        shape: sizes of the key-value storage.
    """
    if not _is_plain(layer):
        return None
    attention: Any = layer.self_attn
    width = attention.q_proj.in_features
    positions = torch.arange(_SAMPLE_TOKENS, device=shape.device)[None]
    steps = torch.arange(_SAMPLE_TOKENS * width, device=shape.device, dtype=torch.float32)
    sample = steps.mul_(0.7).sin_().view(1, _SAMPLE_TOKENS, width).to(shape.dtype)
    embeddings = rotary(sample, position_ids=positions)
    if embeddings[0].shape[-1] != shape.head_dim:
        return None
    theirs: torch.Tensor = layer(
        hidden_states=sample,
        position_embeddings=embeddings,
        attention_mask=causal_mask(_SAMPLE_TOKENS, shape.dtype, shape.device),
    )
    fused = FusedLayer(layer, shape)
    # Storage up to the layer's own index: it knows itself by that.
    cache = SegmentedCache(replace(shape, layers=fused.layer_idx + 1), [_SAMPLE_TOKENS], _SAMPLE_TOKENS)
    cache.begin(_SAMPLE_TOKENS)
    ours = fused(sample, embeddings, cache)
    tolerance = 1e-4 if shape.dtype == torch.float32 else 4e-2
    close = torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))
    return fused if close else None


def _is_plain(layer: nn.Module) -> bool:
    parts = dict(layer.named_children())
    if set(parts) != _LAYER_PARTS:
        return False
    attention, mlp = dict(parts["self_attn"].named_children()), dict(parts["mlp"].named_children())
    if not (_ATTENTION_PARTS - {"q_norm", "k_norm"} <= set(attention) <= _ATTENTION_PARTS):
        return False
    norms = [parts["input_layernorm"], parts["post_attention_layernorm"]]
    norms += [attention[n] for n in ("q_norm", "k_norm") if n in attention]
    linears = [m for n, m in [*attention.items(), *mlp.items()] if n.endswith("_proj")]
    return (
        set(mlp) == _MLP_PARTS
        and all(isinstance(n, FusedRMSNorm) for n in norms)
        and all(isinstance(m, nn.Linear) for m in linears)
    )


def _join(layers: list[nn.Linear], shape: KVShape) -> PackedLinear:
    weight = torch.cat([m.weight for m in layers])
    biases = [m.bias for m in layers]
    bias = None
    if any(b is not None for b in biases):
        bias = torch.cat([m.weight.new_zeros(m.out_features) if m.bias is None else m.bias for m in layers])
    return PackedLinear(weight, bias, shape.dtype, shape.device)
