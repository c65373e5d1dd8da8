"""Rung 11 of the ladder: does FP16 fail for the form of its answers alone?

Where FP16 itself misses the gate, more bits help nobody. It is then asked its own failed questions again: held to the
grammar of its answers, and, where that does not bring most of them back, in the stricter prompt frames one by one.
What brings FP16's answers back is what neither side has. The form alone is not enough for that: a lock gives it to any
answer, also to one of a model that does not know what to say.

What is stored. `held:schema_lock`: FP16's answers held to the grammar. `held:citation_contract:<frame>`: those in a
frame. `left_out:schema_lock` and so on: why it was not asked in that way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from wfgy_triage.diagnosis import MOSTLY
from wfgy_triage.engines.base import Engine, Grammar
from wfgy_triage.errors import InputError, ProbeError
from wfgy_triage.localized import Held, HeldAnswers
from wfgy_triage.probes.base import ProbeContext
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.lost import ANSWERED_QUESTIONS, LEFT_OUT, some_questions
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.probes.paired import Payload
from wfgy_triage.probes.subject import CONTRACTS, GRAMMAR, Contract, Subject
from wfgy_triage.store.records import Sample

STAGE = "held"
LOCK, FRAME = "schema_lock", "citation_contract"
"""The remedies that do to EXL2 what is done to FP16 here."""
_HELD = "held:"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Way:
    """A way to ask the failed questions again; `name` goes into the sides of samples."""

    name: str
    label: str
    ask: Callable[[Item], Item]


def hold(
    context: ProbeContext, subject: Subject, failed: Sequence[str], right: Callable[[Payload], bool]
) -> None:
    """Ask FP16 some of its failed questions again, held to the form of their answers; skips what is stored.

    Args:
        context: the run's engines and store.
        subject: what was asked; its facets `grammar` and `contracts` say how answers can be held.
        failed: questions that FP16 fails; none: there is nothing to explain.
        right: whether an answer says the right thing.
    """
    picked = some_questions(failed, ANSWERED_QUESTIONS)
    items = [i for i in subject.items if i.question in picked]
    for way in _ways(subject) if items else ():
        if context.should_stop():
            return
        _ask(way, context, subject, items)
        found = held_of(context.stored(), failed, subject.useful, right)
        if found is not None and any(h.share >= MOSTLY for h in (found.lock, found.frame) if h is not None):
            return


def cannot_hold(engine: Engine, grammars: Sequence[Grammar | None]) -> str:
    """Why an engine cannot hold answers to these grammars; empty where it can, and for none at all."""
    needed = {g.kind for g in grammars if g is not None}
    if needed and not engine.capabilities.grammar:
        return "The loaded engine cannot hold decoding to a grammar."
    if needed - set(engine.capabilities.grammars):
        return "The server can hold answers to a JSON schema only, and these have another form."
    return ""


def held_of(
    samples: Sequence[Sample],
    failed: Sequence[str],
    useful: Callable[[Payload], bool],
    right: Callable[[Payload], bool],
) -> Held | None:
    """What FP16's held answers showed; None where it was not asked again, or a stopped run has asked a few alone.

    Args:
        samples: everything stored for the run.
        failed: questions that FP16 fails.
        useful: whether an answer is of use.
        right: whether an answer says the right thing.
    """
    picked = some_questions(failed, ANSWERED_QUESTIONS)
    by_side: dict[str, dict[str, Payload]] = {}
    for sample in samples:
        if sample.key.side.startswith((_HELD, LEFT_OUT)):
            by_side.setdefault(sample.key.side, {})[sample.key.question] = sample.payload

    def best(kind: str) -> HeldAnswers | None:
        # What was stopped, or ended with an error, was answered in part, maybe by the easier part of the questions.
        whole = [a for s, a in by_side.items() if s.startswith(_HELD + kind) and a.keys() >= set(picked)]
        found = [_counted([answers[q] for q in picked], useful, right) for answers in whole if picked]
        return max(found, key=lambda h: (h.right, h.formed), default=None)

    held = Held(
        lock=best(LOCK),
        frame=best(FRAME),
        lock_left_out=_reason(by_side, LOCK),
        frame_left_out=_reason(by_side, FRAME),
    )
    return None if held == Held() else held


def _ways(subject: Subject) -> list[_Way]:
    """The lock first, then the frames, as the changes of them are ordered by what they cost."""
    grammar_of: Callable[[Item], Grammar | None] = subject.facets[GRAMMAR]
    frames: Sequence[Contract] = subject.facets[CONTRACTS]
    return [
        _Way(LOCK, "FP16 held to the form of its answers", lambda i: replace(i, grammar=grammar_of(i))),
        *(_Way(f"{FRAME}:{c.id}", "FP16 in a stricter prompt frame", c.restate) for c in frames),
    ]


def _ask(way: _Way, context: ProbeContext, subject: Subject, items: Sequence[Item]) -> None:
    """Ask in one way, or store why that is not possible."""
    left_out = Measuring(context, subject.symptom, items)
    if left_out.has(items[0], LEFT_OUT + way.name):
        return
    try:
        asked = [way.ask(i) for i in items]
        reason = cannot_hold(context.fp16, [i.grammar for i in asked])
        if not reason:
            # A pass of its own: what it expects, and what earlier runs gave of it, is counted over these items.
            measuring = Measuring(context, subject.symptom, asked)
            if measuring.missing(_HELD + way.name):
                context.progress(STAGE, way.label, 0, len(asked))
                measuring.answer(_HELD + way.name, context.fp16, subject.judge)
                context.progress(STAGE, way.label, len(asked), len(asked))
            return
    except (InputError, ProbeError) as error:
        # A schema that no grammar can keep, a frame that the context does not hold: what was measured stands.
        reason = str(error)
    _log.warning("FP16 is not asked as with %s: %s", way.name, reason)
    context.save([Sample(left_out.key(items[0], LEFT_OUT + way.name), {"reason": reason})])


def _counted(
    answers: Sequence[Payload], useful: Callable[[Payload], bool], right: Callable[[Payload], bool]
) -> HeldAnswers:
    formed = [a for a in answers if useful(a)]
    return HeldAnswers(sum(right(a) for a in formed), len(formed), len(answers))


def _reason(by_side: Mapping[str, Mapping[str, Payload]], kind: str) -> str:
    left_out = sorted(side for side in by_side if side.startswith(LEFT_OUT + kind))
    return str(next(iter(by_side[left_out[0]].values()))["reason"]) if left_out else ""
