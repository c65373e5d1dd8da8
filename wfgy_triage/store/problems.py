"""What a database error means to a user, and what to do about it.

Knows the error names of SQLite and the general shape of server errors; knows no tables.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from wfgy_triage.errors import PrerequisiteError

_SERVER_HINTS = (
    ("42501", "Give this user the right to create tables: ALTER DATABASE NAME OWNER TO user."),
    ("25006", "The server is read-only (a standby?): set DATABASE_URL to the one that writes."),
    ("53100", "The server's disk is full: free some space. Everything stored before is kept."),
    ("53300", "The server has no connection left: raise max_connections, or stop what holds them."),
    ("42P07", "If it belongs to another program, set DATABASE_URL to another place."),
)
"""By the first characters of PostgreSQL's error code (SQLSTATE)."""
_SERVER_HINT = (
    "Check that the server runs, that DATABASE_URL is right (host, user, password), that the database is there "
    "(createdb --encoding=UTF8 NAME), and that its user may create tables."
)


def explain(error: DBAPIError, url: URL) -> PrerequisiteError:
    """Turn a driver error into one that says what happened and what to do; passwords are left out."""
    if isinstance(error.orig, sqlite3.Error):
        return explain_sqlite(error.orig, url.database or "")
    shown = url.render_as_string(hide_password=True)
    state = getattr(error.orig, "sqlstate", None) or ""
    hint = next((hint for begin, hint in _SERVER_HINTS if state.startswith(begin)), _SERVER_HINT)
    return PrerequisiteError(
        f"The session database at {shown} refused the request: {_first_line(error.orig)}", hint
    )


def explain_sqlite(error: sqlite3.Error, path: str) -> PrerequisiteError:
    """The same for an error of Python's sqlite3 module on the file `path`."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return damaged(path)
    if name.startswith("SQLITE_FULL"):
        return PrerequisiteError(
            f"The disk that holds the session database {path} is full; the last change was not stored.",
            "Free some space. Everything stored before is kept; an interrupted run goes on from there.",
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return not_writable(path)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return PrerequisiteError(
            f"Another program kept the session database {path} locked for too long.",
            "Close other tools that have it open (a database browser, a backup), then try again.",
        )
    if name.startswith("SQLITE_IOERR"):
        return PrerequisiteError(
            f"Reading or writing the session database {path} failed: {_first_line(error)}",
            "Check the disk (space, quota, network mounts), or set WFGY_TRIAGE_HOME to a local folder.",
        )
    return PrerequisiteError(
        f"The session database {path} could not be used: {_first_line(error)}",
        "If it belongs to another program, set DATABASE_URL or WFGY_TRIAGE_HOME to another place.",
    )


def damaged(path: str) -> PrerequisiteError:
    """The file is not a readable database. It is never deleted: its owner decides."""
    return PrerequisiteError(
        f"The session database {path} is damaged or is not a database. It was left as it is.",
        f"To start with an empty one, move it aside together with its -wal and -shm files: "
        f'mv "{path}" "{path}.damaged". \'sqlite3 "{path}.damaged" .recover\' may bring sessions back.',
    )


def not_writable(path: str) -> PrerequisiteError:
    """The file or its folder cannot be created or written."""
    return PrerequisiteError(
        f"The session database {path} cannot be opened for writing.",
        "Give this user write access to its folder, or set WFGY_TRIAGE_HOME to a folder that is writable.",
    )


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
