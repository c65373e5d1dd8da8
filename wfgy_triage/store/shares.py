"""Read-only links to sessions: made, opened, listed, taken back.

A token is 32 random bytes. Only its SHA-256 is stored: it is random enough that nobody can go back from the hash, and
looking a hash up in an index tells a guesser nothing by its time.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta

from sqlalchemy import func, select

from wfgy_triage.errors import InputError
from wfgy_triage.store.database import Database
from wfgy_triage.store.models import ShareRow
from wfgy_triage.store.records import Share
from wfgy_triage.store.rows import locked_run, new_run_id, now

LONGEST_DAYS = 365
MOST_OPEN = 50
"""Links of one session that are open at once; more are a sign that something makes them in a loop."""
_TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class ShareRepository:
    """The links."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def create(self, run_id: str, days: int, redacted: bool = False, made_by: str = "") -> tuple[Share, str]:
        """Make a link and return it with its token, which cannot be had again.

        Args:
            run_id: the session it shows.
            days: how long it opens.
            redacted: leave out the texts of questions and answers.
            made_by: who makes it.

        Raises:
            InputError: no such session, a time out of range, or too many open links.
        """
        if not 1 <= days <= LONGEST_DAYS:
            raise InputError(f"A link of {days} days was asked for.", f"Choose between 1 and {LONGEST_DAYS}.")
        token, moment = secrets.token_urlsafe(_TOKEN_BYTES), now()
        with self._db.write() as session:
            locked_run(session, run_id)
            still_open = (
                ShareRow.run_id == run_id,
                ShareRow.revoked_at.is_(None),
                ShareRow.expires_at > moment,
            )
            if (session.scalar(select(func.count()).where(*still_open)) or 0) >= MOST_OPEN:
                raise InputError(
                    f"This session has {MOST_OPEN} open links already.", "Take back some that are not used."
                )
            row = ShareRow(
                id=new_run_id(),
                run_id=run_id,
                token_hash=_hash(token),
                redacted=redacted,
                created_at=moment,
                expires_at=moment + timedelta(days=days),
                revoked_at=None,
                made_by=made_by,
            )
            session.add(row)
            session.flush()
            return _share(row), token

    def find(self, token: str) -> Share | None:
        """The link that a token opens now; None where it is unknown, over or taken back, without a difference."""
        if not _TOKEN.fullmatch(token):
            return None
        with self._db.read() as session:
            row = session.scalar(select(ShareRow).where(ShareRow.token_hash == _hash(token)))
            share = _share(row) if row is not None else None
        return share if share is not None and share.open_at(now()) else None

    def of_run(self, run_id: str) -> tuple[Share, ...]:
        """The links of a session, newest first, those that are over among them."""
        query = (
            select(ShareRow)
            .where(ShareRow.run_id == run_id)
            .order_by(ShareRow.created_at.desc(), ShareRow.id)
        )
        with self._db.read() as session:
            return tuple(_share(row) for row in session.scalars(query))

    def revoke(self, share_id: str) -> Share:
        """Take a link back; one that is back already stays as it is.

        Raises:
            InputError: there is no such link.
        """
        with self._db.write() as session:
            row = session.scalar(select(ShareRow).where(ShareRow.id == share_id).with_for_update())
            if row is None:
                raise InputError("There is no such link.", "Open the session anew to see its links.")
            row.revoked_at = row.revoked_at or now()
            session.flush()
            return _share(row)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _share(row: ShareRow) -> Share:
    return Share(
        row.id, row.run_id, row.redacted, row.created_at, row.expires_at, row.revoked_at, row.made_by
    )
