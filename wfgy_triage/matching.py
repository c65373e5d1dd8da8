"""Rank the symptoms for a complaint in the user's own words; `none` when no symptom fits.

Three views of a text are put side by side: its meaning by an English sentence model, its meaning by a multilingual
one, and its letters, as TF-IDF of character n-grams, which know exact words (`exllamav2_ext`, `undefined symbol`). A
logistic regression on all three learns when the matcher is made: from the fix map's phrases and from complaints of
other people in restated words (`fixmap/complaints.jsonl`). Nothing trained is stored, so a new phrase counts at the
next start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from wfgy_triage.catalog import FIXMAP, Catalog
from wfgy_triage.complaints import NONE, Match
from wfgy_triage.errors import PrerequisiteError

# Chosen by cross-validation over complaints: docs/matching.md says how.
NGRAMS = (1, 5)
WEIGHTS = (1.0, 0.3)
"""Of the English and of the multilingual meaning; the letters have 1."""
C = 8.0
NONE_WEIGHT = 8.0
"""The odds of `none` are multiplied by this: a wrong symptom costs a user more than an honest “none”."""

BATCH = 256
COMPLAINTS = FIXMAP / "complaints.jsonl"

Meaning = Callable[[Sequence[str]], NDArray[np.float32]]
"""From texts to rows, (n, any), already weighted."""


class Encoder(Protocol):
    """A sentence model."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dimensions) rows of unit length, in the order of `texts`."""
        ...


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


def side_by_side(english: Encoder, multilingual: Encoder) -> Meaning:
    """Both sentence models' rows next to each other, so that inner products add up by their weights."""

    def meaning(texts: Sequence[str]) -> NDArray[np.float32]:
        models = zip(WEIGHTS, (english, multilingual), strict=True)
        return np.hstack([np.float32(np.sqrt(weight)) * model.encode(texts) for weight, model in models])

    return meaning


class SymptomMatcher:
    """Trained when it is made, in a few seconds.

    Args:
        examples: what to learn from.
        meaning: from texts to their weighted meanings.
        known: the meanings of the examples, where they were computed before.
    """

    def __init__(
        self, examples: Sequence[Example], meaning: Meaning, known: NDArray[np.float32] | None = None
    ) -> None:
        texts = [e.text for e in examples]
        self._meaning = meaning
        self._letters = TfidfVectorizer(
            analyzer="char_wb", ngram_range=NGRAMS, sublinear_tf=True, dtype=np.float32
        ).fit(texts)
        # To the end: stopped early, the answers hang on where it stopped, and one phrase more changes many of them.
        self._head = LogisticRegression(C=C, max_iter=1000, class_weight="balanced")
        rows = self._rows(texts, meaning(texts) if known is None else known)
        self._head.fit(rows, [e.symptom for e in examples])
        self._odds = np.where(self._head.classes_ == NONE, NONE_WEIGHT, 1.0)

    def match(self, texts: Sequence[str]) -> Iterator[Match]:
        """Match complaints (see `complaints.check_complaint`), in batches, in the order given."""
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            shares = self._head.predict_proba(self._rows(batch, self._meaning(batch))) * self._odds
            for row in shares / shares.sum(axis=1, keepdims=True):
                order = np.argsort(-row, kind="stable")
                scores = {str(self._head.classes_[i]): float(row[i]) for i in order}
                yield Match(next(iter(scores)), scores)

    def _rows(self, texts: Sequence[str], meanings: NDArray[np.float32]) -> sparse.csr_matrix:
        return sparse.hstack([self._letters.transform(texts), meanings], format="csr")
