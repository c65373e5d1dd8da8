"""Questions that EXL2 loses: which are asked again with one thing exchanged, and whether they come back then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wfgy_triage.localized import AnswersBack
from wfgy_triage.probes.items import arm_side
from wfgy_triage.probes.paired import Payload
from wfgy_triage.store.records import Sample

ANSWERED_QUESTIONS = 12
"""Lost questions that are asked again with one thing exchanged."""
CACHE, ENGINE, SAMPLER, PARTS = "cache", "engine", "sampler", "parts"
"""What is exchanged as a whole; everything else that is exchanged is a part of the weights, under its id."""
PART, BACK, LEFT_OUT = "part:", "back:", "left_out:"
"""What the sides of the localization begin with; see `localize.py`."""
Well = Callable[[Sequence[Sample], str], Mapping[str, bool]]
"""From samples and a side: for each question that is wholly answered on that side, whether it is answered well."""


def _nothing(samples: Sequence[Sample], side: str) -> Mapping[str, bool]:
    return {}


@dataclass(frozen=True)
class Lost:
    """What EXL2 loses, by one rule.

    Attributes:
        questions: ids of questions that FP16 answers well and EXL2 does not; none: there is nothing to localize.
        well: what the rule says of the answers on a side.
        most: so many of the questions are asked again.
        arm: the arm of the run whose answers the rule is about.
        rule: id of its metric, where the run has several.
    """

    questions: tuple[str, ...] = ()
    well: Well = _nothing
    most: int = ANSWERED_QUESTIONS
    arm: str = ""
    rule: str = ""

    @property
    def some(self) -> tuple[str, ...]:
        """The questions that are asked again."""
        return tuple(some_questions(self.questions, self.most))

    def side(self, exchanged: str) -> str:
        """Under which side new answers are stored."""
        return arm_side(BACK + exchanged, self.arm)

    def back(self, samples: Sequence[Sample], exchanged: str) -> AnswersBack | None:
        """What the new answers show; None before all are there: the first few of a stopped run prove nothing."""
        found = self.well(samples, BACK + exchanged)
        if not found or any(q not in found for q in self.some):
            return None
        return AnswersBack(sum(found.values()), len(found))


def lost_answers(questions: Sequence[str], useful: Callable[[Payload], bool]) -> Lost:
    """Lost questions of a probe that sees from a single answer whether it is of use."""

    def well(samples: Sequence[Sample], side: str) -> dict[str, bool]:
        return {s.key.question: useful(s.payload) for s in samples if s.key.side == side}

    return Lost(tuple(questions), well)


def some_questions(questions: Sequence[str], count: int) -> list[str]:
    """At most `count` questions, chosen the same way in every pass and not by their order in the set."""
    return sorted(questions, key=lambda q: hashlib.sha256(q.encode()).hexdigest())[:count]
