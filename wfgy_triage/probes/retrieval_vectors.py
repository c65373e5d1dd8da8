"""Embeds passages and questions with everything that takes part, and puts index and queries together to arms.

A hidden-state index is made as follows, and the same is done to its queries: mean over the tokens of one layer's
states, minus the mean of the index's own vectors, scaled to length one, compared by inner product (so: cosine). The
layer is chosen on the FP16 model alone, by MRR on questions that are not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from wfgy_triage.engines.base import Engine
from wfgy_triage.errors import ProbeError
from wfgy_triage.measure.retrieval import Floats, gold_rank, rank_order, reciprocal_rank, unit_rows
from wfgy_triage.probes.embedding_cache import EmbeddingCache
from wfgy_triage.workload.chunks import Query

BLOCK = 256
"""Texts embedded, and kept, at a time."""
Array = NDArray[np.float32]


class Stopped(Exception):  # noqa: N818 - a request of the user, not an error
    """The user asked to stop; what was embedded before is kept in the cache."""


class Encoder(Protocol):
    """A sentence model (`engines.sentences.SentenceEncoder`)."""

    def encode(self, texts: Sequence[str]) -> Array:
        """Unit rows (texts, dimensions), float32."""
        ...


@dataclass(frozen=True)
class Arm:
    """An index and the queries it is asked with.

    Attributes:
        passages: (n, dimensions).
        queries: (questions, dimensions).
        measure: `ip` inner product, `l2` Euclidean distance (the nearest is the best).
    """

    passages: Floats
    queries: Floats
    measure: Literal["ip", "l2"] = "ip"

    @cached_property
    def scores(self) -> Floats:
        """Higher is better, shape (questions, n)."""
        products: Floats = self.queries @ self.passages.T
        if self.measure == "ip":
            return products
        lengths: Floats = (self.queries**2).sum(1)[:, None] + (self.passages**2).sum(1)[None]
        return 2 * products - lengths


@dataclass(frozen=True)
class Space:
    """A hidden-state index: unit rows and the mean that was taken off, which its queries lose too."""

    passages: Floats
    center: Floats

    @classmethod
    def of(cls, rows: Array) -> Space:
        """Build the index of raw rows (n, dimensions)."""
        center = np.asarray(rows, np.float64).mean(axis=0)
        return cls(unit_rows(rows, center), center)

    def arm(self, queries: Array) -> Arm:
        """Ask it with raw query rows."""
        return Arm(self.passages, unit_rows(queries, self.center))


class HiddenStates:
    """Mean-pooled hidden states of one model, block by block, kept between runs.

    Args:
        engine: the model.
        model_hash: of weights and tokenizer; empty keeps nothing.
        cache: where rows are kept.
        should_stop: asked between blocks.
    """

    def __init__(
        self, engine: Engine, model_hash: str, cache: EmbeddingCache, should_stop: Callable[[], bool]
    ) -> None:
        self._engine = engine
        self._cache = cache if model_hash else EmbeddingCache(None)
        info = engine.info
        self._identity = (model_hash, info.engine_version, info.device, info.compute_dtype, info.mode)
        self._should_stop = should_stop

    @property
    def layers(self) -> int:
        """Blocks of the model; also the number of its last layer."""
        return self._engine.info.layers

    def rows(self, texts: Sequence[str], layer: int) -> Array:
        """Raw rows (texts, hidden).

        Raises:
            Stopped: the user asked to stop.
            ProbeError: the model gave numbers that are not finite.
        """
        parts = [self._block(texts[i : i + BLOCK], layer) for i in range(0, len(texts), BLOCK)]
        return np.concatenate(parts)

    def every_layer(self, texts: Sequence[str]) -> Array:
        """Raw rows of all layers for at most `BLOCK` texts, (layers + 1, texts, hidden); not kept."""
        if self._should_stop():
            raise Stopped
        return self._embed(texts, range(self.layers + 1))

    def keep(self, texts: Sequence[str], layer: int, rows: Array) -> None:
        """Keep rows that were computed elsewhere for a block of texts."""
        self._cache.put((*self._identity, f"layer {layer}"), texts, rows)

    def scores(self, name: str, texts: Sequence[str], compute: Callable[[], Array]) -> Array:
        """One number a layer, kept like rows."""
        identity = (*self._identity, name)
        found = self._cache.get(identity, texts, (self.layers + 1,))
        if found is None:
            found = compute()
            self._cache.put(identity, texts, found)
        return found

    def _embed(self, texts: Sequence[str], layers: Sequence[int]) -> Array:
        rows = self._engine.embed(texts, layers)
        if not np.isfinite(rows).all():
            raise ProbeError(
                f"The engine {self._engine.info.engine} gave vectors that are not finite numbers.",
                "Check the model folder with 'python -m wfgy_triage inspect'; its weights may be damaged.",
            )
        return rows

    def _block(self, texts: Sequence[str], layer: int) -> Array:
        identity = (*self._identity, f"layer {layer}")
        found = self._cache.get(identity, texts, (len(texts), -1))
        if found is None:
            if self._should_stop():
                raise Stopped
            found = self._embed(texts, [layer])[0]
            self._cache.put(identity, texts, found)
        return found


def layer_scores(states: HiddenStates, passages: Sequence[str], questions: Sequence[Query]) -> Array:
    """MRR of every layer on questions that are not judged, shape (layers + 1,); all zero without such questions.

    Of a large set the first `BLOCK` passages and the questions that they answer are enough to choose on. The rows of
    the best layer are kept, since they are asked for next.
    """
    some = list(passages[:BLOCK])
    asked = [q for q in questions if min(q.gold) < len(some)][:BLOCK]
    texts = [q.text for q in asked]

    def compute() -> Array:
        if not asked:
            return np.zeros(states.layers + 1, np.float32)
        every, queries = states.every_layer(some), states.every_layer(texts)
        found = np.array(
            [_mrr(Space.of(p).arm(q), asked) for p, q in zip(every, queries, strict=True)], np.float32
        )
        best = int(found.argmax())
        states.keep(some, best, every[best])
        return found

    return states.scores("layer scores", [*some, *texts], compute)


def _mrr(arm: Arm, questions: Sequence[Query]) -> float:
    ranks = [gold_rank(rank_order(row), q.gold) for row, q in zip(arm.scores, questions, strict=True)]
    return float(np.mean([reciprocal_rank(r) for r in ranks]))


def sentence_rows(
    load: Callable[[], Encoder], cache: EmbeddingCache, texts: Sequence[str], name: str
) -> Array:
    """Unit rows of the independent sentence model; the model is loaded only when they are not kept."""
    found = cache.get((name,), texts, (len(texts), -1))
    if found is None:
        encoder = load()
        found = encoder.encode(texts)
        cache.put((name,), texts, found)
    return found
