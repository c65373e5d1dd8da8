"""Two-part ("cascade") attention over the key-value storage of a batch (`storage.py`).

The rows of a batch come in groups; the rows of a group share a prefix, whose keys and values are computed and stored
once, and each row has its own suffix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from wfgy_triage.engines.storage import PrefixGroup, PrefixKV, SegmentedCache

ATTENTION_NAME = "wfgy_cascade"


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
