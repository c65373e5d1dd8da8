"""What SQLite has to be told: write-ahead logging, when a transaction begins, the letters of every alphabet."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import sqlalchemy as sa

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.store import problems

WRITE, REBUILD = "wfgy_write", "wfgy_rebuild"
"""Execution options of a transaction: it writes; it makes tables anew."""


def switch_to_wal(path: str, patience_s: float) -> None:
    """Make readers and the writer of a file not block each other; the setting stays in the file.

    Args:
        path: of the file.
        patience_s: how long another process that holds it is waited for.

    Raises:
        PrerequisiteError: the file is damaged or cannot be written, or its file system cannot do this.
    """
    try:
        with closing(sqlite3.connect(path, timeout=patience_s)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    except sqlite3.Error as error:
        raise problems.explain_sqlite(error, path) from error
    if mode != "wal":
        raise PrerequisiteError(
            f"The file system of the session database {path} does not support write-ahead logging.",
            "Set WFGY_TRIAGE_HOME to a folder on a local disk, or DATABASE_URL to a PostgreSQL server.",
        )


def on_connect(connection: Any, _record: Any) -> None:
    """Prepare a new connection (SQLAlchemy's event `connect`)."""
    # The driver's own implicit BEGIN is deferred and skips DDL; transactions are begun by `on_begin`.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = FULL")
    # Its own knows the letters a to z only, and searches look past the case of every alphabet.
    connection.create_function("lower", 1, _lower, deterministic=True)


def on_begin(connection: sa.Connection) -> None:
    """Begin a transaction (SQLAlchemy's event `begin`)."""
    # A write takes the lock at its start: a deferred one could fail half-way when another process wrote.
    options = connection.get_execution_options()
    writes = options.get(WRITE, False)
    # SQLite alters a table by making it anew and dropping the old one, which would delete what refers to its rows.
    connection.exec_driver_sql(f"PRAGMA foreign_keys = {'OFF' if options.get(REBUILD, False) else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value
