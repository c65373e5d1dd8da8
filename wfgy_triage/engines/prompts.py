"""Rows of tokens run through a model behind what they share, as far as they are not remembered from an earlier call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from wfgy_triage.engines.batching import MICRO_BATCH_ROWS, micro_batches
from wfgy_triage.engines.memory import PromptMemory
from wfgy_triage.engines.runner import QUERY_TOKENS, ModelRunner
from wfgy_triage.engines.storage import PrefixGroup, PrefixKV, SegmentedCache

SHORT_REST = 128
"""Rows that need at most so many tokens run in larger batches: padding costs little then."""
SHORT_ROWS = 4 * MICRO_BATCH_ROWS


def batches(
    memory: PromptMemory, rows: Sequence[tuple[int, ...]], wanted: Sequence[int], shared: int
) -> list[tuple[int, int]]:
    """Cut rows, the longest first, into runs `begin..end-1` for `compute`; see there for the arguments."""
    rest = [len(r) - max(known_of(memory, r, w), shared) for r, w in zip(rows, wanted, strict=True)]
    if max(rest) <= SHORT_REST:
        return micro_batches([max(rest)] * len(rest), QUERY_TOKENS, SHORT_ROWS)
    return micro_batches([len(r) - shared for r in rows], QUERY_TOKENS)


def known_of(memory: PromptMemory, row: tuple[int, ...], wanted: int) -> int:
    """How much of a row need not be computed when its last `wanted` states are asked for."""
    return min(memory.known(row), len(row) - wanted)


def compute(
    runner: ModelRunner,
    memory: PromptMemory,
    rows: Sequence[tuple[int, ...]],
    wanted: Sequence[int],
    prefix: PrefixKV | None,
    should_stop: Callable[[], bool] | None = None,
) -> tuple[torch.Tensor, SegmentedCache]:
    """Run rows of tokens that share a prefix, as far as they are not known.

    Args:
        runner: the model.
        memory: what is known.
        rows: whole rows, the prefix included, the longest first.
        wanted: for each row how many of its last states are needed, at least 1.
        prefix: keys and values of what all rows share.
        should_stop: asked while long rows are computed.

    Returns:
        States (rows, at least the most wanted, hidden), right-justified, and the storage that now holds the rows.

    Raises:
        BrokenOffError: `should_stop()` became true.
    """
    shared = prefix.length if prefix else 0
    lengths = [len(r) - shared for r in rows]
    cache = SegmentedCache(runner.kv_shape, lengths, lengths[0], [PrefixGroup(len(rows), prefix)])
    known = [max(shared, known_of(memory, r, w)) for r, w in zip(rows, wanted, strict=True)]
    # All rows compute equally many columns; what a row would not have needed comes out the same again.
    width = max(len(r) - k for r, k in zip(rows, known, strict=True))
    for number, row in enumerate(rows):
        if (end := len(row) - width) > shared:
            cache.restore(number, memory.part(row, shared, end))
    cache.length = lengths[0] - width
    return runner.prefill([r[max(shared, len(r) - width) :] for r in rows], cache, should_stop), cache


def remember(
    memory: PromptMemory, prompts: Sequence[tuple[int, ...]], cache: SegmentedCache, prefix: PrefixKV | None
) -> None:
    """Keep the prompts with which the rows of a storage begin."""
    shared = prefix.length if prefix else 0
    for number, prompt in enumerate(prompts):
        if len(prompt) > max(shared, memory.known(prompt)):
            memory.keep(prompt, prefix, cache.row(number, len(prompt) - shared))
