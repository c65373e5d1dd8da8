"""Questions put to a model with a change in place; answers are stored under the side of the trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wfgy_triage.probes.items import Item, arm_side
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.remedies.base import Candidate, Case, Change, Remedy
from wfgy_triage.remedies.told import EXL2_MORE, FP16_MORE, TrialFacts
from wfgy_triage.store.records import Sample

STAGE = "trials"


def ask(case: Case, facts: TrialFacts, change: Change, items: Sequence[Item]) -> int:
    """Answer and store items under the side of the trial, each arm under its own; what is stored is not asked again.

    Returns:
        How many were answered now.
    """
    context, judge = case.context, case.subject.judge
    if not items:
        return 0
    labels = {
        "fp16": "FP16 answers",
        FP16_MORE: "FP16 answers to further questions",
        EXL2_MORE: "EXL2 answers to further questions",
    }
    tried = f"Trying on FP16: {facts.label}" if facts.side == facts.reference else f"Trying: {facts.label}"
    label = labels.get(facts.side, tried)
    stored = frozenset(s.key for s in context.stored())

    def save(samples: Sequence[Sample]) -> None:
        context.save(samples)
        counted[0] += len(samples)
        context.progress(STAGE, label, counted[0], len(items))

    counted = [0]
    own = replace(context, done=stored, save=save)
    passes = []
    for arm in dict.fromkeys(i.arm for i in items):
        of_arm = [i for i in case.subject.items if i.arm == arm]
        passes.append((arm_side(facts.side, arm), Measuring(own, case.subject.symptom, of_arm, {}), arm))
    counted[0] = sum(m.has(i, side) for side, m, arm in passes for i in items if i.arm == arm)
    context.progress(STAGE, label, counted[0], len(items))
    known = counted[0]
    for side, measuring, arm in passes:
        restated = [change.restate(i) for i in items if i.arm == arm]
        measuring.answer(side, change.engine, judge, restated)
    return counted[0] - known


def ask_fp16(
    case: Case, facts: TrialFacts, remedy: Remedy, candidate: Candidate, items: Sequence[Item]
) -> None:
    """FP16's answers to items: with the change where it is tried on both sides, else as FP16 is."""
    if not facts.both_sides:
        ask(case, replace(facts, side=FP16_MORE), Change(case.context.fp16), items)
        return
    with remedy.apply(case.on_fp16(), candidate) as change:
        ask(case, replace(facts, side=facts.reference), change, items)
