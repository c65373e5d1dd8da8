"""Questions put to a model with a change in place; answers are stored under the side of the trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wfgy_triage.probes.items import Item
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.remedies.base import Case, Change
from wfgy_triage.remedies.told import FP16_MORE, TrialFacts
from wfgy_triage.store.records import Sample

STAGE = "trials"


def ask(case: Case, facts: TrialFacts, change: Change, items: Sequence[Item]) -> None:
    """Answer and store items under the side of the trial; those that are stored are not asked again."""
    context, judge = case.context, case.subject.judge
    if not items:
        return
    labels = {"fp16": "FP16 answers", FP16_MORE: "FP16 answers to further questions"}
    label = labels.get(facts.side, f"Trying: {facts.label}")
    stored = frozenset(s.key for s in context.stored())

    def save(samples: Sequence[Sample]) -> None:
        context.save(samples)
        counted[0] += len(samples)
        context.progress(STAGE, label, counted[0], len(items))

    counted = [0]
    own = replace(context, done=stored, save=save)
    measuring = Measuring(own, case.subject.symptom, case.subject.items, {})
    counted[0] = sum(measuring.has(i, facts.side) for i in items)
    context.progress(STAGE, label, counted[0], len(items))
    measuring.answer(facts.side, change.engine, judge, [change.restate(i) for i in items])
