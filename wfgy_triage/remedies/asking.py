"""Questions put to a model with a change in place; answers are stored under the side of the trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wfgy_triage.errors import ProbeError
from wfgy_triage.probes.items import OF_FP16, Item, arm_side, fits
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError, Remedy
from wfgy_triage.remedies.told import EXL2_MORE, FP16_MORE, TrialFacts
from wfgy_triage.store.records import Sample

STAGE = "trials"


def ask(case: Case, facts: TrialFacts, change: Change, items: Sequence[Item]) -> int:
    """Answer and store items under the side of the trial, each arm under its own; what is stored is not asked again.

    Returns:
        How many were answered now.

    Raises:
        NotApplicableError: see `must_fit`.
        ProbeError: an answer did not come, and nobody has asked to stop.
    """
    context, judge = case.context, case.subject.judge
    if not items:
        return 0
    must_fit(facts, change, items)
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
    left = _unanswered(case, facts, items)
    if left and not context.should_stop():
        raise ProbeError(
            f"{_who(facts)} did not answer {_questions(left)} of {_questions(items)} questions.",
            "Check again, and look into the log.",
        )
    return counted[0] - known


def must_fit(facts: TrialFacts, change: Change, items: Sequence[Item]) -> None:
    """Refuse a change with which not all can be asked any more: answers to the rest alone would be of other questions.

    Raises:
        NotApplicableError: the engine's context does not hold a question with its answer, as it is asked then.
        InputError: likewise, of FP16's context and a frame.
    """
    long = [i for i in items if not fits(change.restate(i), change.engine)]
    if long:
        tokens = f"{change.engine.info.max_context:,}"
        raise NotApplicableError(
            f"{_who(facts)}'s context of {tokens} tokens is too short for {_questions(long)} of {_questions(items)} "
            "questions with their answers."
        )


def brought_back(case: Case, facts: TrialFacts, asked: Sequence[Item]) -> int:
    """How many questions of these lost items are answered with the change, in whole, and lost no longer."""
    still = case.subject.lost(case.context.stored(), facts.side)
    lost = {i.question for i in (*still, *_unanswered(case, facts, asked))}
    return len({i.question for i in asked} - lost)


def _unanswered(case: Case, facts: TrialFacts, items: Sequence[Item]) -> list[Item]:
    """The items without an answer under the side of the trial."""
    stored = {s.key for s in case.context.stored()}
    measuring = Measuring(case.context, case.subject.symptom, ())
    return [i for i in items if measuring.key(i, arm_side(facts.side, i.arm)) not in stored]


def _questions(items: Sequence[Item]) -> int:
    return len({i.question for i in items})


def _who(facts: TrialFacts) -> str:
    return "FP16" if facts.side.startswith(OF_FP16) else "EXL2"


def ask_fp16(
    case: Case, facts: TrialFacts, remedy: Remedy, candidate: Candidate, items: Sequence[Item]
) -> None:
    """FP16's answers to items: with the change where it is tried on both sides, else as FP16 is.

    Raises:
        NotApplicableError, ProbeError: as for `ask`.
    """
    if not facts.both_sides:
        ask(case, replace(facts, side=FP16_MORE), Change(case.context.fp16), items)
        return
    with remedy.apply(case.on_fp16(), candidate) as change:
        ask(case, replace(facts, side=facts.reference), change, items)
