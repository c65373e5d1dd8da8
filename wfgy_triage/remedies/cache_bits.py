"""A finer KV cache for the same loaded weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from wfgy_triage.engines.caches import EXACT, ExchangesCache, finer_caches, with_cache
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError

FIXED = "The cache of the engine that was loaded cannot be exchanged."


class FinerCache:
    """The next finer kinds of cache, the smallest first."""

    id = "cache_bits"

    def candidates(self, case: Case) -> Sequence[Candidate]:
        """One for every kind that is finer than the one in use.

        Raises:
            NotApplicableError: the cache rounds nothing, or the engine has only the one it was loaded with.
        """
        engine = case.context.exl2
        if engine.info.cache == EXACT:
            raise NotApplicableError(
                "The EXL2 side keeps keys and values as they are computed, so a finer cache changes nothing here."
            )
        kinds = finer_caches(engine) if isinstance(engine, ExchangesCache) else ()
        if not kinds:
            raise NotApplicableError(FIXED)
        return [
            Candidate(f"{self.id} {kind}", self.id, _label(kind), {"model.cache_mode": kind})
            for kind in kinds
        ]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        """The loaded model with that cache; nothing is loaded again."""
        engine = with_cache(case.context.exl2, candidate.patch["model.cache_mode"])
        if engine is None:
            raise NotApplicableError(FIXED)
        with closing(engine):
            yield Change(engine)


def _label(kind: str) -> str:
    return "A KV cache that rounds nothing (FP16)" if kind == EXACT else f"A {kind} KV cache"


REMEDIES = {"cache_bits": FinerCache()}
