"""The four states: what they mean, how often they err, and that they are functions of numbers alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wfgy_triage.result import Gate, State
from wfgy_triage.verdict import (
    MIN_QUESTIONS,
    Judgement,
    combine_full_check,
    judge_mean,
    judge_rate,
    more_questions_for_rate,
    not_measured,
    page_rule,
)

AT_LEAST_98 = Gate(">=", 0.98, "test")
AT_LEAST_70 = Gate(">=", 0.70, "test")
AT_MOST_10 = Gate("<=", 0.10, "test")
RANK = {State.FAIL: 0, State.INCONCLUSIVE: 1, State.PASS: 2}


@pytest.mark.parametrize(
    ("successes", "n", "gate", "state"),
    [
        (20, 20, AT_LEAST_98, State.INCONCLUSIVE),
        (18, 20, AT_LEAST_98, State.INCONCLUSIVE),
        (17, 20, AT_LEAST_98, State.FAIL),
        (183, 183, AT_LEAST_98, State.PASS),
        (182, 182, AT_LEAST_98, State.INCONCLUSIVE),
        (19, 20, AT_LEAST_70, State.PASS),
        (18, 20, AT_LEAST_70, State.INCONCLUSIVE),
        (10, 20, AT_LEAST_70, State.INCONCLUSIVE),
        (9, 20, AT_LEAST_70, State.FAIL),
        (0, 20, Gate("<=", 0.17, ""), State.PASS),
        (0, 20, Gate("<=", 0.16, ""), State.INCONCLUSIVE),
        (9, 20, Gate("<=", 0.15, ""), State.FAIL),
        (0, 0, AT_LEAST_98, State.NOT_MEASURED),
        (0, 1, AT_LEAST_98, State.NOT_MEASURED),
        (4, 4, AT_LEAST_70, State.NOT_MEASURED),
        (0, 5, AT_LEAST_98, State.FAIL),
    ],
)
def test_states_of_a_rate(successes, n, gate, state):
    judgement = judge_rate(successes, n, gate)
    assert judgement.state is state
    assert (judgement.interval is None) is (state is State.NOT_MEASURED)
    assert bool(judgement.note) is (state in (State.INCONCLUSIVE, State.NOT_MEASURED))


@pytest.mark.parametrize(("successes", "n", "more"), [(20, 20, 163), (182, 182, 1), (5, 5, 178), (1, 1, 182)])
def test_how_many_more_right_answers_reach_the_gate(successes, n, more):
    """0.025 ** (1/183) is the first lower bound above 0.98."""
    assert more_questions_for_rate(successes, n, AT_LEAST_98) == more


@given(st.integers(5, 40), st.data(), st.sampled_from([0.5, 0.7, 0.9, 0.98]), st.sampled_from([">=", "<="]))
@settings(deadline=None)
def test_the_named_number_of_questions_does_decide(n, data, value, op):
    gate, successes = Gate(op, value, ""), data.draw(st.integers(0, n))
    judgement = judge_rate(successes, n, gate)
    if judgement.state is not State.INCONCLUSIVE or judgement.more_questions is None:
        return
    size, rate = n + judgement.more_questions, successes / n
    # Rounded against the decision, as the number promises.
    count = math.floor(rate * size + 1e-9) if rate > value else math.ceil(rate * size - 1e-9)
    assert judge_rate(count, size, gate).state in (State.PASS, State.FAIL)


def test_a_rate_on_the_gate_or_near_it_names_no_number():
    assert judge_rate(7, 10, AT_LEAST_70).more_questions is None
    assert "More than 5000" in judge_rate(49, 50, AT_LEAST_98).note


@pytest.mark.parametrize("n", [5, 20, 60, 150])
@pytest.mark.parametrize("value", [0.7, 0.9, 0.95, 0.98, 0.99])
def test_a_system_at_the_gate_is_rarely_misjudged(n, value):
    """Exact, over every outcome: wrong FAIL and wrong PASS each at most 2.5 %."""
    chances = stats.binom.pmf(np.arange(n + 1), n, value)
    for op in (">=", "<="):
        states = [judge_rate(k, n, Gate(op, value, "")).state for k in range(n + 1)]
        for wrong in (State.PASS, State.FAIL):
            assert sum(c for c, s in zip(chances, states, strict=True) if s is wrong) <= 0.025


def test_a_worse_system_fails_as_questions_grow():
    """True rate 0.9 against the gate 0.98: FAIL becomes the usual outcome."""
    shares = []
    for n in (20, 60, 200):
        chances = stats.binom.pmf(np.arange(n + 1), n, 0.9)
        states = [judge_rate(k, n, AT_LEAST_98).state for k in range(n + 1)]
        shares.append(sum(c for c, s in zip(chances, states, strict=True) if s is State.FAIL))
        assert State.PASS not in [s for c, s in zip(chances, states, strict=True) if c > 1e-6]
    assert shares == sorted(shares)
    assert shares[-1] > 0.99


@given(st.integers(5, 60), st.floats(0.05, 0.995), st.sampled_from([">=", "<="]), st.data())
@settings(deadline=None)
def test_worse_answers_never_improve_a_state(n, value, op, data):
    gate, k = Gate(op, value, ""), data.draw(st.integers(0, n - 1))
    worse, better = (k, k + 1) if op == ">=" else (k + 1, k)
    assert RANK[judge_rate(worse, n, gate).state] <= RANK[judge_rate(better, n, gate).state]
    one_more_bad = judge_rate(better if op == ">=" else better + 1, n + 1, gate)
    assert RANK[one_more_bad.state] <= RANK[judge_rate(better, n, gate).state]


@given(st.integers(5, 40), st.integers(0, 10), st.data())
@settings(deadline=None)
def test_unmeasured_questions_only_take_certainty_away(n, unmeasured, data):
    successes = data.draw(st.integers(0, n))
    known, unknown = (
        judge_rate(successes, n, AT_LEAST_70),
        judge_rate(successes, n, AT_LEAST_70, unmeasured=unmeasured),
    )
    best = judge_rate(successes + unmeasured, n + unmeasured, AT_LEAST_70)
    worst = judge_rate(successes, n + unmeasured, AT_LEAST_70)
    if unmeasured > n and not best.state is worst.state is not State.INCONCLUSIVE:
        assert unknown.state is State.NOT_MEASURED
        return
    assert unknown.interval.low == worst.interval.low
    assert unknown.interval.high == best.interval.high
    if unknown.state is not State.INCONCLUSIVE:
        assert unknown.state is best.state is worst.state
    if unmeasured:
        assert "could not be judged" in unknown.note
    else:
        assert unknown == known


def test_mostly_unmeasured_is_not_measured():
    judgement = judge_rate(9, 9, AT_LEAST_70, unmeasured=11)
    assert judgement.state is State.NOT_MEASURED
    assert "9 of 20" in judgement.note


def test_most_answers_never_end_and_the_rest_are_wrong():
    """One of eight right, twelve cut off: were all twelve right, 13 of 20 would still be too few."""
    judgement = judge_rate(1, 8, Gate(">=", 0.98, ""), unmeasured=12)
    assert judgement.state is State.FAIL
    assert judgement.interval.high == stats.binomtest(13, 20).proportion_ci(0.95, "exact").high
    assert judge_rate(0, 4, Gate(">=", 0.98, ""), unmeasured=16).state is State.NOT_MEASURED


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([0.05] * 20, State.PASS),
        ([0.10] * 20, State.PASS),
        ([0.11] * 20, State.FAIL),
        ([0.02, 0.03, 0.05, 0.04, 0.01, 0.03] * 4, State.PASS),
        ([0.30, 0.25, 0.40, 0.33, 0.20, 0.31], State.FAIL),
        ([0.05, 0.12, 0.30, 0.01, 0.02, 0.15], State.INCONCLUSIVE),
        ([0.05, 0.05, 0.05, 0.05, math.nan], State.NOT_MEASURED),
        ([0.05, 0.05, 0.05, 0.05, math.inf], State.NOT_MEASURED),
        ([0.05] * (MIN_QUESTIONS - 1), State.NOT_MEASURED),
        ([0.05], State.NOT_MEASURED),
        ([], State.NOT_MEASURED),
    ],
)
def test_states_of_a_mean(values, state):
    judgement = judge_mean(values, AT_MOST_10)
    assert judgement.state is state
    assert judgement.p_outside is None or 0 <= judgement.p_outside <= 1


@given(st.lists(st.floats(0, 0.5), min_size=5, max_size=15), st.floats(0.001, 0.5))
@settings(deadline=None, max_examples=60)
def test_shifting_every_question_for_the_worse_never_improves_a_mean(values, shift):
    before, after = judge_mean(values, AT_MOST_10), judge_mean([v + shift for v in values], AT_MOST_10)
    assert RANK[after.state] <= RANK[before.state]


@given(st.lists(st.floats(0, 0.5), min_size=5, max_size=15), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_order_of_questions_does_not_matter_to_a_mean(values, random):
    shuffled = values.copy()
    random.shuffle(shuffled)
    first, second = judge_mean(values, AT_MOST_10), judge_mean(shuffled, AT_MOST_10)
    assert first.interval.bounds == pytest.approx(second.interval.bounds, rel=1e-9, abs=1e-12)


def test_a_mean_at_the_gate_is_rarely_called_fail():
    rng = np.random.default_rng(4)
    states = [judge_mean(rng.exponential(0.1, 20), AT_MOST_10).state for _ in range(200)]
    assert states.count(State.FAIL) / 200 <= 0.05


def test_more_questions_for_a_mean_would_decide():
    values = [0.05, 0.12, 0.30, 0.01, 0.02, 0.15, 0.20, 0.09]
    more = judge_mean(values, AT_MOST_10).more_questions
    spread, mean = np.std(values, ddof=1), np.mean(values)
    half = [stats.t.ppf(0.975, m - 1) * spread / math.sqrt(m) for m in (8 + more - 1, 8 + more)]
    assert half[0] >= abs(mean - 0.10) > half[1]


@pytest.mark.parametrize(
    ("value", "gate", "meets"),
    [
        (0.98, AT_LEAST_98, True),
        (0.9799, AT_LEAST_98, False),
        (0.10, AT_MOST_10, True),
        (0.1001, AT_MOST_10, False),
        (None, AT_MOST_10, None),
        (math.nan, AT_MOST_10, None),
    ],
)
def test_the_pages_point_rule(value, gate, meets):
    assert page_rule(value, gate) is meets


def _pass(p=0.9):
    return Judgement(State.PASS, None, None, "", p)


def _fail(p):
    return Judgement(State.FAIL, None, None, "", p)


OPEN = Judgement(State.INCONCLUSIVE, None, 10, "", 0.2)


@pytest.mark.parametrize(
    ("judgements", "state", "failed"),
    [
        ({"a": _pass(), "b": _pass()}, State.PASS, ()),
        ({"a": _pass(), "b": OPEN}, State.INCONCLUSIVE, ()),
        ({"a": _pass(), "b": not_measured("x")}, State.NOT_MEASURED, ()),
        ({"a": _fail(0.001), "b": not_measured("x")}, State.FAIL, ("a",)),
        ({"a": _fail(0.02)}, State.FAIL, ("a",)),
        ({"a": _fail(0.02), "b": _pass(), "c": _pass()}, State.INCONCLUSIVE, ()),
        ({"a": _fail(0.02), "b": _fail(0.001), "c": _pass()}, State.FAIL, ("b",)),
        ({"a": _fail(0.012), "b": _fail(0.001)}, State.FAIL, ("a", "b")),
        ({}, State.NOT_MEASURED, ()),
    ],
)
def test_full_check(judgements, state, failed):
    check = combine_full_check(judgements)
    assert check.state is state
    assert check.failed == failed
    assert check.note


def test_a_gate_with_another_operator_is_refused():
    with pytest.raises(ValueError, match="operator"):
        judge_rate(5, 10, Gate(">", 0.5, ""))
