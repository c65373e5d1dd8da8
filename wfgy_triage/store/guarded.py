"""The store as somebody sees it: every read and write asks first whether they may.

A write asks, acts and leaves its line in the audit trail in one transaction: all three happen, or none. Workers use
the plain repositories; everything that acts for a person goes through these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Unpack

from sqlalchemy import select
from sqlalchemy.orm import Session

from wfgy_triage.access import LOCAL, VISITOR, Action, Actor, demand
from wfgy_triage.errors import InputError
from wfgy_triage.store.audit import audit_row
from wfgy_triage.store.comments import LONGEST_NAME, Comment, CommentRepository
from wfgy_triage.store.database import Database
from wfgy_triage.store.descriptions import Description
from wfgy_triage.store.filters import Which
from wfgy_triage.store.models import RunRow, ShareRow
from wfgy_triage.store.queue import UNLIMITED, QueueLimits
from wfgy_triage.store.records import OPEN_STATUSES, RunRecord, RunSpec, Sample, Share
from wfgy_triage.store.rows import locked_run, unknown_run
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.store.shares import ShareRepository

MOST_OWNERS = 50
"""Names that are offered for a filter."""


class _Watched(Database):
    """The same database; a write begins with a check and ends with a line of the audit trail."""

    def __init__(
        self, inner: Database, before: Callable[[Session], None], after: Callable[[Session], None]
    ) -> None:
        self.__dict__.update(inner.__dict__)  # the same connections and the same lock for writers
        self._before = before
        self._after = after

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A write transaction in which the actor may do what follows."""
        with super().write() as session:
            self._before(session)
            yield session
            self._after(session)


class _Guard:
    """What the guarded repositories share.

    Args:
        database: the store.
        actor: who asks.
    """

    def __init__(self, database: Database, actor: Actor) -> None:
        self._db = database
        self.actor = actor

    def _read(self) -> None:
        demand(self.actor, Action.READ)

    def _acting(self, action: Action, run_id: str, details: Mapping[str, Any] | None = None) -> Database:
        """The database for one write that does something to a run."""

        def before(session: Session) -> None:
            self._read()
            demand(self.actor, action, _owner(session, run_id))

        def after(session: Session) -> None:
            session.add(audit_row(self.actor, action, run_id, details or {}))

        return _Watched(self._db, before, after)


class GuardedRuns(_Guard):
    """Runs; see `RunRepository`. Every method raises AccessDenied where the actor may not."""

    def create(
        self,
        spec: RunSpec,
        *,
        worker_id: str | None = None,
        start_key: str | None = None,
        limits: QueueLimits = UNLIMITED,
    ) -> RunRecord:
        """Queue a new run of the actor's."""
        demand(self.actor, Action.START)
        runs, mine = _StartedRuns(self._db, self.actor), self.actor.name
        return runs.create(spec, worker_id=worker_id, start_key=start_key, owner=mine, limits=limits)

    def get(self, run_id: str) -> RunRecord:
        """The run with its result."""
        self._read()
        return RunRepository(self._db).get(run_id)

    def list(self, limit: int = 50, offset: int = 0, **which: Unpack[Which]) -> tuple[RunRecord, ...]:
        """Runs that match, newest first."""
        self._read()
        return RunRepository(self._db).list(limit, offset, **which)

    def count(self, **which: Unpack[Which]) -> int:
        """How many runs match."""
        self._read()
        return RunRepository(self._db).count(**which)

    def owners(self) -> tuple[str, ...]:
        """Who has runs, by name; at most `MOST_OWNERS`."""
        self._read()
        query = select(RunRow.owner).where(RunRow.owner != "").distinct().order_by(RunRow.owner)
        with self._db.read() as session:
            return tuple(session.scalars(query.limit(MOST_OWNERS)))

    def samples(self, run_id: str) -> tuple[Sample, ...]:
        """What was measured."""
        self._read()
        return RunRepository(self._db).samples(run_id)

    def describe(self, run_id: str, description: Description) -> RunRecord:
        """Keep what people wrote about a run."""
        return RunRepository(self._acting(Action.DESCRIBE, run_id)).describe(run_id, description)

    def request_cancel(self, run_id: str) -> RunRecord:
        """Ask a run to stop; for one that has ended nothing is done, and nothing written down."""
        record = self.get(run_id)
        if record.status not in OPEN_STATUSES:
            demand(self.actor, Action.CANCEL, record.owner)
            return record
        return RunRepository(self._acting(Action.CANCEL, run_id)).request_cancel(run_id)

    def requeue(self, run_id: str, limits: QueueLimits = UNLIMITED) -> RunRecord:
        """Queue a failed or cancelled run again."""
        return RunRepository(self._acting(Action.RESUME, run_id)).requeue(run_id, limits)

    def delete(self, run_id: str) -> None:
        """Remove a run with its samples, its log and its links; the audit trail stays.

        Raises:
            AccessDenied: it is somebody else's.
            InputError: there is no such run, or it has not ended.
        """
        record = self.get(run_id)
        told = {"symptom": record.spec.symptom, "pair": record.spec.pair_id, "owner": record.owner}
        with self._acting(Action.DELETE, run_id, told).write() as session:
            row = locked_run(session, run_id)
            if row.status in OPEN_STATUSES:
                raise InputError("This session has not ended yet.", "Stop it first; then it can be deleted.")
            session.delete(row)  # what belongs to it goes with it, by the tables' own rule


class GuardedComments(_Guard):
    """What people say about a session; see `CommentRepository`. Whoever is known by name says it under that name."""

    @property
    def named(self) -> bool:
        """Whether the actor has a name of their own, so that no other is asked for."""
        return self.actor.name != LOCAL.name and not self.actor.name.startswith(VISITOR)

    def add(self, run_id: str, who: str, text: str) -> Comment:
        """Add a comment, under the name given where nobody's is known."""
        database = self._acting(Action.COMMENT, run_id)
        known = self.actor.name[:LONGEST_NAME] if self.named else who
        return CommentRepository(database).add(run_id, known, text)

    def of_run(self, run_id: str) -> tuple[Comment, ...]:
        """The comments of a session, oldest first."""
        self._read()
        return CommentRepository(self._db).of_run(run_id)


def comments_beside(runs: RunRepository | GuardedRuns, run_id: str) -> tuple[Comment, ...]:
    """The comments of a session in the store that its runs come from, for the same person."""
    if isinstance(runs, GuardedRuns):
        return GuardedComments(runs._db, runs.actor).of_run(run_id)
    return CommentRepository(runs._db).of_run(run_id)


class GuardedShares(_Guard):
    """Read-only links; see `ShareRepository`. A link belongs to whom its session belongs to."""

    def create(self, run_id: str, days: int, redacted: bool = False) -> tuple[Share, str]:
        """Make a link."""
        database = self._acting(Action.SHARE, run_id, {"days": days, "redacted": redacted})
        return ShareRepository(database).create(run_id, days, redacted, self.actor.name)

    def of_run(self, run_id: str) -> tuple[Share, ...]:
        """The links of a run."""
        self._read()
        return ShareRepository(self._db).of_run(run_id)

    def revoke(self, share_id: str) -> Share:
        """Take a link back."""
        self._read()
        with self._db.read() as session:
            run_id = session.scalar(select(ShareRow.run_id).where(ShareRow.id == share_id))
        if run_id is None:
            raise InputError("There is no such link.", "Open the session anew to see its links.")
        return ShareRepository(self._acting(Action.UNSHARE, run_id, {"link": share_id})).revoke(share_id)

    def find(self, token: str) -> Share | None:
        """The link that a token opens: whoever has it needs no role."""
        return ShareRepository(self._db).find(token)


class _StartedRuns(RunRepository):
    """Runs that are started leave a line in the audit trail."""

    def __init__(self, database: Database, actor: Actor) -> None:
        super().__init__(database)
        self._actor = actor

    def _begin(self, session: Session, row: RunRow) -> None:
        super()._begin(session, row)
        told = {"symptom": row.symptom, "pair": row.pair_id, "questions": row.questions}
        session.add(audit_row(self._actor, Action.START, row.id, told))


def _owner(session: Session, run_id: str) -> str:
    owner = session.scalar(select(RunRow.owner).where(RunRow.id == run_id))
    if owner is None:
        raise unknown_run(run_id)
    return owner
