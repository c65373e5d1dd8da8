"""Rank the symptoms for a complaint in the user's own words; `none` when no symptom fits.

A small language model and a sentence model, trained on the fix map's phrases, on texts written for them
(`fixmap/written.jsonl`), on complaints of other people in restated words (`fixmap/complaints.jsonl`) and on some of
both in other languages (`fixmap/translated.jsonl`), read the text and give every symptom a share
(`engines/readers.py`). After a change of what they learn from, `tools/train_matcher` trains them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wfgy_triage.catalog import FIXMAP, Catalog
from wfgy_triage.complaints import NONE, Match
from wfgy_triage.demo import reader_folder, reader_ready
from wfgy_triage.engines.readers import Trained, load_readers
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.settings import Settings

BATCH = 64
"""Complaints answered before the first of them is handed out."""
COMPLAINTS, WRITTEN, TRANSLATED = (
    FIXMAP / f"{name}.jsonl" for name in ("complaints", "written", "translated")
)
TRAINED = FIXMAP / "matcher.safetensors"
HELD_OUT = FIXMAP / "held_out.jsonl"
"""Restated complaints that are not learned from: each reader's share and the factor on `none` are chosen on these."""


@dataclass(frozen=True)
class Example:
    """A text that the matcher learns from, and what it is about: a symptom's id or `none`."""

    text: str
    symptom: str
    source: str = ""


def phrases(catalog: Catalog) -> list[Example]:
    """The fix map's phrases: each symptom's examples, and those that belong to no symptom."""
    found = [Example(text, s.id) for s in catalog.symptoms.values() for text in s.examples]
    return found + [Example(text, NONE) for text in catalog.unrelated]


def read_restated(path: Path = COMPLAINTS) -> list[Example]:
    """Complaints of other people in restated words, each with the address of the thread.

    Raises:
        PrerequisiteError: the file cannot be read, or a line is not as it should be.
    """
    return _read(path)


def read_written(path: Path = WRITTEN) -> list[Example]:
    """Texts written for the matcher: what tells somebody who sees a symptom from somebody who only speaks of it.

    Raises:
        PrerequisiteError: the file cannot be read, or a line is not as it should be.
    """
    return _read(path)


def read_translated(path: Path = TRANSLATED) -> list[Example]:
    """Restated complaints and written texts in Chinese, Japanese, Korean and Russian; with the address, if one has it.

    Raises:
        PrerequisiteError: the file cannot be read, or a line is not as it should be.
    """
    return _read(path)


def _read(path: Path) -> list[Example]:
    found: list[Example] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            found.append(Example(**json.loads(line)))
    except (OSError, ValueError, TypeError) as error:
        raise PrerequisiteError(
            f"fixmap/{path.name} line {len(found) + 1} cannot be read: {error}",
            "Restore it from the repository.",
        ) from error
    return found


class SymptomMatcher:
    """Gives every symptom, and `none`, a share of one.

    Args:
        trained: reads the texts.
    """

    def __init__(self, trained: Trained) -> None:
        self._reader, self._classes = trained.reader, trained.classes
        self._raised = np.where(np.array(trained.classes) == NONE, np.log(trained.none_factor), 0.0)

    def match(self, texts: Sequence[str]) -> Iterator[Match]:
        """Match complaints (see `complaints.check_complaint`), in batches, in the order given."""
        for start in range(0, len(texts), BATCH):
            odds = self._reader.logits(texts[start : start + BATCH]) + self._raised
            shares = np.exp(odds - odds.max(axis=1, keepdims=True))
            for row in shares / shares.sum(axis=1, keepdims=True):
                order = np.argsort(-row, kind="stable")
                scores = {self._classes[i]: float(row[i]) for i in order}
                yield Match(next(iter(scores)), scores)


def not_there() -> PrerequisiteError:
    """What is said where the model was not prepared yet."""
    return PrerequisiteError(
        "The model that reads it is not there yet.",
        "It comes with the demo: wait until that is prepared, or run 'python -m wfgy_triage demo --free-text'.",
    )


def load_matcher(settings: Settings) -> SymptomMatcher:
    """The real matcher, without torch.

    Args:
        settings: where the model is.

    Raises:
        PrerequisiteError: the model is not there or damaged, or what training made is.
    """
    if not reader_ready(settings):
        raise not_there()
    return SymptomMatcher(load_readers(reader_folder(settings), TRAINED))
