"""The blocks of Gemma 3 in numpy: many rows of tokens go through them behind each other, unpadded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINEARS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj",
)  # fmt: skip
"""Layers of a block that may have low-rank changes."""
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """Sizes of the model, from its config.json.

    Attributes:
        hidden: width of a state.
        heads: of a block's attention.
        kv_heads: heads of its keys and values.
        head_dim: width of a head.
        scale: by which scores are multiplied.
        epsilon: of the norms.
        rope_thetas: base of the rotary positions, of every block.
    """

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    epsilon: float
    rope_thetas: tuple[float, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read config.json."""
        return cls(
            hidden=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            kv_heads=int(config["num_key_value_heads"]),
            head_dim=int(config["head_dim"]),
            scale=float(config["query_pre_attn_scalar"]) ** -0.5,
            epsilon=float(config["rms_norm_eps"]),
            rope_thetas=tuple(
                float(config["rope_parameters"][kind]["rope_theta"]) for kind in config["layer_types"]
            ),
        )

    @property
    def layers(self) -> int:
        """Blocks of the model."""
        return len(self.rope_thetas)


class Blocks:
    """The model without its head, with low-rank changes.

    No text may be longer than the window of the blocks that see a part of it only (512 tokens in the real model).

    Args:
        shape: its sizes.
        weights: its tensors by name, left on disk until they are used.
        changes: to its linear layers: `<layer>.a` (rank, in) and `<layer>.b` (out, rank). None without them.
        whole_from: from this block on every token sees all of its row; below, what is before it and itself.
    """

    def __init__(
        self, shape: Shape, weights: Mapping[str, NDArray[Any]], changes: Mapping[str, Array], whole_from: int
    ) -> None:
        self.shape, self._weights, self._changes, self._whole_from = shape, weights, changes, whole_from

    def states(self, rows: Sequence[Sequence[int]]) -> Array:
        """The normalized states behind the last block of rows of tokens: (tokens, hidden)."""
        table, lengths = self._weights["model.embed_tokens.weight"], [len(row) for row in rows]
        states = table[[i for row in rows for i in row]].astype(np.float32)
        states *= np.float32(math.sqrt(self.shape.hidden))
        for layer in range(self.shape.layers):
            states = self._through(layer, states, lengths)
        return self._norm(states, "model.norm")

    def _through(self, layer: int, states: Array, lengths: Sequence[int]) -> Array:
        name = f"model.layers.{layer}."
        inner = self._norm(states, f"{name}input_layernorm")
        inner = self._attend(layer, inner, lengths)
        states = states + self._norm(inner, f"{name}post_attention_layernorm")
        inner = self._norm(states, f"{name}pre_feedforward_layernorm")
        inner = _gelu(self._linear(f"{name}mlp.gate_proj", inner)) * self._linear(f"{name}mlp.up_proj", inner)
        inner = self._linear(f"{name}mlp.down_proj", inner)
        return states + self._norm(inner, f"{name}post_feedforward_layernorm")

    def _norm(self, states: Array, name: str) -> Array:
        scale = np.sqrt((states**2).mean(axis=-1, keepdims=True) + np.float32(self.shape.epsilon))
        found: Array = states / scale * (1 + self._weights[f"{name}.weight"].astype(np.float32))
        return found

    def _attend(self, layer: int, states: Array, lengths: Sequence[int]) -> Array:
        shape, name = self.shape, f"model.layers.{layer}.self_attn."
        cos, sin = self._turns(layer, lengths)

        def heads(part: str, number: int) -> Array:
            found = self._linear(f"{name}{part}_proj", states)
            return found.reshape(len(states), number, shape.head_dim).transpose(1, 0, 2)

        queries = _turned(self._norm(heads("q", shape.heads), f"{name}q_norm"), cos, sin)
        keys = _turned(self._norm(heads("k", shape.kv_heads), f"{name}k_norm"), cos, sin)
        values, ends = heads("v", shape.kv_heads), np.cumsum(lengths).tolist()
        mixed = np.empty((len(states), shape.heads * shape.head_dim), np.float32)
        for b, e in zip([0, *ends[:-1]], ends, strict=True):
            query, key, value = (part[:, b:e] for part in (queries, keys, values))
            mixed[b:e] = _mixed(query * np.float32(shape.scale), key, value, layer >= self._whole_from)
        return self._linear(f"{name}o_proj", mixed)

    def _turns(self, layer: int, lengths: Sequence[int]) -> tuple[Array, Array]:
        """Cosines and sines of the rotary positions: (tokens, head_dim / 2) each."""
        half = self.shape.head_dim // 2
        turns = self.shape.rope_thetas[layer] ** (-np.arange(half, dtype=np.float32) / half)
        angles = np.concatenate([np.arange(n, dtype=np.float32) for n in lengths])[:, None] * turns
        return np.cos(angles), np.sin(angles)

    def _linear(self, name: str, inputs: Array) -> Array:
        found: Array = inputs @ self._weights[f"{name}.weight"].astype(np.float32).T
        if (down := self._changes.get(f"{name}.a")) is not None:
            found += (inputs @ down.T) @ self._changes[f"{name}.b"].T
        return found


def _mixed(queries: Array, keys: Array, values: Array, whole: bool) -> Array:
    """What each token of one row sees: (count, heads * head_dim), from (heads, count, head_dim), fewer for keys.

    `whole`: all of the row, and not what is before the token alone.
    """
    (number, count, head_dim), kv_heads = queries.shape, len(keys)
    groups = number // kv_heads
    grouped = queries.reshape(kv_heads, groups * count, head_dim)
    scores = (grouped @ keys.transpose(0, 2, 1)).reshape(kv_heads, groups, count, count)
    if not whole:
        scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    seen = shares.reshape(kv_heads, groups * count, count) @ values
    found: Array = seen.reshape(number, count, head_dim).transpose(1, 0, 2).reshape(count, -1)
    return found


def _turned(heads: Array, cos: Array, sin: Array) -> Array:
    """Rotary positions on (..., count, head_dim)."""
    half = heads.shape[-1] // 2
    low, high = heads[..., :half], heads[..., half:]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


def _gelu(inputs: Array) -> Array:
    """The approximation by a hyperbolic tangent, which the model was trained with."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (inputs + np.float32(0.044715) * inputs**3)
    found: Array = np.float32(0.5) * inputs * (1 + np.tanh(inner))
    return found
