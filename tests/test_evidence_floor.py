"""A loss that is beyond chance, with and without a noise floor to hold it against."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.probes.desk import Bench
from tests.probes.fakes import ScriptedEngine
from tests.probes.test_acceptance import CHECKS as PASSED
from tests.probes.test_acceptance import GOLD, PROBE, WRONG
from wfgy_triage.diagnosis import CHECK_CAUSES, ONLY_WEIGHTS, diagnose
from wfgy_triage.evidence import MeanEvidence, RateEvidence
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.result import Check, State

CHECKS = tuple(Check(name, "ok", "") for name in [*CHECK_CAUSES, ONLY_WEIGHTS])


def mean(floor: float | None, again: float | None = None) -> MeanEvidence:
    return MeanEvidence(State.FAIL, State.PASS, 20, 0.4, (0.3, 0.5), (0.25, 0.55), floor, 0.2, 0.001, again)


def rate(flips: int | None, again: int | None = None) -> RateEvidence:
    return RateEvidence(State.FAIL, State.PASS, 20, 12, 0, 0.0005, (-0.8, -0.4), flips, 0.2, 0.001, again)


@pytest.mark.parametrize("evidence", [mean(0.1), mean(None, 0.1), rate(1), rate(None, 1)])
def test_beyond_a_floor_that_was_measured_is_above_noise_and_certain(evidence: MeanEvidence | RateEvidence):
    found = diagnose(evidence.evidence(), CHECKS)
    assert next(c for c in found.evidence if c.check == "above_noise").result == "ok"
    assert (found.cause, found.confidence) == ("weights_too_few_bits", "high")
    assert "within_noise" in found.ruled_out


@pytest.mark.parametrize(
    ("lost", "flipped", "beyond"),
    [
        # 8 of 20 against 5 of 10: fewer flips than changes, and a larger share of them.
        (slice(0, 16, 2), slice(0, 10, 2), False),
        (slice(0, 16, 2), slice(0, 9, 4), True),
        # Of the first ten questions alone two change and two flip; of all of them eight change.
        (slice(8, 16), slice(0, 2), True),
    ],
)
def test_the_flips_of_the_first_questions_are_held_against_changes_of_all_by_their_share(
    lost: slice, flipped: slice, beyond: bool
):
    names = list(GOLD)[:20]
    exl2, twin = (GOLD | {q: WRONG[q] for q in names[some]} for some in (lost, flipped))
    engines = ScriptedEngine(GOLD), ScriptedEngine(exl2, bias=1.0), ScriptedEngine(twin, bias=0.01)
    found = Bench(PROBE, *engines, ProbeSettings(questions=20)).run().evaluate(PASSED)
    rung = next(c for c in found.diagnosis.evidence if c.check == "above_noise")
    assert "loses 8 usable answers and wins 0 against FP16" in rung.detail
    assert f"changes {len(names[flipped])} of 10" in rung.detail
    assert rung.result == ("ok" if beyond else "fault")
    assert found.diagnosis.cause == ("weights_too_few_bits" if beyond else "unknown")


def test_second_answers_of_some_questions_count_by_their_share_too():
    some = RateEvidence(
        State.FAIL, State.PASS, 20, 8, 0, 0.008, (-0.6, -0.2), 0, None, None, again_flips=5, again_pairs=10
    )
    assert not some.evidence().above_noise
    assert replace(some, again_pairs=20).evidence().above_noise
    assert "EXL2 against itself 5 of 10" in some.evidence().noise_detail


@pytest.mark.parametrize("evidence", [mean(None), rate(None)])
def test_without_a_floor_nothing_is_certain_and_noise_is_not_ruled_out(evidence: MeanEvidence | RateEvidence):
    found = diagnose(evidence.evidence(), CHECKS)
    rung = next(c for c in found.evidence if c.check == "above_noise")
    assert rung.result == "unknown"
    assert "was not measured" in rung.detail
    assert (found.cause, found.confidence) == ("weights_too_few_bits", "medium")
    assert "within_noise" not in found.ruled_out


@pytest.mark.parametrize("evidence", [mean(0.5), mean(0.1, 0.5), rate(13), rate(1, 13)])
def test_within_a_floor_it_is_noise(evidence: MeanEvidence | RateEvidence):
    found = diagnose(evidence.evidence(), CHECKS)
    assert next(c for c in found.evidence if c.check == "above_noise").result == "fault"
    assert found.cause != "weights_too_few_bits"
