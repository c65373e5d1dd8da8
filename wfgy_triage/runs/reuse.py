"""The cache of FP16 answers as a run gets it: it fails quietly, is kept within its bounds, and says what it gave."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from wfgy_triage.engines.base import EngineInfo
from wfgy_triage.errors import TriageError
from wfgy_triage.probes.reuse import REUSED, Reuse
from wfgy_triage.runs.provenance import number_facts
from wfgy_triage.store.answers import AnswerCache
from wfgy_triage.store.database import Database
from wfgy_triage.store.records import Event

_log = logging.getLogger(__name__)


class RunCache:
    """The cache for one pass of a run. After a failure it is empty for the rest of the pass; the run goes on.

    Args:
        answers: the stored rows.
        max_rows: how many of them may stay.
    """

    def __init__(self, answers: AnswerCache, max_rows: int) -> None:
        self._answers, self._max_rows = answers, max_rows
        self._usable = True

    def get_many(self, keys: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
        """See `probes.reuse.Cache`."""
        found: dict[str, Mapping[str, Any]] = {}

        def read() -> None:
            found.update(self._answers.get_many(keys))
            self._answers.touch(found.keys())

        self._try(read)
        return found

    def put_many(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """See `probes.reuse.Cache`."""
        self._try(lambda: self._answers.put_many(rows))

    def prune(self) -> None:
        """Let the rows go that were not used for the longest time."""
        self._try(lambda: self._answers.prune(self._max_rows))

    def _try(self, action: Callable[[], object]) -> None:
        if not self._usable:
            return
        try:
            action()
        except (TriageError, ValueError) as error:  # ValueError: a row that JSON cannot hold
            # Each further try might wait as long for a lock; what the run itself stores reports real trouble.
            self._usable = False
            _log.warning("the cache of FP16 answers is left out of this run: %s", error)


def open_cache(database: Database, max_rows: int) -> Callable[[], RunCache] | None:
    """Gives the cache of each pass; None where settings allow no rows."""
    return (lambda: RunCache(AnswerCache(database), max_rows)) if max_rows > 0 else None


def reuse_of(
    cache: RunCache | None,
    pair: Mapping[str, Any],
    fp16: EngineInfo,
    write: Callable[[str, Mapping[str, Any]], None],
) -> Reuse | None:
    """What a probe may take from earlier runs on this FP16 model.

    Args:
        cache: the cache of this pass.
        pair: provenance of both folders.
        fp16: the baseline engine.
        write: stores an event of the run.

    Returns:
        None without a cache, for weights without a fingerprint, and where an answer depends on what else is in its
        batch: an answer of another run would then not be comparable with those measured in this one.
    """
    if cache is None or not pair["fp16"].get("weights_sha256") or not fp16.deterministic:
        return None

    def tell(side: str, reused: int, total: int) -> None:
        text = (
            f"{reused} of {total} {REUSED[side]} were measured earlier with the same model, prompts and settings, "
            "and are used again."
        )
        write("note", {"text": text, "reused": {side: reused}})

    return Reuse(cache, number_facts(pair["fp16"]), tell)


def reused_counts(events: Iterable[Event]) -> dict[str, int]:
    """How many measurements of each side came from earlier runs, all passes of the run together."""
    counts: dict[str, int] = {}
    for event in events:
        for side, count in event.payload.get("reused", {}).items() if event.kind == "note" else ():
            counts[side] = counts.get(side, 0) + count
    return counts
