"""What people say about a session, one after the other: nothing is changed or taken away again."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from wfgy_triage.errors import InputError
from wfgy_triage.store.database import Database
from wfgy_triage.store.models import CommentRow, RunRow
from wfgy_triage.store.rows import locked_run, now, unknown_run

LONGEST_COMMENT, LONGEST_NAME, MOST_COMMENTS = 2_000, 60, 200


@dataclass(frozen=True)
class Comment:
    """Who said what, and when (aware, UTC). `who` may be empty: not everybody says their name."""

    who: str
    at: datetime
    text: str


def checked(who: str, text: str) -> tuple[str, str]:
    """Name and text as they are kept: the name in one line, the text with its own.

    Raises:
        InputError: empty, too long, or with control characters.
    """
    who = " ".join(who.split())
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise InputError("There is no text.", "Write what you want to say.")
    for what, length, limit in (
        ("The name", len(who), LONGEST_NAME),
        ("The comment", len(text), LONGEST_COMMENT),
    ):
        if length > limit:
            raise InputError(f"{what} has {length:,} characters.", f"At most {limit:,} are kept.")
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in who + text):
        raise InputError(
            "The comment has control characters in it.",
            "Copy the words only, without the terminal's colours.",
        )
    return who, text


class CommentRepository:
    """The comments."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, run_id: str, who: str, text: str) -> Comment:
        """Add a comment.

        Raises:
            InputError: no such session, a text or name that is not possible, or too many comments.
        """
        who, text = checked(who, text)
        comment = Comment(who, now(), text)
        with self._db.write() as session:
            locked_run(session, run_id)
            there = session.scalar(select(func.count()).where(CommentRow.run_id == run_id)) or 0
            if there >= MOST_COMMENTS:
                raise InputError(
                    f"This session has {MOST_COMMENTS} comments already.", "Go on in a new session."
                )
            session.add(_row(run_id, comment))
        return comment

    def of_run(self, run_id: str) -> tuple[Comment, ...]:
        """The comments of a session, oldest first."""
        query = select(CommentRow).where(CommentRow.run_id == run_id).order_by(CommentRow.at, CommentRow.id)
        with self._db.read() as session:
            return tuple(Comment(row.who, row.at, row.text) for row in session.scalars(query))

    def merge(self, run_id: str, comments: Iterable[Comment]) -> None:
        """Add the comments of an imported file that are not there yet.

        Raises:
            InputError: there is no such session.
        """
        with self._db.write() as session:
            if session.get(RunRow, run_id) is None:
                raise unknown_run(run_id)
            rows = session.scalars(select(CommentRow).where(CommentRow.run_id == run_id))
            known = {Comment(row.who, row.at, row.text) for row in rows}
            fresh = [c for c in dict.fromkeys(comments) if c not in known]
            session.add_all(_row(run_id, c) for c in fresh[: max(0, MOST_COMMENTS - len(known))])


def _row(run_id: str, comment: Comment) -> CommentRow:
    return CommentRow(run_id=run_id, who=comment.who, at=comment.at, text=comment.text)
