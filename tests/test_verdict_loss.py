"""Losses of few questions, and quantities whose interval was made elsewhere."""

import re

import numpy as np
import pytest

from wfgy_triage.measure.statistics import Interval
from wfgy_triage.result import Gate, State
from wfgy_triage.verdict import judge_interval, judge_mean
from wfgy_triage.verdict_loss import judge_loss, judge_share

LOSS_5 = Gate("<=", 0.05, "test")
STEPS_40 = Gate(">=", 40, "test")


def test_twenty_questions_without_a_loss_are_no_proof():
    assert judge_mean([0.0] * 20, LOSS_5).state is State.PASS
    judged = judge_loss([0.0] * 20, LOSS_5, 0.5)
    assert judged.state is State.INCONCLUSIVE
    assert judged.note.startswith(
        "So far within the gate, but one more question that breaks would change that."
    )


def test_the_number_of_further_questions_that_is_named_is_enough_and_no_more():
    judged = judge_loss([0.0] * 20, LOSS_5, 0.5)
    more = int(re.search(r"About (\d+) more", judged.note)[1])
    assert more == judged.more_questions
    assert judge_loss([0.0] * (20 + more), LOSS_5, 0.5).state is State.PASS
    assert judge_loss([0.0] * (20 + more - 1), LOSS_5, 0.5).state is State.INCONCLUSIVE


def test_what_is_no_pass_is_judged_as_any_mean():
    rng = np.random.default_rng(2)
    for losses in (rng.uniform(0.2, 0.6, 20), rng.uniform(-0.1, 0.3, 12), [0.0, 0.1]):
        assert judge_loss(losses, LOSS_5, 0.5) == judge_mean(losses, LOSS_5)


def test_answers_that_are_all_whole_are_no_proof_and_the_named_number_more_is():
    whole = Gate(">=", 0.99, "test")
    judged = judge_share([1.0] * 24, whole, 1.0)
    assert judged.state is State.INCONCLUSIVE
    assert judged.more_questions
    enough = 24 + judged.more_questions
    assert judge_share([1.0] * enough, whole, 1.0).state is State.PASS
    assert judge_share([1.0] * (enough - 1), whole, 1.0).state is State.INCONCLUSIVE
    assert judge_share([0.5] * 24, whole, 1.0) == judge_mean([0.5] * 24, whole)


@pytest.mark.parametrize(("imagined", "needed"), [(0.5, 8), (1.0, 15)])
def test_what_the_imagined_answer_loses_decides_how_many_whole_ones_are_proof(imagined: float, needed: int):
    mostly = Gate(">=", 0.8, "test")
    assert judge_mean([1.0] * 5, mostly).state is State.PASS
    assert judge_share([1.0] * (needed - 1), mostly, imagined).state is State.INCONCLUSIVE
    assert judge_share([1.0] * needed, mostly, imagined).state is State.PASS


@pytest.mark.parametrize(
    ("low", "high", "n", "state"),
    [
        (40, 48, 20, State.PASS),
        (12, 39, 20, State.FAIL),
        (12, 48, 20, State.INCONCLUSIVE),
        (48, 48, 4, State.NOT_MEASURED),
    ],
)
def test_a_ready_made_interval_against_its_gate(low, high, n, state):
    judged = judge_interval(Interval(low, high, 0.95, "test"), n, STEPS_40)
    assert judged.state is state
    assert bool(judged.note) is (state in (State.INCONCLUSIVE, State.NOT_MEASURED))
