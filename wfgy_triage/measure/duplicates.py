"""Near-duplicates among passages: by the words they share, or by their vectors.

Two texts are near-duplicates when the Jaccard similarity of their sets of three-word shingles is at least 0.8; two
vectors when their cosine is at least 0.999. The first is for texts, independent of any model; the second is for an
index whose vectors are all there is. (Hidden-state vectors of unlike texts easily pass 0.95, hence the high bound.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from wfgy_triage.measure.retrieval import unit_rows

SHINGLE = 3
TEXT_THRESHOLD = 0.8
VECTOR_THRESHOLD = 0.999
_WORDS = re.compile(r"\w+")
_BLOCK = 512


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Runs of three words, case and punctuation ignored; a shorter text is one shingle."""
    words = _WORDS.findall(text.casefold())
    if len(words) <= SHINGLE:
        return frozenset([tuple(words)])
    return frozenset(tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1))


def duplicate_texts(texts: Sequence[str], threshold: float = TEXT_THRESHOLD) -> NDArray[np.bool_]:
    """Which texts have a near-duplicate among the others, shape (texts,)."""
    sets = [shingles(text) for text in texts]
    vocabulary: dict[tuple[str, ...], int] = {}
    columns = [vocabulary.setdefault(s, len(vocabulary)) for one in sets for s in sorted(one)]
    bounds = np.cumsum([0, *(len(one) for one in sets)])
    shape = (len(sets), len(vocabulary))
    table = sparse.csr_array((np.ones(len(columns), np.int32), columns, bounds), shape=shape)
    sizes = np.diff(bounds)
    found = np.zeros(len(sets), bool)
    for begin in range(0, len(sets), _BLOCK):
        shared = (table[begin : begin + _BLOCK] @ table.T).tocoo()
        rows, cols = shared.coords[0] + begin, shared.coords[1]
        jaccard = shared.data / (sizes[rows] + sizes[cols] - shared.data)
        found[rows[(rows != cols) & (jaccard >= threshold)]] = True
    return found


def duplicate_vectors(vectors: ArrayLike, threshold: float = VECTOR_THRESHOLD) -> NDArray[np.bool_]:
    """Which vectors (n, dimensions) have another that points the same way, shape (n,)."""
    rows = unit_rows(vectors)
    found = np.zeros(len(rows), bool)
    for begin in range(0, len(rows), _BLOCK):
        cosines = rows[begin : begin + _BLOCK] @ rows.T
        cosines[np.arange(len(cosines)), np.arange(begin, begin + len(cosines))] = -np.inf
        found[begin : begin + _BLOCK] = (cosines >= threshold).any(axis=1)
    return found
