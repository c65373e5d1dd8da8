"""What people wrote about a session, in its file: name, tags, comments, with a hash of their own.

They may grow after the session was exported. Files from before they were written have none of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from wfgy_triage.errors import InputError
from wfgy_triage.report.export.session import Session
from wfgy_triage.store.comments import LONGEST_COMMENT, Comment, checked
from wfgy_triage.store.descriptions import described

EXPORT_AGAIN = "Export the session again where it was recorded, as `session`."


def content_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 over the content in its one canonical form."""
    plain = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def written_part(session: Session) -> dict[str, Any]:
    """The part `written` of the file; nothing where nobody wrote anything."""
    record = session.record
    found: dict[str, Any] = {
        "title": record.title,
        "tags": list(record.tags),
        "comments": [
            {"who": c.who, "at": c.at.isoformat(), "text": c.text[:LONGEST_COMMENT]} for c in session.comments
        ],
    }
    return {"written": {"sha256": content_hash(found), **found}} if any(found.values()) else {}


def with_written(session: Session, part: Mapping[str, Any] | None) -> Session:
    """The session with what was written about it.

    Args:
        session: as its content says.
        part: `written` of the file; None in one without.

    Raises:
        InputError: it was changed after it was written, or is nothing that people can write.
    """
    if part is None:
        return session
    words = {name: value for name, value in part.items() if name != "sha256"}
    if part["sha256"] != content_hash(words):
        raise InputError(
            "The session file was changed after it was written: the hash of its comments does not fit.",
            EXPORT_AGAIN,
        )
    name = described(part["title"], "", ",".join(part["tags"]))
    record = replace(session.record, title=name.title, tags=name.tags)
    return replace(session, record=record, comments=tuple(_comment(c) for c in part["comments"]))


def moment_of(text: str) -> datetime:
    """A time with its zone; every time of the store has one.

    Raises:
        InputError: it is none.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"The session file is damaged: {text[:40]!r} is no time.", EXPORT_AGAIN) from error
    if at.tzinfo is None:
        raise InputError(f"The session file is damaged: the time {text[:40]!r} has no zone.", EXPORT_AGAIN)
    return at


def _comment(part: Mapping[str, Any]) -> Comment:
    who, text = checked(part["who"], part["text"])
    return Comment(who, moment_of(part["at"]).astimezone(UTC), text)
