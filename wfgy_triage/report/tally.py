"""The answers of a run counted one after the other, so that the count need not begin anew with every answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from wfgy_triage.report.answers import ANSWER_SIDES, read_answer, row_key
from wfgy_triage.store.records import Sample

_ANSWERED, _JUDGED, _VALID = "answered", "judged", "valid"


@dataclass(frozen=True)
class Tally:
    """The answers of one side.

    Attributes:
        answered: how many there are.
        judged: those that are finished and were judged.
        valid: of these, the good ones.
        word: what the probe calls a good one.
    """

    answered: int = 0
    judged: int = 0
    valid: int = 0
    word: str = "valid"


@dataclass
class _Row:
    """What the counts need of a question: when it came first, and of each side the sample and what it counts as."""

    order: int
    samples: dict[str, int] = field(default_factory=dict)
    counts_as: dict[str, tuple[str, ...]] = field(default_factory=dict)


class AnswerCount:
    """Counts; of the answers themselves it keeps nothing."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}  # the question with the newest answer last
        self._counts: dict[str, Counter[str]] = {side: Counter() for side in ANSWER_SIDES}
        self._words: dict[str, tuple[int, str]] = {}

    def add(self, number: int, sample: Sample) -> None:
        """Count a sample; the noise floor and token-level samples are passed over, as `collect_rows` does.

        Args:
            number: by which it can be found again.
            sample: the sample.
        """
        side = sample.key.side
        if side not in ANSWER_SIDES:
            return
        key, answer = row_key(sample.key), read_answer(sample.payload)
        row = self._rows.pop(key, None) or _Row(len(self._rows))
        self._rows[key] = row
        judged = answer.valid is not None and not answer.truncated
        names = (_ANSWERED, *([_JUDGED] if judged else []), *([_VALID] if judged and answer.valid else []))
        self._counts[side].subtract(row.counts_as.get(side, ()))
        self._counts[side].update(names)
        row.samples[side], row.counts_as[side] = number, names
        # The word is that of the first question which has one, whenever its answer came.
        if _VALID in names and answer.mark and row.order < self._words.get(side, (row.order + 1, ""))[0]:
            self._words[side] = (row.order, answer.mark.lower())

    def newest(self, rows: int) -> tuple[int, ...]:
        """The numbers of all samples of the questions that were answered last."""
        last = islice(reversed(self._rows.values()), rows)
        return tuple(number for row in last for number in row.samples.values())

    def tallies(self) -> Mapping[str, Tally]:
        """The counts by side."""
        return {
            side: Tally(
                counts[_ANSWERED],
                counts[_JUDGED],
                counts[_VALID],
                self._words.get(side, (0, Tally.word))[1],
            )
            for side, counts in self._counts.items()
        }
