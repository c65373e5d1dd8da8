"""One loaded model with another KV cache: what a quantized cache costs shows when it is exchanged."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from wfgy_triage.engine_settings import CacheKind
from wfgy_triage.engines.base import Engine

EXACT: CacheKind = "FP16"
"""Numbers are kept as they are computed."""
FINER: tuple[CacheKind, ...] = ("Q4", "Q6", "Q8", EXACT)
"""From the coarsest to the finest."""


@runtime_checkable
class ExchangesCache(Protocol):
    """An engine that gives its model with another cache."""

    def with_cache(self, cache: CacheKind) -> Engine:
        """The same loaded model; closing either leaves the other as it is."""
        ...


def finer_caches(engine: Engine) -> tuple[CacheKind, ...]:
    """The kinds that are finer than an engine's own, the next one first; none where its own is not known."""
    own = engine.info.cache
    return FINER[FINER.index(own) + 1 :] if own in FINER else ()


def with_cache(engine: Engine, cache: CacheKind) -> Engine | None:
    """An engine's model with another cache, to be closed by the caller; None where it cannot be exchanged.

    Raises:
        PrerequisiteError: it cannot be made: no room for it, say.
    """
    return engine.with_cache(cache) if isinstance(engine, ExchangesCache) else None


def exact_cache(engine: Engine) -> Engine | None:
    """An engine's model with a cache that rounds nothing; None where its own does not, or cannot be exchanged.

    The caller closes it.

    Raises:
        PrerequisiteError: it cannot be made.
    """
    return with_cache(engine, EXACT) if finer_caches(engine) else None
