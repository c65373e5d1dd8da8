"""What a probe offers so that a change can be tried on the very questions that it asked.

A probe that asks questions gives a `Subject`; one whose arms have measured the effect of a change already gives
`Shown` entries instead. Neither knows what a remedy is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wfgy_triage.engines.base import Completion, Engine
from wfgy_triage.errors import ProbeError
from wfgy_triage.localized import Damage
from wfgy_triage.probes.items import Item
from wfgy_triage.probes.measuring import Judge
from wfgy_triage.probes.paired import Payload
from wfgy_triage.store.records import Sample

EXL2 = "exl2"
GRAMMAR, CONTRACTS = "grammar", "contracts"
"""Facets: what an item's answer has to look like, and the frames in which the questions can be asked."""


def _no_questions(item: Item, completion: Completion) -> Mapping[str, Any]:
    raise ProbeError("This probe asks no questions.", "There is no answer to judge.")


@dataclass(frozen=True)
class Shown:
    """The effect of a change that the run has measured as one of its own arms.

    Attributes:
        side: the side of the stored samples that stands for EXL2 with the change.
        reference: the side that stands for FP16 then.
        options: settings of the evaluation that change with it, as `k`.
        patch: the change, in the keys of `fixmap/targets.yaml`.
        label: the change in a few words.
    """

    side: str
    patch: Mapping[str, Any]
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    reference: str = "fp16"


@dataclass(frozen=True)
class Contract:
    """A frame in which the same questions can be asked: it states what an answer has to contain.

    Attributes:
        id: unique among the frames of a probe.
        label: the frame in a few words.
        text: what a person puts into a prompt; `{prompt}` marks the task's place.
        restate: any question of the set, asked in the frame.
    """

    id: str
    label: str
    text: str
    restate: Callable[[Item], Item]


@dataclass(frozen=True)
class Subject:
    """The questions of a run, and everything that a change may need to know of them.

    Attributes:
        symptom: id of the probe.
        items: what was asked, in the order of the run.
        judge: what an answer is worth.
        useful: whether a stored answer is of use; what EXL2 loses is counted on it, unless `lost_on` is given.
        side: the side of the samples that stands for EXL2.
        shown: by remedy: changes whose effect is measured already.
        facets: what single kinds of changes need, by name (see the probe); a change that finds its facet missing
            cannot be tried on this probe.
        rules: ids of the metrics that a change has to bring to PASS; empty: the probe's own verdict has to.
        lost_on: the questions that a side loses, where that does not show in single answers.
        again: measures the run's questions with another EXL2 model, stores that under a side, and gives how many they
            are; for a run that has no items to ask.
        damage: what putting weights back showed, where it was not measured by the probabilities of words.
    """

    symptom: str
    items: tuple[Item, ...] = ()
    judge: Judge = _no_questions
    useful: Callable[[Payload], bool] = lambda answer: False
    side: str = EXL2
    shown: Mapping[str, Shown] = field(default_factory=dict)
    facets: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    lost_on: Callable[[Sequence[Sample], str], Collection[str]] | None = None
    again: Callable[[Engine, str], int] | None = None
    damage: Callable[[Sequence[Sample]], Damage | None] | None = None

    def failing(self) -> Subject:
        """The same, where FP16 fails too: lost is then what a side does not answer well, whatever FP16 answers."""

        def failed(samples: Sequence[Sample], side: str) -> Collection[str]:
            return {s.key.question for s in samples if s.key.side == side and not self.useful(s.payload)}

        return replace(self, lost_on=failed)

    def lost(self, samples: Sequence[Sample], side: str = EXL2) -> tuple[Item, ...]:
        """The items of questions that FP16 answers well and a side does not, of those answered on both.

        So what a side was not asked is not among them; that does not say that it answers it well.
        """
        if self.lost_on is not None:
            questions = self.lost_on(samples, side)
            return tuple(i for i in self.items if i.question in questions)
        found = {(s.key.side, s.key.question, s.key.paraphrase): s.payload for s in samples}

        def well(item: Item, of: str) -> bool | None:
            payload = found.get((of, item.question, item.paraphrase))
            return None if payload is None else self.useful(payload)

        return tuple(i for i in self.items if i.compared and well(i, "fp16") and well(i, side) is False)
