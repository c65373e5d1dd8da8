"""Rank the symptoms for a complaint in the user's own words; `none` when no symptom fits.

Two views of a text are put side by side: the meaning, from an English sentence model, and the letters, as TF-IDF of
character n-grams, which know the other languages and the exact words (`exllamav2_ext`, `undefined symbol`). A
logistic regression on both learns from the fix map's phrases when the matcher is made; nothing is stored, so a new
phrase in `fixmap/symptoms.yaml` counts at the next start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from wfgy_triage.catalog import Catalog
from wfgy_triage.complaints import NONE, Match
from wfgy_triage.engines.sentences import SentenceEncoder

# Chosen by cross-validation over the phrases and on the development complaints: docs/matching.md says how.
NGRAMS = (1, 5)
MEANING_WEIGHT = 0.6
C = 20.0
NONE_WEIGHT = 4.0
"""The odds of `none` are multiplied by this: a wrong symptom costs a user more than an honest “none”."""

BATCH = 256
_SMALLEST_EIGENVALUE = 1e-6


class SymptomMatcher:
    """Trained on the phrases of a fix map.

    Args:
        catalog: its symptoms' examples, and the phrases that belong to no symptom.
        encoder: the sentence model.
    """

    def __init__(self, catalog: Catalog, encoder: SentenceEncoder) -> None:
        labelled = [(text, s.id) for s in catalog.symptoms.values() for text in s.examples]
        labelled += [(text, NONE) for text in catalog.unrelated]
        texts, labels = zip(*labelled, strict=True)
        self._encoder = encoder
        self._letters = TfidfVectorizer(analyzer="char_wb", ngram_range=NGRAMS, sublinear_tf=True)
        self._phrases = self._letters.fit_transform(texts)
        self._meanings = encoder.encode(texts)
        # The regression needs the phrases' inner products only. Written in the phrases' own coordinates it has some
        # hundred columns instead of the n-grams' tens of thousands, and the same solution.
        values, vectors = np.linalg.eigh(self._products(self._phrases, self._meanings))
        kept = values > _SMALLEST_EIGENVALUE
        self._axes = vectors[:, kept] / np.sqrt(values[kept])
        self._head = LogisticRegression(C=C, max_iter=1000, class_weight="balanced")
        self._head.fit(self._products(self._phrases, self._meanings) @ self._axes, labels)
        self._odds = np.where(self._head.classes_ == NONE, NONE_WEIGHT, 1.0)

    def match(self, texts: Sequence[str]) -> Iterator[Match]:
        """Match complaints (see `complaints.check_complaint`), in batches, in the order given."""
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            products = self._products(self._letters.transform(batch), self._encoder.encode(batch))
            shares = self._head.predict_proba(products @ self._axes) * self._odds
            for row in shares / shares.sum(axis=1, keepdims=True):
                order = np.argsort(-row, kind="stable")
                scores = {str(self._head.classes_[i]): float(row[i]) for i in order}
                yield Match(next(iter(scores)), scores)

    def _products(self, letters: object, meanings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Inner products of texts with all phrases: (texts, phrases)."""
        spelled = (letters @ self._phrases.T).toarray()
        return np.asarray(spelled + MEANING_WEIGHT * (meanings @ self._meanings.T), dtype=np.float64)
