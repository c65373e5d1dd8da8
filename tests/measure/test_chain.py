from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.measure.chain import (
    ChainEnd,
    Layout,
    first_difference,
    judge_chain,
    parts,
    read_steps,
    share_right,
)
from wfgy_triage.measure.survival import Lifetime

LEDGER = Layout("\n", arrow=True, first_label=4)
COUNT = Layout(",")
CYCLE = Layout(",", words=True)
DAYS = Layout("\n", arrow=True, words=True)
PAIR = Layout("\n", width=2)


def states(text: str, layout: Layout, horizon: int = 48, cut: bool = False) -> dict[int, object]:
    return {s.step: s.state for s in read_steps(text, layout, horizon, cut)}


@pytest.mark.parametrize(
    ("text", "layout", "expected"),
    [
        ("4. pay 1 -> 96\n5. pay 1 -> 95\n", LEDGER, {1: ("96",), 2: ("95",)}),
        # format noise: bullets, other arrows, capitals, spaces, prose between the steps
        (
            "- 4) Pay 1 => 96\n\nSo far so good.\n  Step 5: pay 1 \u2192  95 left\n",
            LEDGER,
            {1: ("96",), 2: ("95",)},
        ),
        # a step out of order keeps its own number; a second statement of a step does not count
        ("5. pay 1 -> 95\n4. pay 1 -> 96\n5. pay 1 -> 7\n", LEDGER, {1: ("96",), 2: ("95",)}),
        # no arrow, no state
        ("4. pay 1\n5. pay 1 -> 95\n", LEDGER, {1: None, 2: ("95",)}),
        # steps before the first generated one are not steps
        ("3. pay 1 -> 97\n4. pay 1 -> 96\n", LEDGER, {1: ("96",)}),
        (" 40, 50, 60", COUNT, {1: ("40",), 2: ("50",), 3: ("60",)}),
        (" 40, that makes 50, nothing,", COUNT, {1: ("40",), 2: ("50",), 3: None}),
        (" A, b, The end of it,", CYCLE, {1: ("a",), 2: ("b",), 3: None}),
        ("Sunday -> Monday\nMonday -> tuesday.\n", DAYS, {1: ("monday",), 2: ("tuesday",)}),
        ("A=11, B=89\nA=12, B=88\n", PAIR, {1: ("11", "89"), 2: ("12", "88")}),
        ("A=11\n", PAIR, {1: None}),
        ("", COUNT, {}),
        (" -3, \u22124, 07,", COUNT, {1: ("-3",), 2: ("-4",), 3: ("7",)}),
    ],
)
def test_reading_is_tolerant_of_format_and_strict_on_values(text, layout, expected):
    assert states(text, layout) == expected


def test_a_step_cut_in_the_middle_is_not_read():
    assert states(" 40, 50, 6", COUNT, cut=True) == {1: ("40",), 2: ("50",)}
    assert states(" 40, 50, 6", COUNT) == {1: ("40",), 2: ("50",), 3: ("6",)}
    assert states(" 40, 50,", COUNT, cut=True) == {1: ("40",), 2: ("50",)}


def test_steps_beyond_the_horizon_are_not_read():
    assert states(" 1, 2, 3, 4", COUNT, horizon=2) == {1: ("1",), 2: ("2",)}


def test_every_character_of_a_step_belongs_to_it():
    text = "4. pay 1 -> 96\n5. pay 1 -> 95\n"
    steps = read_steps(text, LEDGER, 48, False)
    assert "".join(text[s.begin : s.end] for s in steps) == text


def judged(text: str, horizon: int = 6, cut: bool = False):
    """A chain that counts up by ten from 30."""
    truth = [(str(30 + 10 * k),) for k in range(1, horizon + 1)]
    return judge_chain(
        read_steps(text, COUNT, horizon, cut),
        ("30",),
        truth,
        lambda state, step: (str(int(state[0]) + 10),) if state[0].isdigit() else None,
        cut,
    )


def test_a_right_chain():
    outcome = judged(" 40, 50, 60, 70, 80, 90,", cut=True)
    assert outcome.kind is ChainEnd.RIGHT
    assert outcome.right == (True,) * 6
    assert (outcome.consistent, outcome.repeats, outcome.first_wrong) == (1.0, 0.0, None)
    assert outcome.lifetime == Lifetime(6, False)
    assert outcome.detail == "All 6 steps are right."


def test_one_slip_makes_every_later_step_wrong_but_consistent():
    outcome = judged(" 40, 60, 70, 80, 90, 100,")
    assert outcome.right == (True, False, False, False, False, False)
    assert outcome.consistent == pytest.approx(5 / 6)
    assert outcome.kind is ChainEnd.SLIP
    assert outcome.lifetime == Lifetime(1, True)
    assert outcome.detail == "First wrong at step 2: it says 60, right is 50."


def test_a_step_is_right_again_when_its_value_is():
    outcome = judged(" 40, 51, 60, 70, 80, 90,")
    assert share_right(outcome.right) == pytest.approx(5 / 6)
    assert outcome.first_wrong == 2
    assert outcome.kind is ChainEnd.COLLAPSE  # 4 of 6 follow from the step before


def test_a_collapse_repeats_and_follows_from_nothing():
    outcome = judged(" 40, 50, 50, 50, 50, 50,")
    assert outcome.kind is ChainEnd.COLLAPSE
    assert outcome.consistent == pytest.approx(2 / 6)
    assert outcome.repeats == pytest.approx(4 / 6)


def test_a_circle_by_rule_is_no_repetition():
    truth = [("b",), ("a",)] * 3
    text = " b, a, b, a, b, a,"
    outcome = judge_chain(
        read_steps(text, CYCLE, 6, False),
        ("a",),
        truth,
        lambda state, step: ("b",) if state == ("a",) else ("a",),
        False,
    )
    assert outcome.kind is ChainEnd.RIGHT
    assert outcome.repeats == 0


def test_cut_off_before_any_error_leaves_the_rest_unknown():
    outcome = judged(" 40, 50, 6", cut=True)
    assert outcome.right == (True, True, None, None, None, None)
    assert outcome.kind is ChainEnd.CUT_OFF
    assert outcome.lifetime == Lifetime(2, False)
    assert share_right(outcome.right) is None
    assert share_right(outcome.right, 1, 2) == 1.0


def test_cut_off_after_an_error_leaves_the_rest_wrong():
    outcome = judged(" 40, 55, 6", cut=True)
    assert outcome.right == (True,) + (False,) * 5
    assert outcome.lifetime == Lifetime(1, True)


def test_a_model_that_stops_has_not_made_the_missing_steps():
    outcome = judged(" 40, 50")
    assert outcome.kind is ChainEnd.STOPPED
    assert outcome.right == (True, True, False, False, False, False)
    assert outcome.detail == "Stopped by itself after 2 steps, all of them right."
    assert judged("").kind is ChainEnd.STOPPED


def test_unreadable_steps_are_wrong_and_named():
    outcome = judged(" 40, who knows, 60,")
    assert outcome.right[:3] == (True, False, True)
    assert "it says nothing that can be read, right is 50" in outcome.detail


def test_a_missing_step_is_named():
    truth = [("96",), ("95",), ("94",)]
    outcome = judge_chain(
        read_steps("4. pay 1 -> 96\n6. pay 1 -> 94\n", LEDGER, 3, False),
        ("97",),
        truth,
        lambda state, step: (str(int(state[0]) - 1),),
        False,
    )
    assert outcome.right == (True, False, True)
    assert outcome.detail == "Step 2 is missing; 95 would be right."


def test_two_texts_part_at_the_first_different_statement():
    assert first_difference(["1", "2", "3"], ["1", "2", "4"], 3) == Lifetime(2, True)
    assert first_difference(["1", "2", "3"], ["1", "2", "3"], 3) == Lifetime(3, False)
    assert first_difference(["1", "2", None], ["1", "2", "9"], 2) == Lifetime(2, False)
    assert first_difference(["1", None, None], ["1", None, "3"], 3) == Lifetime(2, True)


def test_parts_are_cut_to_the_horizon():
    assert parts(48) == ((1, 19), (20, 40), (41, 48))
    assert parts(30) == ((1, 19), (20, 30))


@given(st.integers(0, 900), st.integers(-9, 9), st.integers(1, 60), st.data())
def test_the_share_counts_exactly_the_wrong_values(
    start: int, change: int, horizon: int, data: st.DataObject
):
    truth = [(str(start + change * k),) for k in range(1, horizon + 1)]
    wrong = data.draw(st.sets(st.integers(0, horizon - 1)))
    said = [str(int(t[0]) + 1000 * (k in wrong)) for k, t in enumerate(truth)]
    outcome = judge_chain(
        read_steps(" " + ", ".join(said) + ",", COUNT, horizon, False),
        (str(start),),
        truth,
        lambda state, step: (str(int(state[0]) + change),),
        False,
    )
    assert share_right(outcome.right) == pytest.approx(1 - len(wrong) / horizon)
    assert outcome.lifetime == (Lifetime(min(wrong), True) if wrong else Lifetime(horizon, False))


@given(st.text(alphabet="0123456789.,->\u2192 \n:abcStep", max_size=200), st.booleans())
def test_whatever_a_model_writes_can_be_judged(text: str, cut: bool):
    for layout in (LEDGER, COUNT, CYCLE, DAYS, PAIR):
        steps = read_steps(text, layout, 5, cut)
        outcome = judge_chain(steps, ("1",) * layout.width, [("2",) * layout.width] * 5, lambda s, k: s, cut)
        assert len(outcome.right) == 5
        assert 0 <= outcome.lifetime.steps <= 5
