"""From what the arms of a retrieval run found to a cause. A pure function of counts and of facts about the index.

A cause is named by which change brings the right passages back: rebuilding the index with the serving model, scaling
the vectors, or nothing but FP16's own weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wfgy_triage.diagnosis import (
    CHECK_CAUSES,
    ENDED,
    FAULT,
    OK,
    UNKNOWN,
    WEIGHTS,
    damage_rungs,
    ruled_out_by,
    weights_proved,
)
from wfgy_triage.evidence import CERTAIN, SIGNIFICANT
from wfgy_triage.localized import Damage
from wfgy_triage.result import Check, Diagnosis, State

DUPLICATE_LIMIT = 0.15
"""Above it the vectorstore fragmentation page asks to rebuild (gate `index_duplicates`)."""
MISPLACED_LIMIT = 0.05
"""Share of stored vectors that are another passage's, above which the index is stale."""
SAME_ORDER = 0.9
"""Spearman ρ below which the same page calls two indexes different (gate `index_rank_agreement`)."""


@dataclass(frozen=True)
class ArmEvidence:
    """One arm against the FP16 reference, question by question.

    Attributes:
        lost: questions found by the reference only.
        won: questions found by this arm only.
        p_value: that lost and won are alike: exact McNemar, of places `measure.places`.
        p_deployed: the same of this arm against the deployed one; 1 for the deployed arm itself.
    """

    lost: int
    won: int
    p_value: float
    p_deployed: float = 1.0

    @property
    def worse(self) -> bool:
        """Whether it loses more than chance explains."""
        return self.lost > self.won and self.p_value <= SIGNIFICANT

    @property
    def differs(self) -> bool:
        """Whether chance does not explain that it finds other passages than the deployed arm."""
        return self.p_deployed <= SIGNIFICANT

    def restores(self, deployed: ArmEvidence) -> bool:
        """Whether it brings back at least half of the net loss and is not worse than the reference itself."""
        return not self.worse and 2 * (self.lost - self.won) <= deployed.lost - deployed.won

    def ends(self, deployed: ArmEvidence) -> bool:
        """Whether it brings back nearly all of the net loss: then that is explained, whatever the noise."""
        net = deployed.lost - deployed.won
        return net - (self.lost - self.won) >= ENDED * net


@dataclass(frozen=True)
class RankEvidence:
    """Where the right passage stands with a given index: `lost` counts where it comes later than with FP16.

    Attributes:
        deployed: the deployed arm.
        rebuilt: index and queries from EXL2; None when it was not measured.
        normalised: the given index with its vectors scaled to length one; None when it was not measured.
        floor_flips: questions on which FP16 and its twin differ; None when not measured.
    """

    deployed: ArmEvidence
    rebuilt: ArmEvidence | None
    normalised: ArmEvidence | None
    floor_flips: int | None

    @property
    def real(self) -> bool:
        """Whether it comes later more often than chance and, where it is known, FP16's own noise explain."""
        changes = self.deployed.lost + self.deployed.won
        return (
            self.deployed.worse
            and self.deployed.p_value <= CERTAIN
            and (self.floor_flips is None or changes > self.floor_flips)
        )


@dataclass(frozen=True)
class RetrievalEvidence:
    """What a retrieval run found.

    Attributes:
        state: verdict on the loss of recall.
        pairs: questions asked on both sides.
        deployed: the deployed arm.
        rebuilt: index and queries from EXL2; None when it was not measured.
        normalised: a given index with its vectors scaled to length one; None without such an index.
        independent: the independent embedder; None when it was not measured.
        floor_flips: questions on which FP16 and its twin differ; None when not measured.
        correlation: mean Spearman ρ of the deployed arm's scores with FP16's; None when not measured.
        duplicates: share of near-duplicates in the index; None when not measured.
        given_unit: whether the vectors of a given index have length one; None without such an index.
        maker: who made the vectors of a given index: `fp16`, `exl2`, `encoder`, `unknown`; empty without one.
        by_construction: both sides ask the same index with the same vectors.
        misplaced: share of a given index's vectors that are those of another passage; None without one.
        ranks: where the right passage stands; None without a given index.
    """

    state: State
    pairs: int
    deployed: ArmEvidence
    rebuilt: ArmEvidence | None
    normalised: ArmEvidence | None
    independent: ArmEvidence | None
    floor_flips: int | None
    correlation: float | None
    duplicates: float | None
    given_unit: bool | None = None
    maker: str = ""
    by_construction: bool = False
    misplaced: float | None = None
    ranks: RankEvidence | None = None

    @property
    def stale(self) -> bool:
        """Whether vectors of a given index belong to other passages than those beside them."""
        return self.misplaced is not None and self.misplaced > MISPLACED_LIMIT

    @property
    def real(self) -> bool:
        """Whether it loses more than chance, and changes more than FP16 against itself, where that is known."""
        changes = self.deployed.lost + self.deployed.won
        return self.deployed.worse and (self.floor_flips is None or changes > self.floor_flips)


def own_vectors(evidence: RetrievalEvidence) -> bool:
    """Whether EXL2's own vectors lose the passages, so that its weights are to be looked at."""
    return bool(evidence.pairs) and evidence.real and _cause_of_loss(evidence, None)[0] == WEIGHTS


def diagnose_retrieval(
    evidence: RetrievalEvidence, checks: Sequence[Check], damage: Damage | None = None
) -> Diagnosis:
    """Name the cause.

    Args:
        evidence: what was measured.
        checks: pre-checks already made; a fault found there explains what follows.
        damage: what putting FP16 weights back showed (rung 8); None where none were.
    """
    rungs = (*_rungs(evidence), *(damage_rungs(damage) if damage else ()))
    ruled_out = list(ruled_out_by(checks))
    for check in checks:
        if check.result == FAULT and check.check in CHECK_CAUSES:
            unsure = evidence.state in (State.PASS, State.NOT_MEASURED)
            return Diagnosis(
                CHECK_CAUSES[check.check],
                "medium" if unsure else "high",
                (*checks, *rungs),
                tuple(ruled_out),
            )
    cause, confidence = _cause(evidence, damage)
    ruled_out += [c for c in _ruled_out(evidence) if c != cause]
    if cause == WEIGHTS and damage is not None and damage.parts:
        ruled_out.append("head_bits_too_few")  # hidden states do not pass through the head
    return Diagnosis(cause, confidence, (*checks, *rungs), tuple(ruled_out))


def _cause(e: RetrievalEvidence, damage: Damage | None) -> tuple[str, str]:
    if not e.pairs:
        return "unknown", "low"
    return _cause_of_loss(e, damage) if e.real else _cause_without_loss(e)


def _restoring(e: RetrievalEvidence, found: RetrievalEvidence | RankEvidence) -> tuple[str, str] | None:
    """The cause whose removal brings back what was found lost, and how sure that is."""
    for arm, cause in (
        (found.normalised if e.given_unit is False else None, "index_metric_mismatch"),
        (found.rebuilt, "index_fragmented" if e.stale else "index_model_mismatch"),
    ):
        if arm is not None and arm.restores(found.deployed):
            beyond_noise = found.floor_flips is not None or arm.ends(found.deployed)
            return cause, "high" if arm.differs and beyond_noise else "medium"
    return None


def _cause_of_loss(e: RetrievalEvidence, damage: Damage | None) -> tuple[str, str]:
    if restoring := _restoring(e, e):
        return restoring
    if e.rebuilt is None:
        return "unknown", "low"
    # Rebuilt and as bad: by exclusion the serving model's own vectors lost the passages; FP16 weights back prove it.
    return WEIGHTS, "high" if damage is not None and weights_proved(damage) else "medium"


def _cause_without_loss(e: RetrievalEvidence) -> tuple[str, str]:
    if e.state is not State.PASS and e.ranks is not None and e.ranks.real:
        # Nothing is lost beyond chance, but the order is worse: enough to name what is wrong with the index.
        restoring = _restoring(e, e.ranks)
        if restoring is not None:
            return restoring[0], "medium"
    if e.duplicates is not None and e.duplicates > DUPLICATE_LIMIT:
        return "index_fragmented", "medium"
    if (
        e.independent is not None
        and e.independent.won > e.independent.lost
        and e.independent.p_value <= CERTAIN
    ):
        return "baseline_also_fails", "high"
    if e.state is State.FAIL and e.deployed.lost > e.deployed.won:
        return "unknown", "low"
    return "within_noise", "high" if e.state is State.PASS else "medium"


def _ruled_out(e: RetrievalEvidence) -> list[str]:
    out = []
    if e.real:
        if e.floor_flips is not None:
            out.append("within_noise")
        if e.rebuilt is not None and not e.rebuilt.restores(e.deployed):
            out.append("index_model_mismatch")
    if e.by_construction:
        out += ["index_model_mismatch", "weights_too_few_bits"]
    if e.duplicates is not None and e.duplicates <= DUPLICATE_LIMIT and not e.stale:
        out.append("index_fragmented")
    if e.given_unit is not False and e.pairs:
        out.append("index_metric_mismatch")
    return out


def _rungs(e: RetrievalEvidence) -> tuple[Check, ...]:
    found = [_noise_rung(e)]
    if e.ranks is not None:
        found.append(_rank_rung(e.ranks, e.pairs))
    if e.correlation is not None:
        detail = (
            f"The two orders of the passages have a mean Spearman ρ of {e.correlation:.3f} (1 is the same)."
        )
        found.append(Check("same_ranking", OK if e.correlation >= SAME_ORDER else FAULT, detail))
    if e.maker:
        found.append(_maker_rung(e.maker))
    if e.given_unit is not None:
        word = "have" if e.given_unit else "do not have"
        detail = f"The stored vectors {word} length one, as a search by inner product needs."
        found.append(Check("vectors_normalised", OK if e.given_unit else FAULT, detail))
    if e.misplaced is not None:
        share = f"{100 * e.misplaced:.1f} %"
        detail = f"{share} of the stored vectors are those of another passage than the one beside them."
        found.append(Check("vectors_in_place", FAULT if e.stale else OK, detail))
    for name, arm, what in (
        ("normalising_restores", e.normalised, "With vectors scaled to length one"),
        ("rebuilding_restores", e.rebuilt, "With the index rebuilt by EXL2"),
        ("independent_restores", e.independent, "With the independent embedder"),
    ):
        if arm is not None:
            found.append(_arm_rung(name, arm, what, e))
    if e.duplicates is not None:
        detail = f"{100 * e.duplicates:.1f} % of the passages have a near-duplicate."
        found.append(Check("few_duplicates", OK if e.duplicates <= DUPLICATE_LIMIT else FAULT, detail))
    return tuple(found)


def _noise_rung(e: RetrievalEvidence) -> Check:
    if not e.pairs:
        return Check("above_noise", UNKNOWN, "No question was asked on both sides.")
    if e.by_construction:
        return Check("above_noise", FAULT, "Both sides use the same vectors, so nothing can differ.")
    floor = "was not measured" if e.floor_flips is None else f"changes {e.floor_flips}"
    detail = (
        f"Of {e.pairs} questions the deployed arm loses {e.deployed.lost} right passages and wins {e.deployed.won} "
        f"against FP16 (exact McNemar p = {e.deployed.p_value:.2g}); FP16 against itself {floor}."
    )
    # Beyond chance is not yet beyond noise: that takes a floor to hold it against.
    beyond = UNKNOWN if e.floor_flips is None else OK
    return Check("above_noise", beyond if e.real else FAULT, detail)


def _rank_rung(ranks: RankEvidence, pairs: int) -> Check:
    arm = ranks.deployed
    detail = (
        f"The right passage comes later than with FP16 for {arm.lost} of {pairs} questions, earlier for {arm.won} "
        f"(Wilcoxon's signed-rank test of the places' logarithms, p = {arm.p_value:.2g})."
    )
    return Check("same_place", FAULT if ranks.real else OK, detail)


def _arm_rung(name: str, arm: ArmEvidence, what: str, e: RetrievalEvidence) -> Check:
    detail = f"{what}, {arm.lost} right passages are lost and {arm.won} won against FP16"
    if not e.real:
        return Check(name, UNKNOWN, f"{detail}; there was no loss to restore.")
    if arm.restores(e.deployed):
        return Check(name, OK, f"{detail} (against the deployed arm: p = {arm.p_deployed:.2g}).")
    return Check(name, FAULT, f"{detail}: that does not bring them back.")


def _maker_rung(maker: str) -> Check:
    detail = {
        "fp16": "The stored vectors are those that FP16 gives for these passages; the queries come from EXL2.",
        "exl2": "The stored vectors are those that EXL2 gives for these passages.",
        "encoder": "The stored vectors are those of the independent sentence model.",
    }.get(
        maker,
        "The stored vectors resemble those of neither model: another encoder, layer, or order of passages.",
    )
    result = {"fp16": FAULT, "unknown": FAULT}.get(maker, OK)
    return Check("index_from_serving_model", result, detail)
