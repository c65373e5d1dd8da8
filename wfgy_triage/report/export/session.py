"""What an export is made from: a finished run, its result, its samples, and the words around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wfgy_triage.doctor.finding import DOCTOR_SIDE
from wfgy_triage.report.answers import Row, collect_rows
from wfgy_triage.report.answers_changed import Changed, collect_changed
from wfgy_triage.report.files import Kind
from wfgy_triage.result import Result
from wfgy_triage.store.comments import Comment
from wfgy_triage.store.records import RunRecord, Sample

OWN_SIDES = frozenset({DOCTOR_SIDE, "trial"})
"""Sides whose samples hold what this program says, not what was asked or answered."""


@dataclass(frozen=True)
class Session:
    """A recorded run with a result.

    Attributes:
        record: the run; its own `result` is not read, `result` is.
        result: what it found.
        samples: everything that it stored, in that order.
        texts: text of each question id, where the samples do not carry it.
        kinds: what is known of the files that a change can be written as.
        changed_sides: sides of the reference, of EXL2 before and of EXL2 after the recommended change.
        redacted: whether the texts of questions and answers were left out.
        comments: what people said about it, oldest first.
    """

    record: RunRecord
    result: Result
    samples: tuple[Sample, ...]
    texts: Mapping[str, str]
    kinds: tuple[Kind, ...] = ()
    changed_sides: tuple[str, str, str] | None = None
    redacted: bool = False
    comments: tuple[Comment, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """The questions with both answers."""
        return collect_rows(self.samples, self.texts)

    @property
    def changed(self) -> list[Changed]:
        """The answers before and after the recommended change."""
        return collect_changed(self.samples, self.texts, *self.changed_sides) if self.changed_sides else []

    @property
    def stopped(self) -> bool:
        """Whether the run was ended early."""
        return self.record.status != "done"


def telling(rows: list[Row]) -> list[Row]:
    """The questions that are lost (EXL2 wrong where FP16 is not) or answered differently, the lost ones first."""
    found = [r for r in rows if lost(r) or r.different]
    return sorted(found, key=lambda r: not lost(r))


def lost(row: Row) -> bool:
    """Whether EXL2's answer is bad and FP16's is not."""
    return (
        row.exl2 is not None and row.exl2.valid is False and (row.fp16 is None or row.fp16.valid is not False)
    )


def with_questions(session: Session) -> Session:
    """Put the text of each question into the samples that carry an answer, so that they can be read elsewhere."""
    told = [
        replace(s, payload={**s.payload, "question": session.texts[s.key.question]})
        if "text" in s.payload and "question" not in s.payload and s.key.question in session.texts
        else s
        for s in session.samples
    ]
    return replace(session, samples=tuple(told))
