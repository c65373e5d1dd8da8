"""From evidence to a cause: the isolation ladder, as a pure function.

Each rung holds the earlier ones fixed; the first that explains the failure names the cause. Nothing that a model
writes is read here, so nothing it writes can change the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wfgy_triage.checks import load_checks
from wfgy_triage.result import Check, Diagnosis, State

OK, FAULT, UNKNOWN = "ok", "fault", "unknown"

CHECK_CAUSES: Mapping[str, str] = {c.id: c.cause for c in load_checks().values() if c.ladder and c.cause}
"""The doctor's check to the cause that its failure names, in the order of the ladder (rungs 1 to 4)."""

ONLY_WEIGHTS = "only_weights_differ"
"""The check (rung 7) that both sides ran in one engine with equal settings."""

EQUAL_IN_THIS_RUN = ("sampler_settings", "kv_cache_bits", "kernel_version_skew")
"""Causes that cannot explain a difference when both sides run in one engine with the same settings."""

SIGNIFICANT = 0.05
CERTAIN = 0.01


@dataclass(frozen=True)
class RateEvidence:
    """What a paired pass/fail probe found on its primary metric.

    Attributes:
        state: verdict of the EXL2 side against the gate.
        baseline_state: verdict of the FP16 side against the same gate.
        pairs: questions answered on both sides.
        lost: questions where FP16 gives a usable answer and EXL2 does not.
        won: the reverse.
        p_value: exact McNemar p-value of lost against won, two-sided; None without pairs.
        interval: 95 % interval of the paired difference in the rate, EXL2 minus FP16; None without pairs.
        floor_flips: questions whose outcome differs between the FP16 side and its twin; None when not measured.
        kld: mean KL(FP16||EXL2) in nats; None when not measured.
        kld_floor: the same between FP16 and its twin.
    """

    state: State
    baseline_state: State
    pairs: int
    lost: int
    won: int
    p_value: float | None
    interval: tuple[float, float] | None
    floor_flips: int | None
    kld: float | None
    kld_floor: float | None


def diagnose_rate(evidence: RateEvidence, checks: Sequence[Check]) -> Diagnosis:
    """Climb the ladder for a paired pass/fail probe.

    Args:
        evidence: what was measured.
        checks: pre-checks already made (rungs 1 to 4); those not made are simply absent.
    """
    ruled_out = list(ruled_out_by(checks))
    for check in checks:
        if check.result == FAULT and check.check in CHECK_CAUSES:
            cause = CHECK_CAUSES[check.check]
            confidence = "medium" if evidence.state in (State.PASS, State.NOT_MEASURED) else "high"
            return Diagnosis(cause, confidence, (*checks, *_rungs(evidence)), tuple(ruled_out))
    rungs = _rungs(evidence)
    only_weights = any(c.check == ONLY_WEIGHTS and c.result == OK for c in checks)
    cause, confidence = _measured_cause(evidence, only_weights)
    if only_weights and evidence.p_value is not None:
        ruled_out += EQUAL_IN_THIS_RUN
    by_rung = {"baseline_passes": "baseline_also_fails", "above_noise": "within_noise"}
    ruled_out += [by_rung[r.check] for r in rungs if r.check in by_rung and r.result == OK]
    return Diagnosis(cause, confidence, (*checks, *rungs), tuple(c for c in ruled_out if c != cause))


def ruled_out_by(checks: Sequence[Check]) -> tuple[str, ...]:
    """Causes all of whose checks that were made came out well; one in doubt rules nothing out."""
    results: dict[str, set[str]] = {}
    for check in checks:
        if check.check in CHECK_CAUSES:
            results.setdefault(CHECK_CAUSES[check.check], set()).add(check.result)
    return tuple(cause for cause, seen in results.items() if seen == {OK})


def _measured_cause(e: RateEvidence, only_weights: bool) -> tuple[str, str]:
    """Rungs 5 to 8: the baseline, the noise, the engine, the weights."""
    if e.p_value is None:
        return "unknown", "low"
    if not _above_noise(e):
        if e.baseline_state is State.FAIL:
            return "baseline_also_fails", "high"
        if e.state is State.FAIL and e.lost > e.won:
            # Outside the gate, yet too few changes to tell them from chance: more questions are needed.
            return "unknown", "low"
        return "within_noise", "high" if e.state is State.PASS else "medium"
    if not only_weights:
        return "unknown", "low"
    certain = e.p_value <= CERTAIN and _kld_above_floor(e)
    return "weights_too_few_bits", "high" if certain else "medium"


def _above_noise(e: RateEvidence) -> bool:
    """Whether EXL2 loses more than chance explains, and changes more than FP16 does against itself.

    Fewer than six one-sided changes can never reach p = 0.05 in the exact test. Where EXL2 is outside the gate, the
    paired interval lies below zero and every token says the same (divergence above its floor), that is enough.
    """
    if e.p_value is None or e.lost <= e.won:
        return False
    if e.floor_flips is not None and e.lost + e.won <= e.floor_flips:
        return False
    if e.p_value <= SIGNIFICANT:
        return True
    return e.state is State.FAIL and e.interval is not None and e.interval[1] < 0 and _kld_above_floor(e)


def _kld_above_floor(e: RateEvidence) -> bool:
    return e.kld is not None and e.kld_floor is not None and e.kld > e.kld_floor


def _rungs(e: RateEvidence) -> tuple[Check, ...]:
    return (_baseline_rung(e), _noise_rung(e), _divergence_rung(e))


def _baseline_rung(e: RateEvidence) -> Check:
    detail = {
        State.PASS: "The FP16 model alone meets the gate.",
        State.FAIL: "The FP16 model alone misses the gate, so part of the failure is not the quantization.",
        State.INCONCLUSIVE: "The FP16 model is near the gate; too few questions to say on which side.",
        State.NOT_MEASURED: "The FP16 side was not measured.",
    }[e.baseline_state]
    result = {State.PASS: OK, State.INCONCLUSIVE: OK, State.FAIL: FAULT}.get(e.baseline_state, UNKNOWN)
    return Check("baseline_passes", result, detail)


def _noise_rung(e: RateEvidence) -> Check:
    if e.p_value is None:
        return Check("above_noise", UNKNOWN, "No question was answered on both sides.")
    flips = (
        "how often FP16 changes against itself was not measured"
        if e.floor_flips is None
        else f"FP16 against itself changes {e.floor_flips}"
    )
    detail = (
        f"Of {e.pairs} questions EXL2 loses {e.lost} usable answers and wins {e.won} against FP16 "
        f"(exact McNemar p = {e.p_value:.2g}); {flips}."
    )
    if e.p_value > SIGNIFICANT and _above_noise(e) and e.interval is not None:
        low, high = (100 * bound for bound in e.interval)
        detail += (
            f" Few changes for that test alone, but the paired difference ({low:.0f} to {high:.0f} points) lies below "
            "zero and the word-by-word comparison says the same."
        )
    return Check("above_noise", OK if _above_noise(e) else FAULT, detail)


def _divergence_rung(e: RateEvidence) -> Check:
    if e.kld is None:
        return Check("token_divergence", UNKNOWN, "The word-by-word comparison was not measured.")
    floor = "not measured" if e.kld_floor is None else f"{e.kld_floor:.2g}"
    detail = f"Mean KL(FP16‖EXL2) is {e.kld:.3g} nats; FP16 against its twin: {floor}."
    return Check("token_divergence", OK if _kld_above_floor(e) else UNKNOWN, detail)
