"""Answers that were cut off before they were right or wrong: on a rule about losses they may be either."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.probes.desk import Desk
from tests.probes.test_acceptance import CHECKS, GOLD, desk_of, metric
from tests.remedies.bench import ScriptedRemedy
from tests.remedies.test_gate_trials import GateRun, rules_of
from wfgy_triage.measure.statistics import PairedCounts, tango
from wfgy_triage.probes.acceptance_rules import Measured, judgements, rule_metrics
from wfgy_triage.probes.acceptance_samples import Stored
from wfgy_triage.probes.paired import PerSide, rate_metric
from wfgy_triage.result import State
from wfgy_triage.store.records import Sample

NAMES = list(GOLD)
ENDLESS = "and so on " * 200


def with_outcomes(
    desk: Desk, cut: Collection[str] = (), wrong: Collection[str] = (), side: str = "exl2"
) -> Desk:
    """A side's answers to some questions as cut off or wrong; nothing else of them changes."""
    for sample in desk.side(side):
        name = sample.key.question
        right = None if name in cut else False if name in wrong else sample.payload["right"]
        desk.samples[sample.key] = Sample(sample.key, {**sample.payload, "right": right})
    return desk


@pytest.mark.parametrize(
    ("questions", "cut", "state"),
    [(80, 0, State.PASS), (100, 26, State.INCONCLUSIVE), (100, 60, State.NOT_MEASURED)],
)
def test_cut_off_answers_do_not_make_a_loss_smaller(questions: int, cut: int, state: State):
    names = [f"q{n}" for n in range(questions)]
    fp16: dict[str, bool | None] = dict.fromkeys(names, True)
    found = rate_metric("accuracy", PerSide(fp16, fp16 | dict.fromkeys(names[:cut]), {}), 0.95)
    assert found.state is state
    # What is shown is what was settled; what is judged may be as bad as all of the others lost.
    assert (found.n, found.difference) == (questions - cut, 0.0)
    if state is State.INCONCLUSIVE:
        worst = -tango(PairedCounts(questions - cut, cut, 0, 0)).low
        assert found.gated_interval[1] == pytest.approx(worst)
        assert found.more_questions is None


def test_six_of_eighty_answers_without_an_end_bar_a_pass_on_right_answers():
    desk = desk_of(GOLD, questions=80).run()
    assert metric(desk.evaluate(CHECKS), "accuracy").state is State.PASS
    found = metric(with_outcomes(desk, cut=NAMES[:6]).evaluate(CHECKS), "accuracy")
    assert (found.state, found.n) == (State.INCONCLUSIVE, 74)
    assert found.note.startswith("6 of 80 questions could not be judged")


def test_what_fails_among_several_rules_fails_whatever_the_others_were():
    """EXL2 loses all twelve that it ends; the eight that it never ends were wrong on FP16 and may be as many gains."""
    desk = with_outcomes(desk_of(GOLD).run(), cut=NAMES[:8], wrong=NAMES[8:20])
    assert desk.evaluate(CHECKS).state is State.FAIL
    desk = with_outcomes(desk, wrong=NAMES[:8], side="fp16")
    found = desk.evaluate(CHECKS)
    assert metric(found, "accuracy").state is State.INCONCLUSIVE
    assert found.state is not State.FAIL


@pytest.mark.parametrize("questions", [5, 10, 20])
@pytest.mark.parametrize("cut", [0, 2])
def test_every_rule_has_one_state(questions: int, cut: int):
    desk = with_outcomes(desk_of(GOLD, questions).run(), cut=NAMES[:cut], wrong=NAMES[cut : cut + 2])
    samples = tuple(desk.samples.values())
    measured = Measured.of(Stored.of(samples))
    shown = {r.id: r.state for r in rule_metrics(samples, measured, 0.95)}
    assert shown == {name: j.state for name, j in judgements(samples, measured, 0.95).items()}


def test_a_change_that_leaves_answers_without_an_end_is_not_verified_on_right_answers():
    """Two of twenty never end: with so many right ones that 73 are judged, the loss may still exceed five points."""
    run = GateRun()
    (trial,) = run.search(
        ScriptedRemedy("alternate_paths", {"a": GOLD | dict.fromkeys(NAMES[12:14], ENDLESS)})
    )
    assert rules_of(trial)["accuracy"] is State.INCONCLUSIVE
    assert trial.status == "better"
