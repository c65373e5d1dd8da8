from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import (
    CHECK_CAUSES,
    EQUAL_IN_THIS_RUN,
    ONLY_WEIGHTS,
    WEIGHTS,
    RateEvidence,
    diagnose,
    diagnose_rate,
)
from wfgy_triage.evidence import MeanEvidence
from wfgy_triage.localized import Damage, PartDamage
from wfgy_triage.measure.statistics import PairedCounts, mcnemar_exact, tango
from wfgy_triage.probes.evidence import rate_evidence, shift_evidence, strongest
from wfgy_triage.probes.paired import PerSide, rate_metric
from wfgy_triage.result import Check, State

GOOD = tuple(Check(name, "ok", "") for name in [*CHECK_CAUSES, ONLY_WEIGHTS])


def evidence(lost: int, won: int, **changes: object) -> RateEvidence:
    counts = PairedCounts(both=20 - lost - won, only_reference=lost, only_candidate=won, neither=0)
    base = RateEvidence(
        state=State.FAIL,
        baseline_state=State.INCONCLUSIVE,
        pairs=20,
        lost=lost,
        won=won,
        p_value=mcnemar_exact(counts),
        interval=tango(counts).bounds,
        floor_flips=0,
        kld=0.5,
        kld_floor=0.001,
    )
    return replace(base, **changes)


def test_a_real_loss_in_the_same_engine_is_the_weights():
    found = diagnose_rate(evidence(12, 0, baseline_state=State.PASS), GOOD)
    assert (found.cause, found.confidence) == ("weights_too_few_bits", "high")
    assert {"within_noise", "baseline_also_fails", *EQUAL_IN_THIS_RUN} <= set(found.ruled_out)


@pytest.mark.parametrize(
    ("baseline", "result", "ruled_out"),
    [
        (State.PASS, "ok", True),
        (State.FAIL, "fault", False),
        (State.INCONCLUSIVE, "inconclusive", False),
        (State.NOT_MEASURED, "unknown", False),
    ],
)
def test_of_fp16_alone_no_more_is_said_than_is_known(baseline: State, result: str, ruled_out: bool):
    found = diagnose_rate(evidence(12, 0, baseline_state=baseline), GOOD)
    assert next(c.result for c in found.evidence if c.check == "baseline_passes") == result
    assert ("baseline_also_fails" in found.ruled_out) is ruled_out


def test_a_loss_on_another_rule_than_the_failed_one_is_never_called_certain():
    back = Damage(0.2, 10, (PartDamage("all", "Everything", 0.0, 8, 8),))
    whole = evidence(12, 0).evidence()
    assert diagnose(whole, GOOD, back).confidence == "high"
    found = diagnose(replace(whole, elsewhere="On another rule: a loss."), GOOD, back)
    assert (found.cause, found.confidence) == ("weights_too_few_bits", "medium")
    rung = next(c for c in found.evidence if c.check == "above_noise")
    assert rung.detail.endswith(f"{whole.noise_detail} On another rule: a loss.")


def test_what_fails_and_is_no_loss_takes_a_cause_from_certain_losses_alone_and_never_for_certain():
    certain, likely = evidence(12, 0).evidence(), evidence(7, 0, rules=4).evidence()
    assert (certain.certain, likely.certain) == (True, False)
    shown = strongest({"accuracy": certain}, State.FAIL, ["time_saved"])
    found = diagnose(shown, GOOD)
    assert (found.cause, found.confidence) == ("weights_too_few_bits", "medium")
    rung = next(c for c in found.evidence if c.check == "above_noise")
    assert rung.detail.startswith("What failed is no loss in the answers. What is beyond the noise is")
    assert "EXL2 loses 12" in rung.detail
    unproved = strongest({"accuracy": replace(likely, above_noise=True)}, State.FAIL, ["time_saved"])
    assert diagnose(unproved, GOOD).cause == "unknown"
    assert strongest({"accuracy": certain}, State.FAIL, ["accuracy"]) == certain


def parts_back(left: float, restored: int | None, asked: int, worst: str = "mlp 0-5") -> Damage:
    """Of a drift of 0.5: what is left with everything back, and with the worst part, which ends 60 % of it."""
    return Damage(
        0.5,
        20,
        (PartDamage("all", "All weights", left, restored, asked), PartDamage(worst, "Part", 0.2, 0, 8)),
    )


@pytest.mark.parametrize(
    ("left", "restored", "asked", "cause", "confidence"),
    [
        (0.0, 8, 8, WEIGHTS, "high"),
        (0.05, 8, 8, WEIGHTS, "high"),
        # Something else differs too.
        (0.1, 8, 8, WEIGHTS, "medium"),
        (0.25, 0, 8, WEIGHTS, "medium"),
        (0.48, 4, 8, WEIGHTS, "medium"),
        # Hardly anything comes back: it is not the weights.
        (0.48, 3, 8, "unknown", "low"),
        (0.48, 0, 8, "unknown", "low"),
        (0.48, None, 0, "unknown", "low"),
    ],
)
@pytest.mark.parametrize("worst", ["mlp 0-5", "head"])
def test_weights_are_blamed_as_far_as_all_of_them_back_end_the_damage(
    worst: str, left: float, restored: int | None, asked: int, cause: str, confidence: str
):
    found = diagnose_rate(evidence(12, 0), GOOD, parts_back(left, restored, asked, worst))
    named = "head_bits_too_few" if worst == "head" and cause == WEIGHTS else cause
    assert (found.cause, found.confidence) == (named, confidence)
    assert ("head_bits_too_few" in found.ruled_out) is (named == WEIGHTS)


def test_where_all_weights_back_were_not_measured_exclusion_is_enough():
    stopped = Damage(0.5, 20, (PartDamage("mlp 0-5", "Part", 0.2, None, 0),))
    found = diagnose_rate(evidence(12, 0), GOOD, stopped)
    assert (found.cause, found.confidence) == (WEIGHTS, "high")


def drifted(*, worse: float) -> dict[str, float]:
    """Twenty answers that moved by 0.3, half of them toward the reference, and all by so much away from it."""
    return {f"q{n}": (0.3 if n % 2 else -0.3) + worse for n in range(20)}


@pytest.mark.parametrize("worse", [-0.01, 0.0, 0.01])
def test_a_fail_of_answers_that_drift_both_ways_is_no_pass_of_the_noise(worse: float):
    floor = dict.fromkeys(drifted(worse=0), 0.001)
    found = shift_evidence(drifted(worse=worse), floor, None, 0.95)
    said = diagnose(strongest({"ds_drift": found}, State.FAIL, ["ds_drift"]), GOOD)
    assert (said.cause, said.confidence) == ("unknown", "low")
    rung = next(c for c in said.evidence if c.check == "above_noise")
    assert (
        "Answers moved by 0.3 on average, but not away from the reference by more than noise." in rung.detail
    )
    passed = diagnose(strongest({"ds_drift": found}, State.PASS, []), GOOD)
    assert passed.cause == "within_noise"
    assert not any("moved" in c.detail for c in passed.evidence)


@pytest.mark.parametrize("failed", [["ds_drift"], ["time_saved"]])
def test_of_answers_that_moved_away_it_is_not_said_that_they_lost_nothing(failed: list[str]):
    away = {q: abs(d) for q, d in drifted(worse=0.01).items()}
    found = shift_evidence(away, dict.fromkeys(away, 0.001), None, 0.95)
    said = diagnose(strongest({"ds_drift": replace(found, certain=False)}, State.FAIL, failed), GOOD)
    assert not any("moved" in c.detail for c in said.evidence)


@given(
    lost=st.integers(0, 10),
    won=st.integers(0, 10),
    baseline=st.sampled_from(State),
    flips=st.none() | st.integers(0, 20),
)
def test_a_fail_is_never_within_noise(lost, won, baseline, flips):
    found = diagnose_rate(evidence(lost, won, baseline_state=baseline, floor_flips=flips), GOOD)
    assert found.cause != "within_noise"


def test_the_same_loss_across_engines_is_unknown():
    checks = [c for c in GOOD if c.check != ONLY_WEIGHTS]
    assert diagnose_rate(evidence(12, 0), checks).cause == "unknown"


def test_a_weaker_loss_gives_less_confidence():
    assert diagnose_rate(evidence(6, 0), GOOD).confidence == "medium"
    assert diagnose_rate(evidence(12, 0, kld=0.001, kld_floor=0.001), GOOD).confidence == "medium"


def test_no_more_than_chance_is_noise():
    assert diagnose_rate(evidence(3, 1, state=State.INCONCLUSIVE), GOOD).cause == "within_noise"


def test_few_losses_count_where_the_gate_the_interval_and_the_tokens_agree():
    assert mcnemar_exact(PairedCounts(16, 4, 0, 0)) == 0.125
    found = diagnose_rate(evidence(4, 0), GOOD)
    assert (found.cause, found.confidence) == ("weights_too_few_bits", "medium")
    assert diagnose_rate(evidence(4, 0, state=State.INCONCLUSIVE), GOOD).cause == "within_noise"
    assert diagnose_rate(evidence(4, 0, kld=0.001), GOOD).cause == "unknown"
    assert diagnose_rate(evidence(4, 0, kld=None), GOOD).cause == "unknown"


def test_both_ways_past_chance_are_corrected_for_the_number_of_rules():
    """Four lost of twenty: Tango's 95 % interval lies below zero, its 98.75 % one, for four rules, does not."""
    reference, candidate = ({f"q{i}": i >= lost for i in range(20)} for lost in (0, 4))
    good = PerSide(reference, candidate, reference)
    counts = PairedCounts(16, 4, 0, 0)
    assert tango(counts, 0.95).bounds[1] < 0 < tango(counts, 0.9875).bounds[1]
    primary = replace(rate_metric("accuracy", good, 0.95, True), state=State.FAIL)
    for rules, beyond in ((1, True), (4, False)):
        found = replace(rate_evidence(primary, good, good, None, 0.95, rules), kld=0.5, kld_floor=0.001)
        assert found.evidence().above_noise is beyond


def test_a_failure_that_chance_could_explain_is_not_blamed_on_anything():
    found = diagnose_rate(evidence(3, 0), GOOD)
    assert (found.cause, found.confidence) == ("unknown", "low")


def test_a_baseline_that_fails_alike_is_named():
    found = diagnose_rate(evidence(1, 2, baseline_state=State.FAIL), GOOD)
    assert found.cause == "baseline_also_fails"
    assert "baseline_also_fails" not in found.ruled_out


def test_a_failing_baseline_does_not_hide_a_further_loss():
    found = diagnose_rate(evidence(12, 0, baseline_state=State.FAIL), GOOD)
    assert found.cause == "weights_too_few_bits"
    assert "baseline_also_fails" not in found.ruled_out


def test_changes_that_fp16_shows_against_itself_are_noise():
    found = diagnose_rate(evidence(8, 0, floor_flips=8, state=State.INCONCLUSIVE), GOOD)
    assert found.cause == "within_noise"


def test_nothing_measured_is_unknown():
    assert diagnose_rate(evidence(0, 0, p_value=None, pairs=0), GOOD).cause == "unknown"


@pytest.mark.parametrize(("check", "cause"), CHECK_CAUSES.items())
def test_a_failed_precheck_comes_before_every_measurement(check: str, cause: str):
    checks = [replace(c, result="fault") if c.check == check else c for c in GOOD]
    found = diagnose_rate(evidence(12, 0), checks)
    assert found.cause == cause
    assert cause not in found.ruled_out


def test_the_first_fault_of_the_ladder_wins():
    checks = [replace(c, result="fault") for c in GOOD]
    assert diagnose_rate(evidence(12, 0), checks).cause == "tokenizer_mismatch"


@given(
    lost=st.integers(0, 10),
    won=st.integers(0, 10),
    state=st.sampled_from(State),
    baseline=st.sampled_from(State),
    flips=st.none() | st.integers(0, 20),
    faults=st.sets(st.sampled_from(sorted(CHECK_CAUSES))),
)
def test_every_cause_is_known_and_never_ruled_out_at_once(lost, won, state, baseline, flips, faults):
    checks = [replace(c, result="fault" if c.check in faults else "ok") for c in GOOD]
    found = diagnose_rate(
        evidence(lost, won, state=state, baseline_state=baseline, floor_flips=flips), checks
    )
    causes = load_catalog().causes
    assert found.cause in causes
    assert found.cause not in found.ruled_out
    assert set(found.ruled_out) <= set(causes)


def test_a_loss_whose_interval_ends_at_zero_but_for_rounding_is_not_beyond_chance():
    def found(low: float) -> bool:
        return MeanEvidence(
            state=State.FAIL,
            baseline_state=State.PASS,
            questions=10,
            loss=0.37,
            interval=(low, 0.71),
            certain_interval=(low, 0.9),
            floor=None,
            kld=None,
            kld_floor=None,
        ).evidence().above_noise  # fmt: skip

    assert not found(2.2e-16)
    assert found(0.01)
