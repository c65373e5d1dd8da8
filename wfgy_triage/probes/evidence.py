"""From metrics and outcomes to what the isolation ladder asks: is it real, is it more than noise, does FP16 pass?"""

from __future__ import annotations

from wfgy_triage.evidence import RateEvidence, above_noise
from wfgy_triage.measure.statistics import mcnemar_exact, tango
from wfgy_triage.probes.paired import Outcomes, PerSide, counts, gate_of, judge_side
from wfgy_triage.probes.token_metrics import Divergence
from wfgy_triage.result import Metric, State


def rate_evidence(
    primary: Metric, outcomes: Outcomes, usable: PerSide[bool], tokens: Divergence | None, level: float
) -> RateEvidence:
    """Evidence of a probe whose primary metric is a rate.

    Args:
        primary: the deciding metric.
        outcomes: its hits by question; None where an answer does not settle it.
        usable: whether an answer is of use, settled for every answer; what changes are counted on.
        tokens: the token comparison; None where the probe has none.
        level: two-sided confidence level.
    """
    gate = gate_of(primary.id)
    on_value = gate is not None and gate.applies_to == "value"
    changed = counts(PerSide[bool | None](usable.fp16, usable.exl2, usable.floor), usable.exl2)
    twin = counts(PerSide[bool | None](usable.fp16, usable.exl2, usable.floor), usable.floor)
    return RateEvidence(
        state=primary.state or State.NOT_MEASURED,
        # A gate on the loss says nothing about FP16 alone.
        baseline_state=judge_side(outcomes, outcomes.fp16, gate, level).state
        if gate is not None and on_value
        else State.NOT_MEASURED,
        pairs=changed.n,
        lost=changed.only_reference,
        won=changed.only_candidate,
        p_value=mcnemar_exact(changed) if changed.n else None,
        interval=tango(changed).bounds if changed.n else None,
        floor_flips=twin.only_reference + twin.only_candidate if twin.n else None,
        kld=tokens.kld if tokens else None,
        kld_floor=tokens.kld_floor if tokens else None,
    )


def lost_questions(evidence: RateEvidence, usable: PerSide[bool]) -> tuple[str, ...]:
    """Questions with a useful FP16 answer and no useful EXL2 answer; empty unless EXL2 loses more than noise does.

    These are what the localization (rung 8) asks again.
    """
    if not above_noise(evidence):
        return ()
    return tuple(q for q in usable.both if usable.fp16[q] and not usable.exl2[q])
