"""From evidence to a cause: the isolation ladder, as a pure function.

Each rung holds the earlier ones fixed; the first that explains the failure names the cause. Nothing that a model
writes is read here, so nothing it writes can change the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wfgy_triage.checks import load_checks
from wfgy_triage.evidence import Damage, Evidence, MeanEvidence, PartDamage, RateEvidence
from wfgy_triage.result import Check, Diagnosis, State

OK, FAULT, UNKNOWN = "ok", "fault", "unknown"

CHECK_CAUSES: Mapping[str, str] = {c.id: c.cause for c in load_checks().values() if c.ladder and c.cause}
"""The doctor's check to the cause that its failure names, in the order of the ladder (rungs 1 to 4)."""

ONLY_WEIGHTS = "only_weights_differ"
"""The check (rung 7) that both sides ran in one engine with equal settings."""

EQUAL_IN_THIS_RUN = ("sampler_settings", "kv_cache_bits", "kernel_version_skew")
"""Causes that cannot explain a difference when both sides run in one engine with the same settings."""

WHOLE_CACHE = "cache_unrounded"
"""The check that keys and values are kept as they are computed. Absent in older sessions, where they always were."""
KV_CACHE = "kv_cache_bits"
KERNELS = "kernel_version_skew"
ENGINE_BACK = "engine_exchanged"
"""The check (the other part of rung 7) that answers stay lost when the reference engine computes the same weights."""
CACHE_BACK = "cache_put_back"
"""The check (rung 9) that answers stay lost when the cache rounds nothing."""

ONE_PART = "one_part_is_to_blame"
"""The check (rung 8) that a single part does most of the damage."""

MOSTLY = 0.5
"""A part is to blame when putting it back ends at least half of the drift."""
ENDED = 0.9
"""All weights back must end at least this share of the drift, or something else differs too."""


def diagnose(evidence: Evidence, checks: Sequence[Check], damage: Damage | None = None) -> Diagnosis:
    """Climb the ladder.

    Args:
        evidence: what was measured.
        checks: pre-checks already made (rungs 1 to 4); those not made are simply absent.
        damage: what exchanging engine, weights and cache showed (rungs 7 to 9); None when it was not tried.
    """
    ruled_out = list(ruled_out_by(checks))
    rungs = _rungs(evidence, damage)
    for check in checks:
        if check.result == FAULT and check.check in CHECK_CAUSES:
            cause = CHECK_CAUSES[check.check]
            confidence = "medium" if evidence.state in (State.PASS, State.NOT_MEASURED) else "high"
            return Diagnosis(cause, confidence, (*checks, *rungs), tuple(ruled_out))
    one_engine = any(c.check == ONLY_WEIGHTS and c.result == OK for c in checks)
    coarse = any(c.check == WHOLE_CACHE and c.result != OK for c in checks)
    back = damage.cache if damage else None
    cache_cleared = not coarse or (back is not None and back.share < MOSTLY)
    engine = damage.engine if damage else None
    engine_cleared = one_engine or (engine is not None and engine.share < MOSTLY)
    cause, confidence = _measured_cause(evidence, engine_cleared and cache_cleared, damage)
    if engine_cleared and evidence.measured:
        ruled_out += [c for c in EQUAL_IN_THIS_RUN if c != KV_CACHE or cache_cleared]
    by_rung = {"baseline_passes": "baseline_also_fails", "above_noise": "within_noise"}
    ruled_out += [by_rung[r.check] for r in rungs if r.check in by_rung and r.result == OK]
    if cause == "weights_too_few_bits" and damage is not None and damage.parts:
        ruled_out.append("head_bits_too_few")
    return Diagnosis(
        cause, confidence, (*checks, *rungs), tuple(dict.fromkeys(c for c in ruled_out if c != cause))
    )


def ruled_out_by(checks: Sequence[Check]) -> tuple[str, ...]:
    """Causes all of whose checks that were made came out well; one in doubt rules nothing out."""
    results: dict[str, set[str]] = {}
    for check in checks:
        if check.check in CHECK_CAUSES:
            results.setdefault(CHECK_CAUSES[check.check], set()).add(check.result)
    return tuple(cause for cause, seen in results.items() if seen == {OK})


def _measured_cause(e: Evidence, only_weights: bool, damage: Damage | None) -> tuple[str, str]:
    """Rungs 5 to 9: the baseline, the noise, the cache, the engine, the weights."""
    if not e.measured:
        return "unknown", "low"
    if not e.above_noise:
        if e.baseline_state is State.FAIL:
            return "baseline_also_fails", "high"
        if e.state is State.FAIL and e.worse:
            # Outside the gate, yet too few changes to tell them from chance: more questions are needed.
            return "unknown", "low"
        return "within_noise", "high" if e.state is State.PASS else "medium"
    if damage is not None and damage.cache is not None and damage.cache.share >= MOSTLY:
        return KV_CACHE, "high" if e.certain or damage.cache.share >= ENDED else "medium"
    if damage is not None and damage.engine is not None and damage.engine.share >= MOSTLY:
        return KERNELS, "high" if e.certain or damage.engine.share >= ENDED else "medium"
    if not only_weights:
        return "unknown", "low"
    certain = e.certain and e.kld_above_floor
    if damage is None or not damage.parts:
        return "weights_too_few_bits", "high" if certain else "medium"
    worst = damage.worst
    if worst is not None and worst.id == "head" and damage.share(worst) >= MOSTLY:
        return "head_bits_too_few", "high" if certain else "medium"
    # Everything put back has to end the drift: then the weights are the cause by experiment, not by exclusion.
    proved = any(p.id == "all" and damage.share(p) >= ENDED for p in damage.parts)
    return "weights_too_few_bits", "high" if certain or proved else "medium"


def _rungs(e: Evidence, damage: Damage | None) -> tuple[Check, ...]:
    rungs = (_baseline_rung(e), _noise_rung(e), _divergence_rung(e))
    return rungs if damage is None else (*rungs, *_damage_rungs(damage))


def _baseline_rung(e: Evidence) -> Check:
    detail = {
        State.PASS: "The FP16 model alone meets the gate.",
        State.FAIL: "The FP16 model alone misses the gate, so part of the failure is not the quantization.",
        State.INCONCLUSIVE: "The FP16 model is near the gate; too few questions to say on which side.",
        State.NOT_MEASURED: "The gate is on the loss against FP16, or the FP16 side was not measured.",
    }[e.baseline_state]
    result = {State.PASS: OK, State.INCONCLUSIVE: OK, State.FAIL: FAULT}.get(e.baseline_state, UNKNOWN)
    return Check("baseline_passes", result, detail)


def _noise_rung(e: Evidence) -> Check:
    if not e.measured:
        return Check("above_noise", UNKNOWN, "No question was answered on both sides.")
    # Beyond chance is not yet beyond noise: that takes a floor to hold it against.
    beyond = OK if e.floor_known else UNKNOWN
    return Check("above_noise", beyond if e.above_noise else FAULT, e.noise_detail)


def _divergence_rung(e: Evidence) -> Check:
    if e.kld is None:
        return Check("token_divergence", UNKNOWN, "The word-by-word comparison was not measured.")
    floor = "not measured" if e.kld_floor is None else f"{e.kld_floor:.2g}"
    detail = f"Mean KL(FP16‖EXL2) is {e.kld:.3g} nats; FP16 against its twin: {floor}."
    return Check("token_divergence", OK if e.kld_above_floor else UNKNOWN, detail)


def _damage_rungs(damage: Damage) -> Iterator[Check]:
    """What exchanging one thing showed: the cache, the engine, all weights, and the part that causes most."""
    if damage.cache is not None:
        back = damage.cache
        words = f"With a cache that rounds nothing {back.restored} of {back.asked} lost answers come back."
        yield Check(CACHE_BACK, FAULT if back.share >= MOSTLY else OK, words)
    if damage.engine is not None:
        again = damage.engine
        words = f"The same weights in the reference engine bring {again.restored} of {again.asked} lost answers back."
        yield Check(ENGINE_BACK, FAULT if again.share >= MOSTLY else OK, words)
    elif damage.engine_left_out:
        why = f"The same weights were not asked in the reference engine: {damage.engine_left_out}"
        yield Check(ENGINE_BACK, UNKNOWN, why)
    everything = next((p for p in damage.parts if p.id == "all"), None)
    if everything is not None:
        ended = damage.share(everything) >= ENDED
        yield Check("all_weights_back", OK if ended else FAULT, _put_back_words(damage, everything))
    worst = damage.worst
    if worst is not None:
        mostly = damage.share(worst) >= MOSTLY
        yield Check(ONE_PART, OK if mostly else UNKNOWN, _put_back_words(damage, worst))


def _put_back_words(damage: Damage, part: PartDamage) -> str:
    text = (
        f"{part.label} put back to FP16: drift {damage.kl:.3g} falls to {part.kl_left:.3g} nats"
        f" ({100 * damage.share(part):.0f} % of it goes)"
    )
    if part.restored is None or not part.asked:
        return f"{text}."
    return f"{text}, and {part.restored} of {part.asked} lost answers come back."


def diagnose_rate(evidence: RateEvidence, checks: Sequence[Check], damage: Damage | None = None) -> Diagnosis:
    """Climb the ladder for a paired pass/fail probe; see `diagnose`."""
    return diagnose(evidence.evidence(), checks, damage)


def diagnose_mean(evidence: MeanEvidence, checks: Sequence[Check], damage: Damage | None = None) -> Diagnosis:
    """Climb the ladder for a probe whose primary metric is a mean; see `diagnose`."""
    return diagnose(evidence.evidence(), checks, damage)
