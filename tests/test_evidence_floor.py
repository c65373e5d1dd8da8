"""A loss that is beyond chance, with and without a noise floor to hold it against."""

from __future__ import annotations

import pytest

from wfgy_triage.diagnosis import CHECK_CAUSES, ONLY_WEIGHTS, diagnose
from wfgy_triage.evidence import MeanEvidence, RateEvidence
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
