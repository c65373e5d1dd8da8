"""Deletes old sessions, once a day, where the installation says how long they are kept.

With a session goes what only it needs: its measurements, its links, and a question set of a user that no other session
names. Without `WFGY_TRIAGE_KEEP_DAYS` nothing is ever deleted.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wfgy_triage.runs.trial_options import RECHECK_OF
from wfgy_triage.store.database import Database
from wfgy_triage.store.records import RunRecord
from wfgy_triage.store.retention import Pruned, expired, open_options, prune, question_sets

EVERY_S = 24 * 3600.0
_HASH = re.compile(r"[0-9a-f]{64}")
_DAY_S = 86_400

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tidied:
    """What went: sessions, cached answers, files of users' question sets."""

    sessions: int
    answers: int
    files: int


class Tidier:
    """Deletes what is old enough.

    Args:
        database: the store.
        home: the folder that holds users' question sets.
        days: how long sessions are kept.
    """

    def __init__(self, database: Database, home: Path, days: int) -> None:
        self._database = database
        self._home = home
        self._days = days
        self._next = 0.0

    def when_due(self) -> None:
        """Tidy up if that was not done in the last day; call it as often as you like."""
        if time.monotonic() >= self._next:
            # Set first: when the database cannot be used, that is said once and not in every turn of the worker.
            self._next = time.monotonic() + EVERY_S
            self.tidy()

    def expired(self) -> tuple[RunRecord, ...]:
        """The sessions that would go now."""
        return expired(self._database, self._days, self._needed())

    def tidy(self) -> Tidied:
        """Delete what is old.

        Raises:
            PrerequisiteError: the database cannot be used.
        """
        gone: Pruned = prune(self._database, self._days, self._needed())
        files = [path for path in self._unused_files() if _deleted(path)]
        if gone.sessions or gone.answers or files:
            _log.info(
                "older than %d days: %d sessions, %d cached answers and %d files of question sets deleted",
                self._days,
                gone.sessions,
                gone.answers,
                len(files),
            )
        return Tidied(gone.sessions, gone.answers, len(files))

    def _needed(self) -> set[str]:
        """Sessions that a waiting or running one is compared with."""
        return {str(o[RECHECK_OF]) for o in open_options(self._database) if o.get(RECHECK_OF)}

    def _unused_files(self) -> Iterator[Path]:
        """Old files of question sets that no session names, not even by way of another file."""
        files = [f for f in sorted((self._home / "workloads").glob("*")) if _HASH.fullmatch(f.stem)]
        named = {h for w, o in question_sets(self._database) for h in _HASH.findall(w + json.dumps(o))}
        for manifest in files:
            if manifest.suffix == ".json" and manifest.stem in named:
                text = _text_of(manifest)
                if text is None:
                    return  # what it names is not known, so nothing is unused for certain
                named |= set(_HASH.findall(text))
        limit = time.time() - self._days * _DAY_S
        for path in files:
            if path.stem not in named and _is_older(path, limit):
                yield path


def _text_of(path: Path) -> str | None:
    """What a file holds; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        _log.warning("the question set %s cannot be read, so no file is deleted: %s", path.name, error)
        return None


def _is_older(path: Path, limit: float) -> bool:
    try:
        return path.stat().st_mtime < limit
    except OSError:
        return False  # somebody else has just deleted it


def _deleted(path: Path) -> bool:
    """Delete a file. One that cannot be deleted stays: the worker has runs to do."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("the file %s of a question set cannot be deleted: %s", path.name, error)
        return False
    return True
