"""Key-value storage of a batch: what groups of rows share once, and a static suffix for each row.

Suffixes are right-justified: all rows write at the same slot, so a decoding step is a plain slice copy, and row r sees
the slots from `starts[r]` on. Heads come before rows everywhere, so that the product with a shared prefix is one matrix
product a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wfgy_triage.engines.cache_rounding import CacheRounding, rounded_together


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
        return self.part(0, length).solid()

    def part(self, begin: int, end: int) -> PrefixKV:
        """Its tokens `begin..end-1`, as views; itself where these are all."""
        if (begin, end) == (0, self.length):
            return self
        return PrefixKV(
            tuple(k[:, begin:end] for k in self.keys),
            tuple(v[:, begin:end] for v in self.values),
            end - begin,
        )

    def solid(self) -> PrefixKV:
        """The same in contiguous storage; itself where it is that."""
        if all(t.is_contiguous() for t in (*self.keys, *self.values)):
            return self
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
        self.unseen: torch.Tensor | None = None
        """Slots (rows, as many as there were) that their row is not to see; None while there are none."""

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
        unseen = self._unseen_slots()
        slots = torch.arange(self.length, device=self.shape.device)
        queries = slots[self.length - steps :]
        self.bias = None
        if self.padded or steps > 1 or unseen is not None:
            before = slots[None, None, :] < self.starts[:, None, None]
            if unseen is not None:
                before = before | unseen[:, None]
            after = slots[None, None, :] > queries[None, :, None]
            bias = torch.zeros(
                (self.rows, steps, self.length), dtype=self.shape.dtype, device=self.shape.device
            )
            # The lowest finite number: a padded query sees nothing, and must not become NaN.
            self.bias = bias.masked_fill_(before | after, torch.finfo(self.shape.dtype).min)
        ahead = torch.tensor([g.length for g in self.groups], device=self.shape.device)
        ahead = ahead.repeat_interleave(torch.tensor([g.rows for g in self.groups], device=self.shape.device))
        starts = self.starts if unseen is None else self.starts + unseen.sum(dim=1)
        return (queries[None, :] - starts[:, None]).clamp_(min=0) + ahead[:, None]

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
        unseen = self._unseen_slots()
        self.unseen = None if unseen is None else unseen[index, skip:]
        self.starts, self.rows = starts - skip, len(rows)
        self.padded = bool(self.starts.max() > 0)
        self._resize(self.capacity - skip, skip, index)
        self.length -= skip

    def forget(self, counts: Sequence[int]) -> None:
        """Take the newest `counts[r]` slots of row r back: what stands there is not part of it."""
        self.length -= min(counts)
        left = torch.tensor(counts, device=self.shape.device) - min(counts)
        if not bool(left.any()):
            return
        slots = torch.arange(self.length, device=self.shape.device)
        gone = slots[None, :] >= self.length - left[:, None]
        unseen = self._unseen_slots()
        self.unseen = gone if unseen is None else unseen | gone
        seen = self.length - self.starts - self.unseen.sum(dim=1)
        if (self.length - int(seen.max())) * 8 >= self.length:
            self._close_gaps(seen)

    def _unseen_slots(self) -> torch.Tensor | None:
        """`unseen` for all slots that are open now."""
        if self.unseen is None:
            return None
        more = self.length - self.unseen.shape[1]
        return torch.nn.functional.pad(self.unseen, (0, more)) if more > 0 else self.unseen[:, : self.length]

    def _close_gaps(self, seen: torch.Tensor) -> None:
        """Move what rows see, `seen[r]` slots of row r, together at the end; lengths differ in other ways then."""
        assert self.unseen is not None  # noqa: S101 - only called where there are gaps
        longest = int(seen.max())
        slots = torch.arange(self.length, device=self.shape.device)
        hidden = self.unseen | (slots[None, :] < self.starts[:, None])
        # Stable: what is seen keeps its order, behind what is not.
        order = torch.sort((~hidden).to(torch.int8), dim=1, stable=True).indices[:, self.length - longest :]
        rows = torch.arange(self.rows, device=self.shape.device)[:, None]
        for store in (self.keys, self.values):
            for kept in store:
                kept[:, :, :longest] = kept[:, rows, order]
        self.starts, self.length, self.unseen = longest - seen, longest, None
        self.padded = bool(self.starts.max() > 0)

    def round_all(self, rounding: CacheRounding) -> None:
        """Give everything that is stored the form in which a quantized cache gives it back."""
        done: dict[int, PrefixKV] = {}
        for group in self.groups:
            if (prefix := group.prefix) is not None and id(prefix) not in done:
                done[id(prefix)] = PrefixKV(
                    tuple(rounding.keys(k) for k in prefix.keys),
                    tuple(rounding.values(v) for v in prefix.values),
                    prefix.length,
                )
        # What others hold of the prefixes stays as it was computed.
        self.groups = tuple(
            PrefixGroup(g.rows, None if g.prefix is None else done[id(g.prefix)]) for g in self.groups
        )
        for layer in range(self.shape.layers):
            self.keys[layer][:, :, : self.length] = rounding.keys(self.keys[layer][:, :, : self.length])
            self.values[layer][:, :, : self.length] = rounding.values(self.values[layer][:, :, : self.length])

    def round_newest(self, rounding: CacheRounding) -> None:
        """The same for the newest slot alone."""
        slot = slice(self.length - 1, self.length)
        keys, values = rounded_together(
            rounding, [k[:, :, slot] for k in self.keys], [v[:, :, slot] for v in self.values]
        )
        for layer in range(self.shape.layers):
            self.keys[layer][:, :, slot] = keys[layer]
            self.values[layer][:, :, slot] = values[layer]

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
