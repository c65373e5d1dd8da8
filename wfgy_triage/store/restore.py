"""A backup back into a database, of either kind: whole or not at all.

The tables are made as they were when the backup was written, filled, and brought up to date by the same migrations that
an old database gets; all in one transaction.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.util.exc import CommandError
from sqlalchemy.orm import Session

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.store.backup import QUESTION_SET, Backup, entry_of, read_manifest, rows_of
from wfgy_triage.store.database import Database, migrations
from wfgy_triage.store.models import Base, PlainText, RunRow, UtcDateTime
from wfgy_triage.store.records import RunStatus
from wfgy_triage.store.rows import now
from wfgy_triage.store.workers import WorkerRepository

IN_USE_S = 60.0
"""A worker or run that gave a sign of life in the last so many seconds works on the database."""
_OURS = frozenset({"alembic_version", *Base.metadata.tables})


def restore(database: Database, path: Path, home: Path, replace: bool = False) -> Backup:
    """Put a backup into a database.

    Args:
        database: where it goes; opened, so that its tables are there.
        path: the backup.
        home: the folder whose `workloads/` gets users' question sets.
        replace: throw away what the database holds.

    Raises:
        InputError: the backup is damaged or newer than this program, or the database holds sessions.
        PrerequisiteError: the app works on the database, or it cannot be used.
    """
    found = read_manifest(path)
    _check_names(found)
    if WorkerRepository(database).alive(IN_USE_S):
        raise _in_use()
    with zipfile.ZipFile(path) as archive:
        _restore_files(archive, found, home)
        with database.rebuild() as session:
            _check_target(session, replace)
            _fill(session, archive, found)
    return found


def _check_names(found: Backup) -> None:
    """Nothing in a backup decides what is written where but these names, and `QUESTION_SET`."""
    wanted = {entry_of(t) for t in found.tables} | {f"workloads/{name}" for name in found.files}
    if set(found.hashes) != wanted:
        raise InputError("The backup is damaged: it names entries that no backup has.", "Take another one.")
    if not found.tables.keys() <= Base.metadata.tables.keys() - {"workers"}:
        raise _newer(found)


def _check_target(session: Session, replace: bool) -> None:
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
    sessions = session.scalar(sa.select(sa.func.count()).select_from(RunRow)) or 0
    if sessions and not replace:
        raise InputError(
            f"The database holds {sessions:,} sessions.",
            "Restore into an empty one, or give --replace to throw away what it holds (back it up first).",
        )
    lately = (RunRow.status == RunStatus.RUNNING, RunRow.heartbeat_at > now() - timedelta(seconds=IN_USE_S))
    if session.scalar(sa.select(RunRow.id).where(*lately).limit(1)) is not None:
        raise _in_use()


def _fill(session: Session, archive: zipfile.ZipFile, found: Backup) -> None:
    connection, config = session.connection(), migrations()
    config.attributes["connection"] = connection
    there = sa.MetaData()
    there.reflect(connection, only=lambda name, _: name in _OURS)
    there.drop_all(connection)
    try:
        command.upgrade(config, found.revision)
    except CommandError as error:
        raise _newer(found) from error
    made = sa.MetaData()
    made.reflect(connection, only=lambda name, _: name in _OURS)
    for table in made.sorted_tables:
        if table.name in found.tables:
            _fill_table(connection, archive, table, found.tables[table.name])
    command.upgrade(config, "head")


def _fill_table(connection: sa.Connection, archive: zipfile.ZipFile, table: sa.Table, wanted: int) -> None:
    for column in table.columns:
        column.type = _type(column.type)
    columns, stored = {c.name: c for c in table.columns}, 0
    for rows in rows_of(archive, table.name):
        connection.execute(table.insert(), [_values(columns, row, table.name) for row in rows])
        stored += len(rows)
    if stored != wanted:
        raise InputError(f"The backup is damaged: {table.name} has {stored} rows, not {wanted}.", "")
    number = table.autoincrement_column
    if number is not None and connection.dialect.name == "postgresql":
        sequence = sa.func.pg_get_serial_sequence(table.name, number.name)
        last = sa.select(sa.func.max(number)).scalar_subquery()
        connection.execute(sa.select(sa.func.setval(sequence, sa.func.coalesce(last, 1), last.is_not(None))))


def _type(reflected: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type that the models use for such a column, whichever database it was read from."""
    if isinstance(reflected, sa.JSON):
        return sa.JSON(none_as_null=True)
    if isinstance(reflected, sa.DateTime):
        return UtcDateTime()
    return PlainText(reflected.length) if isinstance(reflected, sa.String) else reflected


def _values(columns: Mapping[str, sa.Column[Any]], row: Mapping[str, Any], table: str) -> dict[str, Any]:
    if row.keys() != columns.keys():
        raise InputError(f"The backup is damaged: a row of {table} has other columns.", "Take another one.")
    return {name: _value(columns[name], value, table) for name, value in row.items()}


def _value(column: sa.Column[Any], value: Any, table: str) -> Any:
    if value is None:
        return None
    if isinstance(column.type, UtcDateTime):
        return datetime.fromisoformat(value)
    length = column.type.length if isinstance(column.type, PlainText) else None
    if length is not None and len(value) > length:  # SQLite keeps longer ones
        raise InputError(
            f"A value of {table}.{column.name} has {len(value):,} characters; there is room for {length}.",
            "Restore this backup into SQLite, where such values fit.",
        )
    return value


def _restore_files(archive: zipfile.ZipFile, found: Backup, home: Path) -> None:
    """Question sets are named by their content: one that is there already is the same.

    Earlier versions took along whatever lay beside them; that is passed over.
    """
    for name in filter(QUESTION_SET.fullmatch, found.files):
        target = home / "workloads" / name
        try:
            if target.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as part:
                part.write(archive.read(f"workloads/{name}"))
            os.replace(part.name, target)
        except OSError as error:
            raise PrerequisiteError(
                f"The question set {name} cannot be kept in {target.parent}: {error.strerror or error}.",
                "Check that the folder can be written and the disk is not full. The database was not changed.",
            ) from error


def _in_use() -> PrerequisiteError:
    return PrerequisiteError(
        "The app works on this database.", "Stop it (and wait a minute if it was killed), then restore."
    )


def _newer(found: Backup) -> InputError:
    return InputError(
        f"The backup was written by a newer version of this program ({found.version}).",
        "Update the program, then restore.",
    )
