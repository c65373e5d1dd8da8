"""The whole store as one file, whatever the database: written while the app runs, restored into either kind.

A ZIP with a `manifest.json`, one JSON-lines entry a table, and users' question sets. It is read in one transaction, so
that it shows one moment, and it names the revision of the tables, so that a later version can restore it. Rows are JSON
and not SQL: a backup of SQLite goes into PostgreSQL and back, and nothing in it is ever executed. What may go at any
time is left out: the cache of FP16 answers, and the workers' signs of life.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO

from alembic.migration import MigrationContext
from sqlalchemy import Connection, Table, select

from wfgy_triage import __version__
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.store.database import Database
from wfgy_triage.store.models import Base
from wfgy_triage.store.rows import now

SCHEMA = "wfgy-triage/backup-1"
LEFT_OUT = frozenset({"workers", "cached_answers"})
MANIFEST = "manifest.json"
QUESTION_SET = re.compile(r"[0-9a-f]{64}\.(json|jsonl|faiss)")
"""Names of the files that go along. What else lies beside them is neither taken nor put back."""
_ROWS_AT_ONCE = 500
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Backup:
    """What a backup says of itself.

    Attributes:
        revision: of the tables.
        made_at: the moment that it shows.
        version: of the program that wrote it.
        database: the kind it was made from.
        tables: rows by table.
        files: names of the question sets in it.
        hashes: SHA-256 by entry.
    """

    revision: str
    made_at: datetime
    version: str
    database: str
    tables: Mapping[str, int]
    files: tuple[str, ...]
    hashes: Mapping[str, str]


def entry_of(table: str) -> str:
    """The entry that holds a table's rows."""
    return f"tables/{table}.jsonl"


def write_backup(database: Database, path: Path, files: Iterable[Path] = ()) -> Backup:
    """Write a backup; the file is there only once it is whole, and only its owner can read it.

    Args:
        database: the store; others may write to it meanwhile.
        path: the file to write.
        files: question sets to take along, by name; what is not named like one is left out.

    Raises:
        InputError: there is such a file already, or it cannot be written.
        PrerequisiteError: the database cannot be used.
    """
    if path.exists():
        raise InputError(f"{path} is there already.", "Choose another name; backups are not overwritten.")
    part = path.with_name(f"{path.name}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            found = _write(database, file, files)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}.", "Choose a folder with room."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return found


def read_manifest(path: Path) -> Backup:
    """Read what a backup says of itself, and check every entry against its hash.

    Raises:
        InputError: it is no backup, of a newer form, damaged or cut off.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read(MANIFEST))
            if not isinstance(data, dict) or data.get("schema") != SCHEMA:
                raise InputError(f"{path} is not a backup of the kind {SCHEMA}.", _HINT)
            found = _parsed(data)
            if set(archive.namelist()) != {MANIFEST, *found.hashes}:
                raise _damaged(path, "its entries are not those that it names")
            for name, wanted in found.hashes.items():
                with archive.open(name) as entry:
                    if _hash(entry) != wanted:
                        raise _damaged(path, f"the hash of {name} does not fit")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", _HINT) from error
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, "it is no backup, or was cut off") from error
    return found


def rows_of(archive: zipfile.ZipFile, table: str) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table as they were written, some at once."""
    rows: list[dict[str, Any]] = []
    with archive.open(entry_of(table)) as entry:
        for line in entry:
            rows.append(json.loads(line))
            if len(rows) == _ROWS_AT_ONCE:
                yield rows
                rows = []
    if rows:
        yield rows


_HINT = "Give a file that `store backup` wrote."


def _write(database: Database, file: BinaryIO, files: Iterable[Path]) -> Backup:
    hashes: dict[str, str] = {}
    counts: dict[str, int] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, database.read() as session:
        connection = session.connection()
        moment, revision = now(), MigrationContext.configure(connection).get_current_revision() or ""
        for table in Base.metadata.sorted_tables:
            if table.name not in LEFT_OUT:
                counts[table.name], hashes[entry_of(table.name)] = _write_table(archive, connection, table)
        taken = sorted(path for path in files if QUESTION_SET.fullmatch(path.name) and path.is_file())
        for path in taken:
            archive.write(path, f"workloads/{path.name}")
            hashes[f"workloads/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        kind, names = database.engine.dialect.name, tuple(path.name for path in taken)
        found = Backup(revision, moment, __version__, kind, counts, names, hashes)
        said = {**found.__dict__, "schema": SCHEMA, "made_at": moment.isoformat()}
        archive.writestr(MANIFEST, json.dumps(said, indent=1))
    return found


def _write_table(archive: zipfile.ZipFile, connection: Connection, table: Table) -> tuple[int, str]:
    """Write a table's rows in the order of their keys; returns how many, and the hash of the entry."""
    found, count = hashlib.sha256(), 0
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=_ROWS_AT_ONCE)
    with archive.open(entry_of(table.name), "w", force_zip64=True) as entry:
        for row in connection.execute(query).mappings():
            line = json.dumps(dict(row), default=_moment, allow_nan=False).encode() + b"\n"
            entry.write(line)
            found.update(line)
            count += 1
    return count, found.hexdigest()


def _hash(entry: IO[bytes]) -> str:
    found = hashlib.sha256()
    while piece := entry.read(_CHUNK):
        found.update(piece)
    return found.hexdigest()


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise PrerequisiteError(f"A value of the type {type(value).__name__} cannot be backed up.", "")


def _parsed(data: Mapping[str, Any]) -> Backup:
    return Backup(
        revision=str(data["revision"]),
        made_at=datetime.fromisoformat(data["made_at"]),
        version=str(data["version"]),
        database=str(data["database"]),
        tables={str(name): int(rows) for name, rows in data["tables"].items()},
        files=tuple(str(name) for name in data["files"]),
        hashes={str(name): str(found) for name, found in data["hashes"].items()},
    )


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"The backup {path} is damaged: {why}.", "Nothing was changed. Take another backup.")
