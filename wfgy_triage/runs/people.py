"""The half of the service that knows people: for whom it acts, links, uploads, deleting, the audit trail."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Self

from wfgy_triage.access import Action, Actor, Role, command_line, demand, may
from wfgy_triage.catalog import load_catalog
from wfgy_triage.errors import InputError
from wfgy_triage.languages.known import ENGLISH
from wfgy_triage.report.export.html import shared_html
from wfgy_triage.runs.sessions import read_session
from wfgy_triage.runs.sign_in import SignInDesk
from wfgy_triage.runs.team import Team
from wfgy_triage.settings import Settings
from wfgy_triage.store.audit import AuditEntry, AuditRepository
from wfgy_triage.store.comments import Comment
from wfgy_triage.store.database import Database
from wfgy_triage.store.guarded import GuardedComments, GuardedRuns, GuardedShares
from wfgy_triage.store.queue import QueueLimits
from wfgy_triage.store.records import Share
from wfgy_triage.workload.passages import PassageSet
from wfgy_triage.workload.stored import StoredWorkload, store_passages, store_upload
from wfgy_triage.workload.upload import Upload


class ForPeople:
    """Acts for one person; the store refuses what they may not do (AccessDenied).

    Attributes:
        actor: who that is.
    """

    actor: Actor
    _settings: Settings
    _database: Database
    _limits: QueueLimits
    _runs: GuardedRuns
    _shares: GuardedShares
    _comments: GuardedComments

    def acting(self, actor: Actor) -> Self:
        """The same service for somebody else; this one stays as it is."""
        theirs = copy.copy(self)
        theirs._bind(actor)
        return theirs

    def _bind(self, actor: Actor | None) -> None:
        self.actor = actor or command_line()
        self._runs = GuardedRuns(self._database, self.actor)
        self._shares = GuardedShares(self._database, self.actor)
        self._comments = GuardedComments(self._database, self.actor)

    def may(self, action: Action, owner: str | None = None) -> bool:
        """Whether the actor may do something; see `access.may`. The store asks again."""
        return may(self.actor, action, owner)

    def demand(self, action: Action) -> None:
        """Do nothing where the actor may; AccessDenied where not."""
        demand(self.actor, action)

    def note(self, action: str, target: str = "", **details: Any) -> None:
        """Add a line to the audit trail."""
        AuditRepository(self._database).add(self.actor, action, target, details)

    def sign_in_desk(self, team: Team) -> SignInDesk:
        """Where people of a team sign in."""
        return SignInDesk(team, self._database)

    def keep_workload(self, upload: Upload) -> StoredWorkload:
        """Keep a user's question set; its id goes into the spec of runs that ask it.

        Raises:
            PrerequisiteError: the home folder cannot be written.
        """
        self.demand(Action.UPLOAD)
        return self._kept(store_upload(self._settings.home, upload))

    def keep_passages(self, passages: PassageSet) -> StoredWorkload:
        """Keep a user's passages and index; the id goes into the spec of runs that search them.

        Raises:
            PrerequisiteError: the home folder cannot be written, or has no room for more.
        """
        self.demand(Action.UPLOAD)
        return self._kept(store_passages(self._settings.home, passages))

    def share(self, run_id: str, days: int, redacted: bool = False) -> tuple[Share, str]:
        """Make a read-only link to a session with a result; returns it with its token, which is shown once.

        Raises:
            InputError: no such session, it has no result yet, or a time out of range.
        """
        if self._runs.get(run_id).result is None:
            raise InputError("This session has no result to share yet.", "Wait until it has ended.")
        return self._shares.create(run_id, days, redacted)

    def shares(self, run_id: str) -> tuple[Share, ...]:
        """The links of a session, newest first."""
        return self._shares.of_run(run_id)

    def revoke(self, run_id: str, share_id: str) -> None:
        """Take a link of this session back.

        Raises:
            InputError: this session has no such link.
        """
        if share_id not in {s.id for s in self._shares.of_run(run_id)}:
            raise InputError("This session has no such link.", "Open it anew to see its links.")
        self._shares.revoke(share_id)

    def shared(self, token: str) -> Share | None:
        """The link that a token opens now; None for any other text."""
        return self._shares.find(token)

    def shared_report(self, token: str, language: str = ENGLISH) -> str | None:
        """The report that a link shows, to whoever has it, in a language; None where it opens nothing."""
        share = self._shares.find(token)
        if share is None:
            return None
        # The link is the permission: it names the session, and was made by somebody who may share it.
        runs = GuardedRuns(self._database, Actor(f"link {share.id}", Role.VIEWER))
        session = read_session(self._settings, runs, share.run_id, share.redacted)
        return shared_html(session, load_catalog(), language)

    @property
    def named(self) -> bool:
        """Whether the actor has a name of their own."""
        return self._comments.named

    @property
    def queue_limits(self) -> QueueLimits:
        """How many runs may wait where the actor adds one; admins have no limit of their own."""
        return replace(self._limits, each=None) if self.actor.role is Role.ADMIN else self._limits

    def comment(self, run_id: str, who: str, text: str) -> Comment:
        """Add what somebody says about a session; InputError for no such session, or a text that is not possible."""
        return self._comments.add(run_id, who, text)

    def comments(self, run_id: str) -> tuple[Comment, ...]:
        """What was said about a session, oldest first."""
        return self._comments.of_run(run_id)

    def delete(self, run_id: str) -> None:
        """Delete a session with everything that was measured and its links.

        Raises:
            InputError: there is no such session, or it has not ended.
        """
        self._runs.delete(run_id)

    def owners(self) -> tuple[str, ...]:
        """Names of those who have sessions."""
        return self._runs.owners()

    def audit(self, limit: int = 50, offset: int = 0) -> tuple[AuditEntry, ...]:
        """The newest lines of the audit trail, newest first."""
        self.demand(Action.AUDIT)
        return AuditRepository(self._database).last(limit, offset)

    def _kept(self, stored: StoredWorkload) -> StoredWorkload:
        self.note(Action.UPLOAD, stored.id, kind=stored.kind, questions=stored.questions)
        return stored
