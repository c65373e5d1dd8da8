"""What is stored of trials besides their answers. No model library: the page reads it while a run works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wfgy_triage.store.records import Sample

TRY = "try:"
"""Before a candidate's id: the side under which its answers are stored."""
TRY_FP16 = f"{TRY}fp16:"
"""The same of FP16's answers with the change, where it is tried on both sides."""
TRIAL_SIDE = "trial"
"""The side of one sample a candidate (its id is the question): how the trial went."""
FP16_MORE = "fp16_more"
"""FP16 answers to further questions, on which a change is confirmed."""
EXL2_MORE = "exl2_more"
"""The same of EXL2 as it is, on which a change is settled."""


@dataclass(frozen=True)
class TrialFacts:
    """What is stored of a trial besides its answers: one plain JSON object.

    Attributes:
        order: place in the search, from 0.
        id: of the candidate.
        remedy: id of the fix map.
        label: the change in a few words.
        patch: the change, in the keys of `fixmap/targets.yaml`.
        status: `tried`, `hopeless`, `skipped` or `unfinished`.
        reason: why it was skipped, given up or not confirmed; in plain words.
        side: the samples that stand for EXL2 with the change.
        reference: the samples that stand for FP16 then.
        deployed: the samples of EXL2 as it is.
        options: settings of the evaluation that change with it.
        asked: questions asked with the change; 0 where the run had measured its effect already.
        lost: of the questions that EXL2 lost (on both sides: that it failed): how many were asked.
        restored: and how many of these are answered well with the change.
        seconds: the trial took.
        note: how the change was made.
        met: whether the questions of the run, taken by themselves, meet the gate with the change.
        short_of_time: only the time for trying changes was missing to confirm it.
        loads: the model can be loaded with the change, and could not without.
        put_off: given up because the gate is out of reach, yet some lost answers came back: measured to the end
            where time is left once everything else was tried.
        settled: its effect is measured on further questions alone, which had no part in choosing it.
        rules: ids of the metrics that the change has to bring to PASS; empty: the probe's own verdict has to.
    """

    order: int
    id: str
    remedy: str
    label: str
    patch: Mapping[str, Any]
    status: Literal["tried", "hopeless", "skipped", "unfinished"]
    reason: str = ""
    side: str = ""
    reference: str = "fp16"
    deployed: str = "exl2"
    options: Mapping[str, Any] | None = None
    asked: int = 0
    lost: int = 0
    restored: int = 0
    seconds: float = 0.0
    note: str = ""
    met: bool = False
    short_of_time: bool = False
    loads: bool = False
    put_off: bool = False
    settled: bool = False
    rules: Sequence[str] = ()

    @property
    def both_sides(self) -> bool:
        """Whether FP16 was asked with the change too, and is what EXL2 with it is held against."""
        return self.reference.startswith(TRY_FP16)

    @property
    def came_back(self) -> str:
        """What the change does to the questions that were asked first, without a full stop."""
        if self.both_sides:
            return f"It mends {self.restored} of {self.lost} failed answers"
        return f"It brings back {self.restored} of {self.lost} lost answers"


def facts_of(samples: Sequence[Sample]) -> tuple[TrialFacts, ...]:
    """The trials of a run, in the order in which they were made."""
    told = sorted((s for s in samples if s.key.side == TRIAL_SIDE), key=lambda s: s.key.paraphrase)
    latest = {s.key.question: TrialFacts(**s.payload) for s in told}
    return tuple(sorted(latest.values(), key=lambda f: f.order))
