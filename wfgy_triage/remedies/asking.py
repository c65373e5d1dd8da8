"""Questions put to a model with a change in place; answers are stored under the side of the trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wfgy_triage.probes.items import Item, arm_side
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.remedies.base import Case, Change
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
    label = labels.get(facts.side, f"Trying: {facts.label}")
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
