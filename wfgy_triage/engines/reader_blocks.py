"""The blocks of SmolLM2-135M in numpy, as several readers go through them together.

What goes through is many rows of tokens behind each other, unpadded, once for each reader: its *lane*. Unpacking a
block's weights to 32 bits takes as long as computing with them, so it is done once for all lanes.
"""

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
    """Sizes of the model, from its config.json."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    rope_theta: float
    epsilon: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read config.json."""
        rope = config.get("rope_parameters") or {}
        heads = int(config["num_attention_heads"])
        return cls(
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            heads=heads,
            kv_heads=int(config["num_key_value_heads"]),
            head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
            rope_theta=float(config.get("rope_theta") or rope["rope_theta"]),
            epsilon=float(config["rms_norm_eps"]),
        )


@dataclass(frozen=True)
class Lane:
    """How one reader goes through a block.

    Attributes:
        changes: to its linear layers: `<layer>.a` (rank, in) and `<layer>.b` (out, rank). None without them.
        whole: whether every token sees all of its row, and not what is before it alone.
    """

    changes: Mapping[str, Array]
    whole: bool


class Blocks:
    """The model without its head.

    Args:
        shape: its sizes.
        weights: its tensors by name, left on disk until they are used.
    """

    def __init__(self, shape: Shape, weights: Mapping[str, NDArray[Any]]) -> None:
        self.shape, self._weights = shape, weights
        half = shape.head_dim // 2
        self._turns = shape.rope_theta ** (-np.arange(half, dtype=np.float32) / half)

    def embed(self, rows: Sequence[Sequence[int]]) -> Array:
        """The states before the first block of rows of tokens: (tokens, hidden)."""
        table = self._weights["model.embed_tokens.weight"]
        found: Array = table[[i for row in rows for i in row]].astype(np.float32)
        return found

    def through(self, layer: int, states: Array, lengths: Sequence[int], lanes: Sequence[Lane]) -> Array:
        """The states behind a block.

        Args:
            layer: the block.
            states: (lanes, tokens, hidden).
            lengths: of the rows, in tokens, which lie behind each other in every lane.
            lanes: how each goes through it.
        """
        name = f"model.layers.{layer}."
        inner = self.norm(states, f"{name}input_layernorm")
        states = states + self._attend(name, inner, lengths, lanes)
        inner = self.norm(states, f"{name}post_attention_layernorm")
        gate = self._linear(f"{name}mlp.gate_proj", inner, lanes)
        gate = gate / (1 + np.exp(-gate)) * self._linear(f"{name}mlp.up_proj", inner, lanes)
        return states + self._linear(f"{name}mlp.down_proj", gate, lanes)

    def norm(self, states: Array, name: str = "model.norm") -> Array:
        """States (..., hidden), normalized as a layer does it; by default the one behind the last block."""
        scale = np.sqrt((states**2).mean(axis=-1, keepdims=True) + self.shape.epsilon)
        found: Array = states / scale * self._weights[f"{name}.weight"].astype(np.float32)
        return found

    def _attend(self, name: str, states: Array, lengths: Sequence[int], lanes: Sequence[Lane]) -> Array:
        shape, ends = self.shape, np.cumsum(lengths).tolist()
        angles = np.concatenate([np.arange(n, dtype=np.float32) for n in lengths])[:, None] * self._turns
        cos, sin = np.cos(angles), np.sin(angles)

        def heads(part: str, number: int) -> Array:
            found = self._linear(f"{name}self_attn.{part}_proj", states, lanes)
            return found.reshape(*states.shape[:2], number, shape.head_dim).transpose(0, 2, 1, 3)

        queries = _turned(heads("q", shape.heads), cos, sin)
        keys, values = _turned(heads("k", shape.kv_heads), cos, sin), heads("v", shape.kv_heads)
        mixed = np.empty((*states.shape[:2], shape.heads * shape.head_dim), np.float32)
        for number, lane in enumerate(lanes):
            for b, e in zip([0, *ends[:-1]], ends, strict=True):
                query, key, value = (part[number, :, b:e] for part in (queries, keys, values))
                mixed[number, b:e] = _mixed(query, key, value, lane.whole)
        return self._linear(f"{name}self_attn.o_proj", mixed, lanes)

    def _linear(self, name: str, inputs: Array, lanes: Sequence[Lane]) -> Array:
        out = inputs @ self._weights[f"{name}.weight"].astype(np.float32).T
        for number, lane in enumerate(lanes):
            if (down := lane.changes.get(f"{name}.a")) is not None:
                out[number] += (inputs[number] @ down.T) @ lane.changes[f"{name}.b"].T
        found: Array = out
        return found


def _mixed(queries: Array, keys: Array, values: Array, whole: bool) -> Array:
    """What each token of one row sees: (count, heads * head_dim), from (heads, count, head_dim), fewer for keys.

    `whole`: all of the row, and not what is before the token alone.
    """
    (number, count, head_dim), kv_heads = queries.shape, len(keys)
    groups = number // kv_heads
    grouped = queries.reshape(kv_heads, groups * count, head_dim)
    scores = (grouped @ keys.transpose(0, 2, 1) / math.sqrt(head_dim)).reshape(kv_heads, groups, count, count)
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
