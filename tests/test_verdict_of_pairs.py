"""A loss judged over pairs of answers: its states, what is not settled, and how often chance is taken for one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wfgy_triage.measure.statistics import PairedCounts, mcnemar_exact
from wfgy_triage.result import Gate, State
from wfgy_triage.verdict import (
    MIN_QUESTIONS,
    Judgement,
    judge_difference,
)

LOSS_5 = Gate("<=", 0.05, "test")
RANK = {State.FAIL: 0, State.INCONCLUSIVE: 1, State.PASS: 2}


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        (PairedCounts(20, 0, 0, 0), State.INCONCLUSIVE),
        (PairedCounts(100, 0, 0, 0), State.PASS),
        (PairedCounts(17, 1, 0, 2), State.INCONCLUSIVE),
        (PairedCounts(10, 9, 0, 1), State.FAIL),
        (PairedCounts(0, 20, 0, 0), State.FAIL),
        (PairedCounts(0, 0, 20, 0), State.PASS),
        (PairedCounts(0, 0, 0, 20), State.INCONCLUSIVE),
        (PairedCounts(0, 0, 0, 0), State.NOT_MEASURED),
        (PairedCounts(1, 0, 0, 0), State.NOT_MEASURED),
    ],
)
def test_states_of_a_loss(counts, state):
    assert judge_difference(counts, LOSS_5).state is state


@given(st.integers(5, 30), st.integers(0, 15), st.integers(0, 15), st.integers(0, 10))
@settings(deadline=None)
def test_one_more_loss_never_improves_the_state(both, losses, gains, neither):
    before = judge_difference(PairedCounts(both, losses, gains, neither), LOSS_5)
    lost = judge_difference(PairedCounts(both - 1, losses + 1, gains, neither), LOSS_5)
    assert RANK[lost.state] <= RANK[before.state]
    if gains:
        ungained = judge_difference(PairedCounts(both, losses, gains - 1, neither + 1), LOSS_5)
        assert RANK[ungained.state] <= RANK[before.state]


OUTCOME = st.sampled_from([True, False, None])


def counted(pairs, fp16=None, exl2=None) -> PairedCounts:
    """The pairs that are settled, or all with what is not settled taken as given."""
    filled = [(fp16 if a is None else a, exl2 if b is None else b) for a, b in pairs]
    settled = [(a, b) for a, b in filled if a is not None and b is not None]
    return PairedCounts.from_outcomes([a for a, _ in settled], [b for _, b in settled])


def judged_pairs(pairs) -> Judgement:
    return judge_difference(
        counted(pairs), LOSS_5, extremes=(counted(pairs, False, True), counted(pairs, True, False))
    )


@given(st.lists(st.tuples(OUTCOME, OUTCOME), min_size=5, max_size=30), st.data())
@settings(deadline=None)
def test_a_loss_that_is_not_settled_covers_whatever_it_may_be(pairs, data):
    found = judged_pairs(pairs)
    if counted(pairs).n < MIN_QUESTIONS:
        assert found.state is State.NOT_MEASURED
        return
    whole = [tuple(data.draw(st.booleans()) if o is None else o for o in pair) for pair in pairs]
    maybe = judge_difference(counted(whole), LOSS_5)
    if whole == pairs:
        assert found == maybe
    if found.state is State.NOT_MEASURED:
        assert len(pairs) > 2 * counted(pairs).n
        return
    assert found.interval.low <= maybe.interval.low + 1e-9
    assert maybe.interval.high <= found.interval.high + 1e-9
    assert found.p_outside >= maybe.p_outside - 1e-9
    assert found.state in (State.INCONCLUSIVE, maybe.state)


RIGHT_ON_BOTH, CUT_OFF_ON_EXL2, CUT_OFF_ON_FP16, WRONG_ON_EXL2 = (
    (True, True),
    (True, None),
    (None, False),
    (True, False),
)


@pytest.mark.parametrize(
    ("pairs", "state"),
    [
        ([RIGHT_ON_BOTH] * 80, State.PASS),
        # Six right answers that EXL2 never ends may be 7.5 points.
        ([RIGHT_ON_BOTH] * 74 + [CUT_OFF_ON_EXL2] * 6, State.INCONCLUSIVE),
        ([RIGHT_ON_BOTH] * 74 + [CUT_OFF_ON_FP16] * 6, State.INCONCLUSIVE),
        ([RIGHT_ON_BOTH] * 200 + [CUT_OFF_ON_EXL2], State.PASS),
        # Whatever they were, FAIL holds; else more that cannot be judged than can are no verdict.
        ([WRONG_ON_EXL2] * 9 + [CUT_OFF_ON_EXL2] * 11, State.FAIL),
        ([RIGHT_ON_BOTH] * 9 + [CUT_OFF_ON_EXL2] * 11, State.NOT_MEASURED),
        ([RIGHT_ON_BOTH] * 4 + [CUT_OFF_ON_EXL2] * 16, State.NOT_MEASURED),
    ],
)
def test_states_of_a_loss_with_answers_that_are_not_settled(pairs, state):
    found = judged_pairs(pairs)
    assert found.state is state
    cut = len(pairs) - counted(pairs).n
    if cut and state is not State.NOT_MEASURED:
        assert found.note.startswith(f"{cut} of {len(pairs)} questions could not be judged")
        assert found.more_questions is None


def test_identical_sides_never_differ():
    for passed, failed in itertools.product(range(0, 41, 5), repeat=2):
        counts = PairedCounts(passed, 0, 0, failed)
        assert mcnemar_exact(counts) == 1.0
        assert judge_difference(counts, LOSS_5).state is not State.FAIL


def test_equally_good_sides_rarely_differ():
    """Two systems with equal rates that disagree at random: exact false alarms at most 5 %."""
    for discordant in range(1, 31):
        chances = stats.binom.pmf(np.arange(discordant + 1), discordant, 0.5)
        alarms = sum(
            c
            for losses, c in enumerate(chances)
            if mcnemar_exact(PairedCounts(10, losses, discordant - losses, 0)) <= 0.05
        )
        assert alarms <= 0.05
    assert mcnemar_exact(PairedCounts(10, 6, 0, 0)) <= 0.05
    assert mcnemar_exact(PairedCounts(10, 5, 0, 0)) > 0.05
