"""Two-part ("cascade") attention and the static key-value storage it reads.

The rows of a batch share one prefix, whose keys and values are computed and stored once; each row has its own
suffix in static storage. Suffixes are right-justified: all rows write at the same slot, so a decoding step
is a plain slice copy, and row r sees the slots from `starts[r]` on. Heads come before rows everywhere, so that the
product with the shared prefix is one matrix product a head and needs no rearranging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

ATTENTION_NAME = "wfgy_cascade"


@dataclass(frozen=True)
class KVShape:
    """Sizes of the key-value storage of one model."""

    layers: int
    heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of one token over all layers."""
        return 2 * self.layers * self.heads * self.head_dim * self.dtype.itemsize


@dataclass(frozen=True)
class PrefixKV:
    """Keys and values of a prefix, one pair a layer, each (kv_heads, length, head_dim)."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    length: int


class SegmentedCache:
    """Key-value storage of one batch: a shared prefix and a static suffix for each row.

    Args:
        shape: sizes of the model's storage.
        lengths: real suffix tokens that each row will have when its prompt is in.
        capacity: slots of the suffix storage; it grows when more are opened.
        prefix: what all rows share, or None.
    """

    def __init__(
        self, shape: KVShape, lengths: list[int], capacity: int, prefix: PrefixKV | None = None
    ) -> None:
        self.shape, self.prefix, self.rows, self.capacity = shape, prefix, len(lengths), capacity
        longest = max(lengths)
        self.starts = torch.tensor([longest - n for n in lengths], device=shape.device)
        self.padded = longest > min(lengths)
        self.length = 0
        size = (shape.heads, self.rows, capacity, shape.head_dim)
        self.keys = [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)]
        self.values = [torch.zeros_like(k) for k in self.keys]
        self.bias: torch.Tensor | None = None

    @property
    def prefix_length(self) -> int:
        """Tokens in the shared prefix."""
        return self.prefix.length if self.prefix else 0

    def begin(self, steps: int) -> torch.Tensor:
        """Open `steps` new slots in every row; returns their position ids, (rows, steps)."""
        if self.length + steps > self.capacity:
            # In steps, so that a long answer costs memory only once it is long.
            self._resize(max(self.length + steps, self.capacity + 64, self.capacity * 5 // 4))
        self.length += steps
        slots = torch.arange(self.length, device=self.shape.device)
        queries = slots[self.length - steps :]
        self.bias = None
        if self.padded or steps > 1:
            before = slots[None, None, :] < self.starts[:, None, None]
            after = slots[None, None, :] > queries[None, :, None]
            bias = torch.zeros(
                (self.rows, steps, self.length), dtype=self.shape.dtype, device=self.shape.device
            )
            # The lowest finite number: a padded query sees nothing, and must not become NaN.
            self.bias = bias.masked_fill_(before | after, torch.finfo(self.shape.dtype).min)
        return (queries[None, :] - self.starts[:, None]).clamp_(min=0) + self.prefix_length

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new keys and values, each (rows, kv_heads, steps, head_dim); called by the layer."""
        window = slice(self.length - keys.shape[2], self.length)
        self.keys[layer][:, :, window] = keys.transpose(0, 1)
        self.values[layer][:, :, window] = values.transpose(0, 1)
        return keys, values

    def visible(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Suffix keys and values written so far, each (kv_heads * rows, slots, head_dim)."""
        keys, values = self.keys[layer].flatten(0, 1), self.values[layer].flatten(0, 1)
        return keys[:, : self.length], values[:, : self.length]

    def adopt(self, part: SegmentedCache, begin: int) -> None:
        """Copy the rows of a filled cache with the same prefix to rows `begin..`, ending at slot `length`."""
        rows = slice(begin, begin + part.rows)
        window = slice(self.length - part.length, self.length)
        for layer in range(self.shape.layers):
            self.keys[layer][:, rows, window] = part.keys[layer][:, :, : part.length]
            self.values[layer][:, rows, window] = part.values[layer][:, :, : part.length]

    def keep(self, rows: list[int]) -> None:
        """Drop the other rows, and the slots that only they used."""
        index = torch.tensor(rows, device=self.shape.device)
        starts = self.starts[index]
        skip = int(starts.min())
        self.starts, self.rows = starts - skip, len(rows)
        self.padded = bool(self.starts.max() > 0)
        self._resize(self.capacity - skip, skip, index)
        self.length -= skip

    def as_prefix(self) -> PrefixKV:
        """The single row of this cache as a prefix."""
        pairs = [self.visible(layer) for layer in range(self.shape.layers)]
        return PrefixKV(
            tuple(k.contiguous() for k, _ in pairs), tuple(v.contiguous() for _, v in pairs), self.length
        )

    def _resize(self, capacity: int, skip: int = 0, rows: torch.Tensor | None = None) -> None:
        """Move to storage of `capacity` slots, leaving out the first `skip` and all rows but `rows`."""
        used = slice(skip, self.length)
        for store in (self.keys, self.values):
            for layer, old in enumerate(store):
                kept = old[:, :, used] if rows is None else old[:, rows, used]
                new = old.new_zeros((self.shape.heads, kept.shape[1], capacity, self.shape.head_dim))
                new[:, :, : kept.shape[2]] = kept
                store[layer] = new
        self.capacity = capacity


def causal_mask(count: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Additive mask (1, 1, count, count) for one row, as transformers' own attention functions take it."""
    lowest = torch.full((count, count), torch.finfo(dtype).min, dtype=dtype, device=device)
    return lowest.triu(1)[None, None]


def cascade_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    kv_store: SegmentedCache,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend over the shared prefix and each row's suffix, one softmax over both.

    Args:
        module: the attention layer (gives `layer_idx`).
        query: (rows, heads, steps, head_dim).
        key: the new keys (rows, kv_heads, steps, head_dim); already in `kv_store`.
        value: likewise.
        attention_mask: not used; `kv_store` knows which slot sees which.
        scaling: factor on the scores.
        kv_store: the batch's storage, handed through the model's forward.

    Returns:
        (rows, steps, heads, head_dim) and None in the place of the weights.
    """
    rows, heads, steps, dim = query.shape
    kv_heads = key.shape[1]
    group = heads // kv_heads
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    keys, values = kv_store.visible(layer)
    # (kv_heads * rows, group * steps, dim): query heads of a group ask the same keys.
    grouped = (query * scaling).view(rows, kv_heads, group, steps, dim).transpose(0, 1)
    grouped = grouped.reshape(kv_heads * rows, group * steps, dim)
    scores = torch.bmm(grouped, keys.transpose(1, 2))
    if kv_store.bias is not None:
        scores.view(kv_heads, rows, group, steps, -1).add_(kv_store.bias[:, None])
    prefix = kv_store.prefix
    if prefix is None:
        mixed = torch.bmm(scores.softmax(-1), values)
    else:
        ahead = torch.bmm(grouped.view(kv_heads, -1, dim), prefix.keys[layer].transpose(1, 2))
        weights = torch.cat([ahead.view(kv_heads * rows, -1, prefix.length), scores], dim=-1).softmax(-1)
        ahead, scores = weights[..., : prefix.length], weights[..., prefix.length :]
        shared = torch.bmm(ahead.view(kv_heads, -1, prefix.length), prefix.values[layer])
        mixed = torch.bmm(scores, values).add_(shared.view(kv_heads * rows, -1, dim))
    mixed = mixed.view(kv_heads, rows, group, steps, dim).permute(1, 3, 0, 2, 4)
    return mixed.reshape(rows, steps, heads, dim), None


AttentionInterface.register(ATTENTION_NAME, cascade_attention)
