"""How requests become batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.engines.batching import (
    MICRO_BATCH_ROWS,
    MIN_SHARED,
    by_length,
    micro_batches,
    shared_prefix,
    waves,
)

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=40).map(tuple)


@given(st.lists(TOKENS, min_size=2, max_size=6), st.lists(st.integers(0, 2), max_size=40).map(tuple))
def test_shared_prefix_is_shared_and_leaves_every_row_a_token(rows, head):
    prompts = [head + r for r in rows]
    length = shared_prefix(prompts)
    assert len({p[:length] for p in prompts}) == 1
    assert all(len(p) > length for p in prompts)
    assert length >= len(head) or len(head) < MIN_SHARED
    assert length == 0 or length >= MIN_SHARED


def test_one_prompt_shares_nothing():
    assert shared_prefix([tuple(range(50))]) == 0


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=50))
def test_micro_batches_cover_all_rows_once(lengths):
    ordered = [lengths[i] for i in by_length(lengths)]
    assert ordered == sorted(lengths, reverse=True)
    runs = micro_batches(ordered, 1024)
    assert [i for begin, end in runs for i in range(begin, end)] == list(range(len(lengths)))
    for begin, end in runs:
        assert end - begin == 1 or (end - begin) * ordered[begin] <= 1024
        assert end - begin <= MICRO_BATCH_ROWS


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40), st.integers(1, 5000))
def test_waves_stay_within_the_budget(counts, budget):
    result = waves(counts, 3, budget)
    assert [i for wave in result for i in wave] == list(range(len(counts)))
    for wave in result:
        assert len(wave) == 1 or len(wave) * max(counts[i] for i in wave) * 3 <= budget
