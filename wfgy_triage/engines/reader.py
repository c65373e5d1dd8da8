"""A small language model trained to tell what a complaint is about, in numpy: SmolLM2-135M with low-rank changes.

It reads a complaint twice, with two sets of changes (`readers.py`): `FORWARD`, as a language model reads, and
`BOTH_WAYS`, where from a block on every token sees those behind it too.

The model is the demo's own FP16 folder, read from its safetensors file as it lies on disk. What training changed is in
`fixmap/matcher.safetensors`: for every linear layer two thin matrices, and the head. `tools/train_matcher` makes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from wfgy_triage.exl2.headers import read_array, read_header, read_json

BEFORE, AFTER = "A user wrote:\n", "\n\nWhat it is about:"
"""Around a text; the state of the last token is what the head reads."""
MOST_TOKENS = 200
"""Tokens of a text that are read."""
BATCH = 16
"""Texts read together: the weights are unpacked once for all of them."""
LINEARS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj",
)  # fmt: skip
"""Layers of a block that have low-rank changes."""
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Manner:
    """How the model reads.

    Attributes:
        prefix: of the names of what training changed.
        both_ways: from this block on every token sees the whole text; None: none sees what is behind it.
        mean: whether the head reads the mean of the states but for the first token's, which is far larger and says
            nothing; otherwise the last token's state.
    """

    prefix: str = ""
    both_ways: int | None = None
    mean: bool = False


FORWARD, BOTH_WAYS = Manner(), Manner("both_ways.", 10, True)


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


class Reader:
    """Reads texts and gives the share of every class.

    Args:
        shape: sizes of the model.
        weights: its tensors by name, left on disk until they are used.
        changes: what training made: `<layer>.a` (rank, in) and `<layer>.b` (out, rank), `head.weight`, `head.bias`.
        tokenizer: of the model.
        manner: how it reads.
    """

    def __init__(
        self,
        shape: Shape,
        weights: Mapping[str, NDArray[Any]],
        changes: Mapping[str, Array],
        tokenizer: Tokenizer,
        manner: Manner = FORWARD,
    ) -> None:
        self._shape, self._weights, self._changes, self._tokenizer = shape, weights, changes, tokenizer
        self._manner = manner
        half = shape.head_dim // 2
        self._turns = shape.rope_theta ** (-np.arange(half, dtype=np.float32) / half)

    def logits(self, texts: Sequence[str]) -> Array:
        """Natural-log odds of the classes, up to a constant: (n, classes) float32, in the order of the texts."""
        rows = [framed(self._tokenizer, text) for text in texts]
        parts = [self._read(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]
        states = np.concatenate([np.zeros((0, self._shape.hidden), np.float32), *parts])
        return states @ self._changes["head.weight"].T + self._changes["head.bias"]

    def _read(self, rows: Sequence[Sequence[int]]) -> Array:
        """What the head reads of each row, normalized: (rows, hidden). Rows lie behind each other, unpadded."""
        ends = np.cumsum([len(row) for row in rows])
        table = self._weights["model.embed_tokens.weight"]
        states = table[[i for row in rows for i in row]].astype(np.float32)
        angles = np.concatenate([np.arange(len(r), dtype=np.float32) for r in rows])[:, None] * self._turns
        cos, sin = np.cos(angles), np.sin(angles)
        for layer in range(self._shape.layers):
            name = f"model.layers.{layer}."
            whole = self._manner.both_ways is not None and layer >= self._manner.both_ways
            inner = self._norm(states, f"{name}input_layernorm")
            states = states + self._attend(name, inner, cos, sin, ends, whole)
            inner = self._norm(states, f"{name}post_attention_layernorm")
            gate = self._linear(f"{name}mlp.gate_proj", inner)
            gate = gate / (1 + np.exp(-gate)) * self._linear(f"{name}mlp.up_proj", inner)
            states = states + self._linear(f"{name}mlp.down_proj", gate)
        if not self._manner.mean:
            return self._norm(states[ends - 1], "model.norm")
        states = self._norm(states, "model.norm")
        begins = [0, *ends[:-1].tolist()]
        return np.stack([states[b + 1 : e].mean(axis=0) for b, e in zip(begins, ends.tolist(), strict=True)])

    def _attend(
        self, name: str, states: Array, cos: Array, sin: Array, ends: NDArray[np.int64], whole: bool
    ) -> Array:
        shape = self._shape

        def heads(part: str, number: int) -> Array:
            found = self._linear(f"{name}self_attn.{part}_proj", states)
            return found.reshape(len(states), number, shape.head_dim).transpose(1, 0, 2)

        queries = _turned(heads("q", shape.heads), cos, sin)
        keys, values = _turned(heads("k", shape.kv_heads), cos, sin), heads("v", shape.kv_heads)
        begins = [0, *ends[:-1].tolist()]
        mixed = [
            _mixed(queries[:, b:e], keys[:, b:e], values[:, b:e], whole)
            for b, e in zip(begins, ends.tolist(), strict=True)
        ]
        return self._linear(f"{name}self_attn.o_proj", np.concatenate(mixed))

    def _linear(self, name: str, inputs: Array) -> Array:
        out = inputs @ self._weights[f"{name}.weight"].astype(np.float32).T
        if (down := self._changes.get(f"{name}.a")) is not None:
            out += (inputs @ down.T) @ self._changes[f"{name}.b"].T
        found: Array = out
        return found

    def _norm(self, states: Array, name: str) -> Array:
        scale = np.sqrt((states**2).mean(axis=-1, keepdims=True) + self._shape.epsilon)
        found: Array = states / scale * self._weights[f"{name}.weight"].astype(np.float32)
        return found


def framed(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text in its frame."""
    before, inner, after = (tokenizer.encode(t, add_special_tokens=False).ids for t in (BEFORE, text, AFTER))
    return [*before, *inner[:MOST_TOKENS], *after]


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
    """Rotary positions on (heads, count, head_dim)."""
    half = heads.shape[-1] // 2
    low, high = heads[..., :half], heads[..., half:]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


def build_readers(folder: Path, read: Sequence[tuple[Manner, Mapping[str, Array]]]) -> tuple[Reader, ...]:
    """Readers of one folder's model; raises what reading raises.

    Its weights are left on disk until they are used, and all readers share them.

    Args:
        folder: of the model.
        read: of each the manner, and its changes, named without the manner's prefix.
    """
    shape = Shape.of(read_json(folder / "config.json"))
    # Mapped from the file, so that several processes share the memory.
    weights = {n: read_array(n, meta) for n, meta in read_header(folder / "model.safetensors").items()}
    tokenizer = _tokenizer(folder / "tokenizer.json")
    return tuple(Reader(shape, weights, changes, tokenizer, manner) for manner, changes in read)


def _tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises this very class
        raise ValueError(f"{path.name}: {error}") from error
