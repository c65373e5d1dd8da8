from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import CHECK_CAUSES, ONE_PART
from wfgy_triage.diagnosis_retrieval import (
    DUPLICATE_LIMIT,
    SAME_ORDER,
    ArmEvidence,
    RankEvidence,
    RetrievalEvidence,
    diagnose_retrieval,
)
from wfgy_triage.localized import ORDER, Damage, PartDamage
from wfgy_triage.measure.statistics import PairedCounts, mcnemar_exact
from wfgy_triage.result import Check, State


def arm(lost: int, won: int, p_deployed: float = 1.0) -> ArmEvidence:
    return ArmEvidence(lost, won, mcnemar_exact(PairedCounts(0, lost, won, 0)), p_deployed)


NONE = arm(0, 0)
HEALTHY = RetrievalEvidence(State.INCONCLUSIVE, 48, NONE, NONE, None, NONE, 0, 0.99, 0.0)
BROKEN = replace(HEALTHY, state=State.FAIL, deployed=arm(20, 1), correlation=0.3)


LATER = RankEvidence(deployed=arm(14, 2), rebuilt=arm(4, 3), normalised=arm(3, 4), floor_flips=0)
"""The right passage comes later with the given index; both ways of mending it bring it back."""
GIVEN = replace(HEALTHY, deployed=arm(3, 0), given_unit=False, ranks=LATER)


@pytest.mark.parametrize(
    ("evidence", "cause", "confidence"),
    [
        (replace(BROKEN, rebuilt=arm(2, 1, 1e-4), misplaced=1.0), "index_fragmented", "high"),
        (replace(BROKEN, rebuilt=arm(2, 1, 1e-4), misplaced=0.05), "index_model_mismatch", "high"),
        (replace(BROKEN, rebuilt=arm(19, 1), misplaced=1.0), "weights_too_few_bits", "medium"),
        (GIVEN, "index_metric_mismatch", "medium"),
        (replace(GIVEN, given_unit=True), "index_model_mismatch", "medium"),
        (replace(GIVEN, state=State.PASS), "within_noise", "high"),
        (replace(GIVEN, ranks=replace(LATER, deployed=arm(9, 3))), "within_noise", "medium"),
        (replace(GIVEN, ranks=replace(LATER, deployed=arm(2, 14))), "within_noise", "medium"),
        (replace(GIVEN, ranks=replace(LATER, floor_flips=16)), "within_noise", "medium"),
        (
            replace(GIVEN, ranks=replace(LATER, rebuilt=arm(13, 2), normalised=arm(13, 2))),
            "within_noise",
            "medium",
        ),
        (HEALTHY, "within_noise", "medium"),
        (replace(HEALTHY, state=State.PASS), "within_noise", "high"),
        (replace(BROKEN, rebuilt=arm(2, 1, 1e-4)), "index_model_mismatch", "high"),
        (replace(BROKEN, rebuilt=arm(8, 6, 0.2)), "index_model_mismatch", "medium"),
        (replace(BROKEN, rebuilt=arm(19, 1)), "weights_too_few_bits", "medium"),
        (replace(BROKEN, rebuilt=arm(13, 1)), "weights_too_few_bits", "medium"),
        (replace(BROKEN, rebuilt=None), "unknown", "low"),
        (replace(BROKEN, normalised=NONE, given_unit=False), "index_metric_mismatch", "medium"),
        (replace(BROKEN, normalised=NONE, given_unit=True), "index_model_mismatch", "medium"),
        (replace(BROKEN, floor_flips=21), "unknown", "low"),
        (replace(HEALTHY, duplicates=0.2), "index_fragmented", "medium"),
        (replace(HEALTHY, independent=arm(0, 12)), "baseline_also_fails", "high"),
        (replace(HEALTHY, independent=arm(0, 6)), "within_noise", "medium"),
        (replace(HEALTHY, state=State.FAIL, deployed=arm(5, 0)), "unknown", "low"),
        (replace(HEALTHY, pairs=0), "unknown", "low"),
    ],
)
def test_the_cause_is_what_brings_the_passages_back(evidence, cause, confidence):
    found = diagnose_retrieval(evidence, ())
    assert (found.cause, found.confidence) == (cause, confidence)
    assert cause not in found.ruled_out


@pytest.mark.parametrize(
    ("rebuilt", "with_floor", "without"),
    [
        (arm(2, 1, 1e-4), "high", "high"),
        (arm(5, 1, 1e-4), "high", "medium"),
        (arm(2, 1, 0.2), "medium", "medium"),
    ],
)
def test_without_a_noise_floor_noise_is_not_ruled_out(rebuilt, with_floor, without):
    for floor, result, confidence in ((0, "ok", with_floor), (None, "unknown", without)):
        found = diagnose_retrieval(replace(BROKEN, rebuilt=rebuilt, floor_flips=floor), ())
        assert (found.cause, found.confidence) == ("index_model_mismatch", confidence)
        assert found.evidence[0].check == "above_noise"
        assert found.evidence[0].result == result
        assert ("within_noise" in found.ruled_out) == (floor is not None)
    # Exactly nine tenths of the net loss.
    nine = replace(BROKEN, deployed=arm(21, 1), rebuilt=arm(3, 1, 1e-4), floor_flips=None)
    assert diagnose_retrieval(nine, ()).confidence == "high"
    nothing = diagnose_retrieval(replace(HEALTHY, floor_flips=None), ())
    assert (nothing.cause, nothing.evidence[0].result) == ("within_noise", "fault")


@pytest.mark.parametrize(("left", "confidence"), [(0.01, "high"), (0.2, "medium")])
def test_all_weights_back_prove_the_weights_only_where_the_order_is_that_of_fp16(left, confidence):
    parts = (
        PartDamage("all", "All weights", left, 18, 20),
        PartDamage("mlp 0-5", "MLP, blocks 1 to 6", 0.3, 9, 20),
    )
    damage = Damage(0.4, 48, parts, measure=ORDER)
    found = diagnose_retrieval(replace(BROKEN, rebuilt=arm(19, 1)), (), damage)
    assert (found.cause, found.confidence) == ("weights_too_few_bits", confidence)
    assert "head_bits_too_few" in found.ruled_out
    rungs = {c.check: c for c in found.evidence}
    assert rungs["all_weights_back"].result == ("ok" if confidence == "high" else "fault")
    assert "falls from 0.4 to 0.3 (25 % of it goes), and 9 of 20 lost passages" in rungs[ONE_PART].detail


def test_a_fault_before_measuring_comes_first():
    fault = Check("same_token_ids", "fault", "differ")
    found = diagnose_retrieval(BROKEN, (fault,))
    assert (found.cause, found.confidence) == ("tokenizer_mismatch", "high")
    assert found.evidence[0] == fault


def test_several_checks_of_one_cause_rule_it_out_once_and_a_failed_one_does_not():
    checks = [Check(name, "ok", "alike") for name in CHECK_CAUSES]
    found = diagnose_retrieval(HEALTHY, checks)
    assert set(CHECK_CAUSES.values()) <= set(found.ruled_out)
    assert len(found.ruled_out) == len(set(found.ruled_out))
    named = diagnose_retrieval(HEALTHY, [*checks[1:], replace(checks[0], result="fault")])
    assert named.cause == CHECK_CAUSES[checks[0].check]
    assert named.cause not in named.ruled_out


def test_the_limits_are_those_of_the_fix_map():
    gates = load_catalog().gates
    assert gates["index_duplicates"].value == DUPLICATE_LIMIT
    assert gates["index_rank_agreement"].value == SAME_ORDER


SMALL = st.integers(0, 30)


@given(SMALL, SMALL, SMALL, SMALL, st.sampled_from(State), st.floats(0, 1), st.booleans())
def test_every_cause_is_in_the_fix_map_and_no_winner_is_accused(lost, won, again, more, state, share, unit):
    evidence = RetrievalEvidence(
        state,
        60,
        arm(lost, won),
        arm(again, more),
        NONE,
        NONE,
        0,
        share,
        share,
        given_unit=unit,
        maker="fp16",
    )
    found = diagnose_retrieval(evidence, ())
    causes = load_catalog().causes
    assert all(c in causes for c in (found.cause, *found.ruled_out))
    if lost <= won:
        assert found.cause in {"within_noise", "index_fragmented"}
