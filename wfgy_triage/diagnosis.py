"""From evidence to a cause: the isolation ladder, as a pure function.

Each rung holds the earlier ones fixed; the first that explains the failure names the cause. Nothing that a model
writes is read here, so nothing it writes can change the outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wfgy_triage.checks import load_checks
from wfgy_triage.evidence import Evidence, MeanEvidence, RateEvidence
from wfgy_triage.localized import ORDER, Damage, Held, HeldAnswers, PartDamage
from wfgy_triage.result import Check, Diagnosis, State

OK, FAULT, UNKNOWN = "ok", "fault", "unknown"
OPEN = "inconclusive"
"""What was measured leaves a check open: with more questions it might come out either way."""

CHECK_CAUSES: Mapping[str, str] = {c.id: c.cause for c in load_checks().values() if c.ladder and c.cause}
"""The doctor's check to the cause that its failure names, in the order of the ladder (rungs 1 to 4)."""

ONLY_WEIGHTS = "only_weights_differ"
"""The check (rung 7) that both sides ran in one engine with equal settings."""

EQUAL_IN_THIS_RUN = ("sampler_settings", "kv_cache_bits", "kernel_version_skew")
"""Causes that cannot explain a difference when both sides run in one engine with the same settings."""

SAME_SAMPLING = "same_sampling_used"
"""The check that both sides were asked with equal sampling settings. Absent where both were neutral, as is usual."""
SAMPLER = "sampler_settings"
SAMPLER_BACK = "sampler_put_back"
"""The check (rung 10) that answers stay lost when EXL2 is asked with neutral sampling settings."""

WHOLE_CACHE = "cache_unrounded"
"""The check that keys and values are kept as they are computed. Absent in older sessions, where they always were."""
KV_CACHE = "kv_cache_bits"
WEIGHTS = "weights_too_few_bits"
KERNELS = "kernel_version_skew"
ENGINE_BACK = "engine_exchanged"
"""The check (the other part of rung 7) that answers stay lost when the reference engine computes the same weights."""
CACHE_BACK = "cache_put_back"
"""The check (rung 9) that answers stay lost when the cache rounds nothing."""

ONE_PART = "one_part_is_to_blame"
"""The check (rung 8) that a single part does most of the damage."""

BASELINE_FAILS = "baseline_also_fails"
UNHELD = {"held_to_the_form": "schema_unconstrained", "asked_in_a_frame": "prompt_contract_missing"}
"""The checks (rung 11) that FP16 fails even when its answers are held to a form, and the cause where it does not."""

MOSTLY = 0.5
"""A part is to blame when putting it back ends at least half of the drift."""
ENDED = 0.9
"""All weights back must end at least this share of the drift, or something else differs too."""


def diagnose(
    evidence: Evidence, checks: Sequence[Check], damage: Damage | None = None, held: Held | None = None
) -> Diagnosis:
    """Climb the ladder.

    Args:
        evidence: what was measured.
        checks: pre-checks already made (rungs 1 to 4); those not made are simply absent.
        damage: what exchanging engine, weights, cache and sampler showed (rungs 7 to 10); None when it was not tried.
        held: what FP16 showed held to the form of its answers (rung 11); None when it was not asked so.
    """
    ruled_out = list(ruled_out_by(checks))
    rungs = (*_rungs(evidence, damage), *(_held_rungs(held) if held else ()))
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
    sampler_cleared = _sampler_cleared(checks, damage)
    only_weights = engine_cleared and cache_cleared and sampler_cleared
    cause, confidence = _measured_cause(evidence, only_weights, damage)
    if evidence.elsewhere and confidence == "high":
        # What EXL2 loses is explained; that the rule failed for it is likely and no more.
        confidence = "medium"
    if engine_cleared and evidence.measured:
        cleared = {KV_CACHE: cache_cleared, SAMPLER: sampler_cleared}
        ruled_out += [c for c in EQUAL_IN_THIS_RUN if cleared.get(c, True)]
    if cause == BASELINE_FAILS:
        cause, confidence = _unheld_cause(held, confidence)
    by_rung = {"baseline_passes": BASELINE_FAILS, "above_noise": "within_noise", **UNHELD}
    ruled_out += [by_rung[r.check] for r in rungs if r.check in by_rung and r.result == OK]
    if cause == WEIGHTS and damage is not None and damage.parts:
        ruled_out.append("head_bits_too_few")
    return Diagnosis(
        cause, confidence, (*checks, *rungs), tuple(dict.fromkeys(c for c in ruled_out if c != cause))
    )


def _sampler_cleared(checks: Sequence[Check], damage: Damage | None) -> bool:
    """Whether sampling settings cannot explain a difference: equal on both sides, or neutral ones do not help."""
    if damage is not None and damage.sampler is not None:
        return damage.sampler.share < MOSTLY
    return not any(c.check == SAME_SAMPLING and c.result != OK for c in checks)


def ruled_out_by(checks: Sequence[Check]) -> tuple[str, ...]:
    """Causes all of whose checks that were made came out well; one in doubt rules nothing out."""
    results: dict[str, set[str]] = {}
    for check in checks:
        if check.check in CHECK_CAUSES:
            results.setdefault(CHECK_CAUSES[check.check], set()).add(check.result)
    return tuple(cause for cause, seen in results.items() if seen == {OK})


def _measured_cause(e: Evidence, only_weights: bool, damage: Damage | None) -> tuple[str, str]:
    """Rungs 5 to 10: the baseline, the noise, the sampler, the cache, the engine, the weights."""
    if not e.measured:
        return "unknown", "low"
    if not e.above_noise:
        if e.baseline_state is State.FAIL:
            return BASELINE_FAILS, "high"
        if e.state is State.FAIL:
            # Outside the gate, yet no loss beyond chance: too few changes to tell, or answers that moved both ways.
            return "unknown", "low"
        return "within_noise", "high" if e.state is State.PASS else "medium"
    exchanged = (damage.sampler, damage.cache, damage.engine) if damage else (None, None, None)
    for back, cause in zip(exchanged, (SAMPLER, KV_CACHE, KERNELS), strict=True):
        if back is not None and back.share >= MOSTLY:
            return cause, "high" if e.certain or back.share >= ENDED else "medium"
    if not only_weights or (damage is not None and _weights_cleared(damage)):
        return "unknown", "low"
    certain = e.certain and e.kld_above_floor
    if damage is None or not damage.parts:
        return WEIGHTS, "high" if certain else "medium"
    proved = weights_proved(damage)
    # Where all weights back leave some of the drift, something else differs too.
    certain = certain and (proved or damage.everything is None)
    worst = damage.worst
    if worst is not None and worst.id == "head" and damage.share(worst) >= MOSTLY:
        return "head_bits_too_few", "high" if certain else "medium"
    return WEIGHTS, "high" if certain or proved else "medium"


def weights_proved(damage: Damage) -> bool:
    """Whether everything put back ends the drift: then the weights are the cause by experiment, not by exclusion."""
    everything = damage.everything
    return everything is not None and damage.share(everything) >= ENDED


def _weights_cleared(damage: Damage) -> bool:
    """Whether the damage stays with all FP16 weights back: most of the drift, and most of the answers asked again."""
    everything = damage.everything
    if everything is None or damage.share(everything) >= MOSTLY:
        return False
    return not everything.asked or (everything.restored or 0) / everything.asked < MOSTLY


def _unheld_cause(held: Held | None, confidence: str) -> tuple[str, str]:
    """Rung 11: FP16 fails too; what brings most of its failed answers back is what neither side has."""
    ways = (held.lock, held.frame) if held else (None, None)
    for way, cause in zip(ways, UNHELD.values(), strict=True):
        if way is not None and way.share >= MOSTLY:
            return cause, "high" if way.share >= ENDED else "medium"
    return BASELINE_FAILS, confidence


def _rungs(e: Evidence, damage: Damage | None) -> tuple[Check, ...]:
    rungs = (_baseline_rung(e), _noise_rung(e), _divergence_rung(e))
    return rungs if damage is None else (*rungs, *damage_rungs(damage))


def _baseline_rung(e: Evidence) -> Check:
    detail = {
        State.PASS: "The FP16 model alone meets the gate.",
        State.FAIL: "The FP16 model alone misses the gate, so part of the failure is not the quantization.",
        State.INCONCLUSIVE: "Too few questions to say whether the FP16 model alone meets the gate.",
        State.NOT_MEASURED: "The gate is on the loss against FP16, or the FP16 side was not measured.",
    }[e.baseline_state]
    result = {State.PASS: OK, State.INCONCLUSIVE: OPEN, State.FAIL: FAULT}.get(e.baseline_state, UNKNOWN)
    return Check("baseline_passes", result, detail)


def _noise_rung(e: Evidence) -> Check:
    if not e.measured:
        return Check("above_noise", UNKNOWN, "No question was answered on both sides.")
    # Beyond chance is not yet beyond noise: that takes a floor to hold it against.
    beyond = OK if e.floor_known else UNKNOWN
    detail = f"{e.noise_detail}{_settled_by(e)}{_moved(e)} {e.elsewhere}".rstrip()
    return Check("above_noise", beyond if e.above_noise else FAULT, detail)


def _settled_by(e: Evidence) -> str:
    """What would tell the loss on the rule that failed from chance; empty where it is told, or that is not known."""
    if not _untold(e) or e.more_questions is None:
        return ""
    questions = "question" if e.more_questions == 1 else "questions"
    return f" About {e.more_questions} more {questions} would tell that from chance, if the loss stays."


def _moved(e: Evidence) -> str:
    """That answers moved and lost nothing by it, where the rule that failed is about that; empty elsewhere."""
    if not _untold(e) or e.moved is None:
        return ""
    return f" Answers moved by {e.moved:.3g} on average, but not away from the reference by more than noise."


def _untold(e: Evidence) -> bool:
    """Whether a rule failed and shows no loss beyond the noise itself."""
    return e.state is State.FAIL and (not e.above_noise or bool(e.elsewhere))


def _divergence_rung(e: Evidence) -> Check:
    if e.kld is None:
        return Check("token_divergence", UNKNOWN, "The word-by-word comparison was not measured.")
    floor = "not measured" if e.kld_floor is None else f"{e.kld_floor:.2g}"
    detail = f"Mean KL(FP16‖EXL2) is {e.kld:.3g} nats; FP16 against its twin: {floor}."
    return Check("token_divergence", OK if e.kld_above_floor else UNKNOWN, detail)


def damage_rungs(damage: Damage) -> Iterator[Check]:
    """What exchanging one thing showed: sampler, cache, engine, all weights, and the part that causes most."""
    if damage.sampler is not None:
        asked = damage.sampler
        words = (
            f"Asked with neutral sampling settings, EXL2 answers {asked.restored} of {asked.asked} lost questions "
            f"well. Its own settings: {damage.sampling}."
        )
        yield Check(SAMPLER_BACK, FAULT if asked.share >= MOSTLY else OK, words)
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
    everything = damage.everything
    if everything is not None:
        ended = damage.share(everything) >= ENDED
        yield Check("all_weights_back", OK if ended else FAULT, _put_back_words(damage, everything))
    elif damage.parts_left_out:
        why = f"FP16 weights were not put back part by part: {damage.parts_left_out}"
        yield Check("all_weights_back", UNKNOWN, why)
    worst = damage.worst
    if worst is not None:
        mostly = damage.share(worst) >= MOSTLY
        yield Check(ONE_PART, OK if mostly else UNKNOWN, _put_back_words(damage, worst))


def _put_back_words(damage: Damage, part: PartDamage) -> str:
    ordered = damage.measure == ORDER
    share = f"{100 * damage.share(part):.0f}"
    if ordered:
        text = (
            f"{part.label} put back to FP16: the change in the order of the passages (1 − ρ) falls from "
            f"{damage.drift:.3g} to {part.left:.3g} ({share} % of it goes)"
        )
    else:
        text = (
            f"{part.label} put back to FP16: drift {damage.drift:.3g} falls to {part.left:.3g} nats"
            f" ({share} % of it goes)"
        )
    if part.restored is None or not part.asked:
        return f"{text}."
    if ordered:
        return f"{text}, and {part.restored} of {part.asked} lost passages are found again."
    return f"{text}, and {part.restored} of {part.asked} lost answers come back."


def _held_rungs(held: Held) -> Iterator[Check]:
    """What FP16's failed questions show that are asked again, held to the form of their answers."""
    lock, frame = UNHELD
    if (h := held.lock) is not None:
        words = f"Held to the form that is asked for, FP16 answers {h.right} of {h.asked} failed questions rightly"
        yield _held_rung(lock, words, h)
    elif held.lock_left_out:
        yield Check(lock, UNKNOWN, f"FP16 was not held to the form of its answers: {held.lock_left_out}")
    if (h := held.frame) is not None:
        words = (
            f"Asked in a stricter prompt frame, FP16 answers {h.right} of {h.asked} failed questions rightly"
        )
        yield _held_rung(frame, words, h)
    elif held.frame_left_out:
        yield Check(frame, UNKNOWN, f"FP16 was not asked in a stricter prompt frame: {held.frame_left_out}")


def _held_rung(check: str, words: str, found: HeldAnswers) -> Check:
    words = f"{words}, and {found.formed} in the right form at least."
    return Check(check, FAULT if found.share >= MOSTLY else OK, words)


def diagnose_rate(
    evidence: RateEvidence, checks: Sequence[Check], damage: Damage | None = None, held: Held | None = None
) -> Diagnosis:
    """Climb the ladder for a paired pass/fail probe; see `diagnose`."""
    return diagnose(evidence.evidence(), checks, damage, held)


def diagnose_mean(evidence: MeanEvidence, checks: Sequence[Check], damage: Damage | None = None) -> Diagnosis:
    """Climb the ladder for a probe whose primary metric is a mean; see `diagnose`."""
    return diagnose(evidence.evidence(), checks, damage)
