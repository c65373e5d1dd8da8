"""From metrics and outcomes to what the isolation ladder asks: is it real, is it more than noise, does FP16 pass?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from wfgy_triage.catalog import load_catalog
from wfgy_triage.evidence import CERTAIN, SIGNIFICANT, Evidence, MeanEvidence, RateEvidence, above_noise
from wfgy_triage.measure.statistics import mcnemar_exact, mean_interval, tango
from wfgy_triage.probes.paired import Numbers, Outcomes, PerSide, counts, gate_of, judge_numbers, judge_side
from wfgy_triage.probes.token_metrics import Divergence
from wfgy_triage.result import Metric, State
from wfgy_triage.verdict import more_questions_for_loss


def rate_evidence(
    primary: Metric,
    outcomes: Outcomes,
    usable: PerSide[bool],
    tokens: Divergence | None,
    level: float,
    rules: int = 1,
) -> RateEvidence:
    """Evidence of a probe whose primary metric is a rate.

    Args:
        primary: the deciding metric.
        outcomes: its hits by question; None where an answer does not settle it.
        usable: whether an answer is of use, settled for every answer; what changes are counted on.
        tokens: the token comparison; None where the probe has none.
        level: two-sided confidence level.
        rules: how many rules are looked at together.
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
        interval=tango(changed, 1 - SIGNIFICANT / rules).bounds if changed.n else None,
        floor_flips=twin.only_reference + twin.only_candidate if twin.n else None,
        floor_pairs=twin.n or None,
        kld=tokens.kld if tokens else None,
        kld_floor=tokens.kld_floor if tokens else None,
        rules=rules,
    )


def lost_questions(evidence: RateEvidence, usable: PerSide[bool]) -> tuple[str, ...]:
    """Questions with a useful FP16 answer and no useful EXL2 answer; empty unless EXL2 loses more than noise does.

    These are what the localization (rung 8) asks again.
    """
    if not above_noise(evidence):
        return ()
    return tuple(q for q in usable.both if usable.fp16[q] and not usable.exl2[q])


def failed_questions(evidence: RateEvidence, usable: PerSide[bool]) -> tuple[str, ...]:
    """Questions with no useful FP16 answer; empty unless FP16 misses the gate and EXL2 loses no more than noise does.

    These are what rung 11 asks FP16 again.
    """
    if evidence.baseline_state is not State.FAIL or above_noise(evidence):
        return ()
    return tuple(q for q in usable.both if not usable.fp16[q])


def mean_evidence(
    name: str,
    numbers: Numbers,
    tokens: Divergence | None,
    level: float,
    rules: int = 1,
    again: float | None = None,
) -> Evidence:
    """Evidence of a metric that is a mean over questions, larger being better.

    Args:
        name: id of the metric; with a gate on the value FP16's own mean is held against it too.
        numbers: by question and side.
        tokens: the token comparison; None where the probe has none.
        level: two-sided confidence level.
        rules: how many rules are looked at together; the interval of the loss is widened for their number.
        again: mean |difference| between two times that EXL2 was asked; None where it was asked once.
    """
    both, gate = numbers.both, gate_of(name)
    losses = [numbers.fp16[q] - numbers.exl2[q] for q in both]
    twin = [abs(numbers.fp16[q] - numbers.floor[q]) for q in numbers.fp16 if q in numbers.floor]
    baseline = State.NOT_MEASURED
    if gate is not None and gate.applies_to == "value" and both:
        baseline = judge_numbers([numbers.fp16[q] for q in both], gate, level).state
    floors = (float(np.mean(twin)) if twin else None, again)
    return _loss_evidence(losses, floors, tokens, level, baseline, rules)


def shift_evidence(
    signed: Mapping[str, float],
    floor: Mapping[str, float],
    tokens: Divergence | None,
    level: float,
    rules: int = 1,
    again: float | None = None,
) -> Evidence:
    """Evidence of answers that moved: away from the reference answer is the loss; FP16 alone has no gate there."""
    floors = (float(np.mean(list(floor.values()))) if floor else None, again)
    found = _loss_evidence(list(signed.values()), floors, tokens, level, State.NOT_MEASURED, rules)
    return replace(found, moved=float(np.mean(np.abs(list(signed.values())))) if signed else None)


def strongest(found: Mapping[str, Evidence], state: State, failed: Collection[str]) -> Evidence:
    """The strongest evidence of a loss: of the rules that failed first, of all otherwise.

    Where a rule that failed does not show its loss beyond the noise, and another rule does, the evidence says so: see
    `lost_rules`. Nothing is certain then, since what failed may have failed by chance. The same where what failed is
    about no loss, such as the time that is saved: no evidence is of that, and what is lost beside it may not be why.
    """
    name = _strongest(found, failed)
    best, rules = found[name], lost_rules(found, failed)
    no_loss = bool(failed) and name not in failed
    best = replace(best, moved=None) if no_loss else best
    if not rules:
        return replace(best, state=state, above_noise=best.above_noise and not no_loss)
    if best.above_noise and not no_loss:
        return replace(best, state=state)
    other = found[rules[0]]
    label = load_catalog().metrics[rules[0]].label
    beyond = f"What is beyond the noise is the loss on another rule. {label}: {other.noise_detail}"
    return replace(
        best,
        state=state,
        above_noise=True,
        floor_known=other.floor_known,
        certain=False,
        noise_detail="What failed is no loss in the answers." if no_loss else best.noise_detail,
        more_questions=None if no_loss else best.more_questions,
        elsewhere=beyond if no_loss else " ".join(("That alone may be chance.", beyond)),
    )


def lost_rules(found: Mapping[str, Evidence], failed: Collection[str]) -> tuple[str, ...]:
    """Rules on which EXL2 loses more than noise does and that a FAIL may come from; none where nothing failed.

    Those that failed themselves. Where none of these is beyond the noise, and EXL2 is the worse one there and FP16 does
    not fail alike, the others whose loss is certain. Beyond the noise would not do: the failed rules have had chance's
    usual share of tries already.
    """
    own = tuple(r for r, e in found.items() if r in failed and e.above_noise)
    best = found[_strongest(found, failed)]
    if own or not failed or not best.worse or best.baseline_state is State.FAIL:
        return own
    return tuple(r for r, e in found.items() if e.above_noise and e.certain)


def _strongest(found: Mapping[str, Evidence], failed: Collection[str]) -> str:
    among = [name for name in found if name in failed] or list(found)
    beyond = (name for name in among if found[name].above_noise)
    return next(beyond, next((name for name in among if found[name].worse), among[0]))


def together(rule: str, failed: Collection[str], rules: Collection[str]) -> int:
    """How many of the rules a loss on this one is one of: where it failed, of those that did, else of all.

    That a rule failed says nothing of a loss: FP16 may miss it too. So a loss on any of those is looked for, and chance
    has as many tries.
    """
    return len(set(failed) & set(rules)) if rule in failed else len(rules)


def _loss_evidence(
    losses: Sequence[float],
    floors: tuple[float | None, float | None],
    tokens: Divergence | None,
    level: float,
    baseline: State,
    rules: int,
) -> Evidence:
    several, one_level = len(losses) > 1, 1 - (1 - level) / rules
    return MeanEvidence(
        state=State.NOT_MEASURED,
        baseline_state=baseline,
        questions=len(losses),
        loss=float(np.mean(losses)) if losses else None,
        interval=mean_interval(losses, one_level).bounds if several else None,
        certain_interval=mean_interval(losses, 1 - CERTAIN / rules).bounds if several else None,
        floor=floors[0],
        kld=tokens.kld if tokens else None,
        kld_floor=tokens.kld_floor if tokens else None,
        again=floors[1],
        more_questions=more_questions_for_loss(losses, one_level),
    ).evidence()
