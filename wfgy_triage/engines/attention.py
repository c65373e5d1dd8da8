"""Two-part ("cascade") attention and the static key-value storage it reads.

The rows of a batch come in groups; the rows of a group share a prefix, whose keys and values are computed and stored
once, and each row has its own suffix in static storage. Suffixes are right-justified: all rows write at the same slot,
so a decoding step is a plain slice copy, and row r sees the slots from `starts[r]` on. Heads come before rows
everywhere, so that the product with a shared prefix is one matrix product a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    def first(self, length: int) -> PrefixKV:
        """Its first tokens."""
        return self if length == self.length else self.part(0, length).solid()

    def part(self, begin: int, end: int) -> PrefixKV:
        """Its tokens `begin..end-1`, as views."""
        return PrefixKV(
            tuple(k[:, begin:end] for k in self.keys),
            tuple(v[:, begin:end] for v in self.values),
            end - begin,
        )

    def solid(self) -> PrefixKV:
        """The same in storage of its own."""
        return PrefixKV(
            tuple(k.contiguous() for k in self.keys), tuple(v.contiguous() for v in self.values), self.length
        )

    def extended(self, rest: PrefixKV) -> PrefixKV:
        """This prefix with the tokens behind it."""
        pairs = (zip(self.keys, rest.keys, strict=True), zip(self.values, rest.values, strict=True))
        keys, values = (tuple(torch.cat(pair, dim=1) for pair in joined) for joined in pairs)
        return PrefixKV(keys, values, self.length + rest.length)


@dataclass(frozen=True)
class PrefixGroup:
    """Consecutive rows of a batch that share a prefix (None: they share nothing)."""

    rows: int
    prefix: PrefixKV | None

    @property
    def length(self) -> int:
        """Tokens of the shared prefix."""
        return self.prefix.length if self.prefix else 0


class SegmentedCache:
    """Key-value storage of one batch: groups of rows that share a prefix, and a static suffix for each row.

    Args:
        shape: sizes of the model's storage.
        lengths: real suffix tokens that each row will have when its prompt is in.
        capacity: slots of the suffix storage; it grows when more are opened.
        groups: which rows share what, in the order of the rows; nothing shared without it.
    """

    def __init__(
        self, shape: KVShape, lengths: list[int], capacity: int, groups: Sequence[PrefixGroup] = ()
    ) -> None:
        self.shape, self.rows, self.capacity = shape, len(lengths), capacity
        self.groups = tuple(groups) or (PrefixGroup(len(lengths), None),)
        longest = max(lengths)
        self.starts = torch.tensor([longest - n for n in lengths], device=shape.device)
        self.padded = longest > min(lengths)
        self.length = 0
        size = (shape.heads, self.rows, capacity, shape.head_dim)
        self.keys = [torch.zeros(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)]
        self.values = [torch.zeros_like(k) for k in self.keys]
        self.bias: torch.Tensor | None = None

    @property
    def longest_prefix(self) -> int:
        """Tokens of the longest shared prefix."""
        return max(group.length for group in self.groups)

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
        ahead = torch.tensor([g.length for g in self.groups], device=self.shape.device)
        ahead = ahead.repeat_interleave(torch.tensor([g.rows for g in self.groups], device=self.shape.device))
        return (queries[None, :] - self.starts[:, None]).clamp_(min=0) + ahead[:, None]

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

    def adopt(self, part: SegmentedCache, begin: int, times: Sequence[int]) -> None:
        """Copy the rows of a filled cache to rows `begin..` with the same prefix, ending at slot `length`.

        Args:
            part: what is copied.
            begin: the first row that is written.
            times: for each row of `part`, how many rows in a go get it.
        """
        rows = slice(begin, begin + sum(times))
        window = slice(self.length - part.length, self.length)
        source = torch.tensor([n for n, count in enumerate(times) for _ in range(count)]).to(
            self.shape.device
        )
        for layer in range(self.shape.layers):
            self.keys[layer][:, rows, window] = part.keys[layer][:, source, : part.length]
            self.values[layer][:, rows, window] = part.values[layer][:, source, : part.length]

    def restore(self, row: int, part: PrefixKV) -> None:
        """Write the first suffix tokens of a row, known from before."""
        start = int(self.starts[row])
        window = slice(start, start + part.length)
        for layer in range(self.shape.layers):
            self.keys[layer][:, row, window] = part.keys[layer]
            self.values[layer][:, row, window] = part.values[layer]

    def row(self, row: int, count: int) -> PrefixKV:
        """A copy of the first `count` suffix tokens of a row."""
        start = int(self.starts[row])
        window = slice(start, start + count)
        return PrefixKV(
            tuple(k[:, row, window].clone() for k in self.keys),
            tuple(v[:, row, window].clone() for v in self.values),
            count,
        )

    def keep(self, rows: list[int]) -> None:
        """Drop the other rows, and the slots that only they used."""
        index = torch.tensor(rows, device=self.shape.device)
        self.groups = tuple(_kept_groups(self.groups, rows))
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


def _kept_groups(groups: Sequence[PrefixGroup], rows: Sequence[int]) -> Iterator[PrefixGroup]:
    """The groups when only `rows` (ascending) stay."""
    first = 0
    for group in groups:
        left = sum(first <= row < first + group.rows for row in rows)
        first += group.rows
        if left:
            yield PrefixGroup(left, group.prefix)


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
    if kv_store.longest_prefix:
        mixed = _with_prefixes(kv_store, layer, grouped.view(kv_heads, rows, -1, dim), scores, values)
    else:
        mixed = torch.bmm(scores.softmax(-1), values)
    mixed = mixed.view(kv_heads, rows, group, steps, dim).permute(1, 3, 0, 2, 4)
    return mixed.reshape(rows, steps, heads, dim), None


def _with_prefixes(
    kv_store: SegmentedCache, layer: int, query: torch.Tensor, scores: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    """One softmax over each row's shared prefix and its own suffix.

    Args:
        kv_store: the batch's storage.
        layer: which layer's prefixes.
        query: scaled queries (kv_heads, rows, group * steps, dim).
        scores: suffix scores (kv_heads * rows, group * steps, slots).
        values: suffix values (kv_heads * rows, slots, dim).

    Returns:
        (kv_heads * rows, group * steps, dim).
    """
    kv_heads, rows, queries, dim = query.shape
    widest = kv_store.longest_prefix
    # Prefixes end where the suffix begins; what a shorter one leaves free gets no weight.
    joint = scores.new_full(
        (kv_heads, rows, queries, widest + scores.shape[-1]), torch.finfo(scores.dtype).min
    )
    joint[..., widest:] = scores.view(kv_heads, rows, queries, -1)
    spans = _spans(kv_store.groups)
    for begin, end, prefix in spans:
        ahead = torch.bmm(query[:, begin:end].reshape(kv_heads, -1, dim), prefix.keys[layer].transpose(1, 2))
        joint[:, begin:end, :, widest - prefix.length : widest] = ahead.view(
            kv_heads, end - begin, queries, -1
        )
    weights = joint.softmax(-1)
    mixed = torch.bmm(weights[..., widest:].reshape(kv_heads * rows, queries, -1), values)
    mixed = mixed.view(kv_heads, rows, queries, dim)
    for begin, end, prefix in spans:
        ahead = weights[:, begin:end, :, widest - prefix.length : widest].reshape(kv_heads, -1, prefix.length)
        mixed[:, begin:end] += torch.bmm(ahead, prefix.values[layer]).view(
            kv_heads, end - begin, queries, dim
        )
    return mixed


def _spans(groups: Sequence[PrefixGroup]) -> list[tuple[int, int, PrefixKV]]:
    """Rows `begin..end-1` and their prefix, for the groups that have one."""
    spans, begin = [], 0
    for group in groups:
        if group.prefix is not None:
            spans.append((begin, begin + group.rows, group.prefix))
        begin += group.rows
    return spans


AttentionInterface.register(ATTENTION_NAME, cascade_attention)
