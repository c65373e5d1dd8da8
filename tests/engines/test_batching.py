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
    sharing_groups,
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


FAMILY_PROMPTS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(100, 120), min_size=1, max_size=6)),
    min_size=1,
    max_size=24,
)


def family_prompt(family, own):
    return (*range(20), *([family] * 40), *own)


@given(FAMILY_PROMPTS)
def test_groups_hold_every_prompt_once_and_share_what_they_say(rows):
    prompts = [family_prompt(family, own) for family, own in rows]
    groups = sharing_groups(prompts)
    assert sorted(i for g in groups for i in g.members) == list(range(len(prompts)))
    for group in groups:
        assert len({prompts[i][: group.shared] for i in group.members}) == 1
        assert all(len(prompts[i]) > group.shared for i in group.members)
        lengths = [len(prompts[i]) for i in group.members]
        assert lengths == sorted(lengths, reverse=True)


def test_families_of_prompts_are_told_apart():
    prompts = [family_prompt(i % 3, (100 + i,)) for i in range(12)]
    groups = sharing_groups(prompts)
    assert [g.shared for g in groups] == [60, 60, 60]
    assert {frozenset(i % 3 for i in g.members) for g in groups} == {frozenset({f}) for f in range(3)}


def test_one_family_stays_together_whatever_its_members_begin_with():
    prompts = [family_prompt(0, (100 + i % 2, 110 + i)) for i in range(12)]
    assert [(len(g.members), g.shared) for g in sharing_groups(prompts)] == [(12, 60)]


def test_strangers_share_nothing():
    assert [g.shared for g in sharing_groups([(1, 2, 3), (4, 5), (6,)])] == [0]


def test_a_prompt_alone_in_its_group_has_what_all_share():
    prompts = [family_prompt(i // 6, (100 + i,)) for i in range(7)]
    groups = {frozenset(g.members): g.shared for g in sharing_groups(prompts)}
    assert groups == {frozenset(range(6)): 60, frozenset({6}): 20}
