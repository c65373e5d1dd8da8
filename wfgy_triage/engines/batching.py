"""How requests become batches: what they share, in which order, how many at a time. No tensors here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

# Rows of one prefill pass: prompts of nearly the same length, so that little is spent on padding.
MICRO_BATCH_ROWS = 8
# A prefix shorter than this is not worth the second product in attention.
MIN_SHARED = 16


def shared_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """Length of the longest prefix that all prompts share, each keeping at least one token of its own."""
    if len(prompts) < 2:
        return 0
    low, high = min(prompts), max(prompts)
    limit = min(len(p) for p in prompts) - 1
    length = 0
    while length < limit and low[length] == high[length]:
        length += 1
    return length if length >= MIN_SHARED else 0


@dataclass(frozen=True)
class SharingGroup:
    """Prompts that are worth computing with a common beginning.

    Attributes:
        members: indices of the prompts, the longest first.
        shared: how many first tokens they share and that are computed once; 0 for none.
    """

    members: tuple[int, ...]
    shared: int


def sharing_groups(prompts: Sequence[tuple[int, ...]]) -> list[SharingGroup]:
    """Group prompts so that few tokens have to be computed: families of few-shot prompts, say.

    Sorted prompts with a long common beginning are neighbours; a range of them is cut where neighbours share the
    least, as long as that saves a fifth of its tokens. What all prompts share is computed once for all groups, so
    it costs a group nothing, and a prompt that is alone in its group has it too.
    """
    whole = shared_prefix(prompts)
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    common = [common_length(prompts[a], prompts[b]) for a, b in pairwise(order)]
    groups = []
    todo = [(0, len(order))]
    while todo:
        begin, end = todo.pop()
        inner = common[begin : end - 1]
        cuts = [begin + i + 1 for i, shared in enumerate(inner) if shared == min(inner)]
        parts = list(pairwise([begin, *cuts, end]))
        split = sum(_cost(prompts, order[a:b], whole) for a, b in parts)
        if len(parts) > 1 and whole + split <= 0.8 * (whole + _cost(prompts, order[begin:end], whole)):
            todo += reversed(parts)
            continue
        members = order[begin:end]
        ranked = tuple(members[i] for i in by_length([len(prompts[m]) for m in members]))
        groups.append(SharingGroup(ranked, shared_prefix([prompts[m] for m in members]) or whole))
    return groups


def common_length(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """How many first tokens are the same."""
    return next(
        (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )


def _cost(prompts: Sequence[tuple[int, ...]], members: Sequence[int], known: int) -> int:
    """Tokens to compute behind the `known` first ones when these prompts share what they can."""
    shared = max(known, shared_prefix([prompts[m] for m in members]))
    return shared - known + sum(len(prompts[m]) - shared for m in members)


def by_length(lengths: Sequence[int]) -> list[int]:
    """Indices from the longest to the shortest; equal lengths keep their order."""
    return sorted(range(len(lengths)), key=lambda i: -lengths[i])


def micro_batches(
    lengths: Sequence[int], token_budget: int, most_rows: int = MICRO_BATCH_ROWS
) -> list[tuple[int, int]]:
    """Cut sorted rows into runs `begin..end-1` of at most `most_rows` rows and about `token_budget` tokens."""
    runs, begin = [], 0
    while begin < len(lengths):
        rows = max(1, min(most_rows, token_budget // max(1, lengths[begin])))
        runs.append((begin, min(begin + rows, len(lengths))))
        begin += rows
    return runs


def waves(token_counts: Sequence[int], bytes_per_token: int, budget_bytes: int) -> list[list[int]]:
    """Cut rows, in the order given, into waves whose key-value storage stays within a budget.

    Args:
        token_counts: suffix tokens plus the most that may be generated, for each row.
        bytes_per_token: storage of one token over all layers.
        budget_bytes: bound for one wave; a single row above it still runs, alone.
    """
    result: list[list[int]] = []
    widest = 0
    for index, tokens in enumerate(token_counts):
        wider = max(widest, tokens)
        # Storage is rectangular: every row is as wide as the widest.
        fits = bool(result) and (len(result[-1]) + 1) * wider * bytes_per_token <= budget_bytes
        if fits:
            result[-1].append(index)
            widest = wider
        else:
            result.append([index])
            widest = tokens
    return result
