"""The connection to the session database: opening, migrating, short read and write transactions.

SQLite (the default) and PostgreSQL. Everything that is particular to one of them is in this file and in
`sqlite_files.py`; the repositories above use portable SQLAlchemy only.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from filelock import FileLock, Timeout
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.orm import Session, sessionmaker

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.store import (
    guard_rows,  # noqa: F401 - its tables belong to the database as well
    problems,
    sqlite_files,
)
from wfgy_triage.store.event_log import tell
from wfgy_triage.store.models import Base

BUSY_TIMEOUT_S = 30.0
"""How long a SQLite statement waits for another process's short transaction."""

CONNECT_TIMEOUT_S = 10
"""How long an attempt to reach a PostgreSQL server may take."""

_OPEN_TIMEOUT_S = 120.0
_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK_KEY = 0x57464759


class Database:
    """Hands out sessions. Thread-safe; one per process and database.

    Attributes:
        engine: the SQLAlchemy engine underneath (for migrations and diagnostics).
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        # One writer at a time in this process: threads queue here fairly instead of polling SQLite's lock.
        self._write_lock = threading.Lock()
        # SQLite's readers see one moment by themselves; PostgreSQL's only when they say so.
        snapshot = (
            {} if self._is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        )
        self._reader = sessionmaker(engine.execution_options(**snapshot), expire_on_commit=False)
        self._writer = sessionmaker(
            engine.execution_options(**{sqlite_files.WRITE: True}), expire_on_commit=False
        )

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read-only view of one moment.

        Raises:
            PrerequisiteError: when the database is damaged or out of reach.
        """
        with self._explained(), self._reader() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A write transaction: committed when the block ends, rolled back when it raises.

        Raises:
            PrerequisiteError: when the disk is full, the file read-only or damaged, or locked for too long.
        """
        with (
            self._explained(),
            self._write_lock if self._is_sqlite else nullcontext(),
            self._writer.begin() as session,
        ):
            yield session
        tell(session)

    @contextmanager
    def rebuild(self) -> Iterator[Session]:
        """A write transaction that may make tables anew; nothing that refers to them goes with the old ones.

        Raises:
            PrerequisiteError: as for `write`; or what was made does not fit together (nothing is changed then).
        """
        options = {sqlite_files.WRITE: True, sqlite_files.REBUILD: True}
        with (
            self._explained(),
            self._write_lock if self._is_sqlite else nullcontext(),
            sessionmaker(self.engine.execution_options(**options)).begin() as session,
        ):
            yield session
            if self._is_sqlite and session.execute(sa.text("PRAGMA foreign_key_check")).first() is not None:
                raise PrerequisiteError(
                    "Rows of the session database refer to sessions that are not there; nothing was changed.",
                    "Restore a backup, or report this with the version you came from.",
                )

    def take_turns(self, session: Session, what: str) -> None:
        """Let nobody else who takes turns at `what` go on until this transaction ends (SQLite's writers do anyway)."""
        if not self._is_sqlite:
            session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"wfgy-triage {what}"))))

    def pairs_of(self, column: Any) -> sa.TableValuedAlias:
        """The keys and values of a JSON object column as rows with the columns `key` and `value`."""
        unpack = sa.func.json_each if self._is_sqlite else sa.func.json_each_text
        return unpack(column).table_valued("key", "value")

    def upsert(self, row: type[Base]) -> sa.Insert:
        """An INSERT that overwrites the rows whose primary key is there already."""
        insert = sqlite.insert(row) if self._is_sqlite else postgresql.insert(row)
        columns = row.__table__.columns
        return insert.on_conflict_do_update(
            index_elements=[c.name for c in columns if c.primary_key],
            set_={c.name: insert.excluded[c.name] for c in columns if not c.primary_key},
        )

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise  # a broken rule of the tables is a fault of this program, not of the database
        except DBAPIError as error:
            raise problems.explain(error, self.engine.url) from error


def open_database(url: str) -> Database:
    """Open the database, create it where it is missing, and bring its tables up to date.

    Safe to call from several processes at once.

    Args:
        url: SQLAlchemy URL, `sqlite:///path/to/file` or `postgresql://user:password@host/name`.

    Raises:
        InputError: the URL is malformed or names another kind of database.
        PrerequisiteError: damaged, read-only, unreachable, or written by a newer version of this program.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    return _open_server(parsed)


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        raise InputError(
            "The database URL cannot be read.",
            "Set DATABASE_URL to sqlite:////folder/triage.db or postgresql://user:password@host/name.",
        ) from error
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise InputError(
            f"Databases of the kind {backend!r} are not supported.", "Use sqlite:///… or postgresql://…"
        )
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise InputError(
            "The session database cannot live in memory: the worker process would not see it.",
            "Name a file, for example sqlite:////var/lib/wfgy-triage/triage.db.",
        )
    return parsed


def _create_engine(url: sa.URL, **options: Any) -> sa.Engine:
    try:
        # Strict JSON: NaN must never pass for a number. ASCII escapes keep any text a model writes storable.
        # Parameters hold users' texts; errors are logged, so they are left out of them.
        strict = partial(json.dumps, allow_nan=False)
        return sa.create_engine(url, json_serializer=strict, hide_parameters=True, **options)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise PrerequisiteError(
            f"The driver for {url.drivername!r} databases is not installed.",
            "For PostgreSQL: pip install 'psycopg[binary]'.",
        ) from error


def _open_server(url: sa.URL) -> Database:
    # A connection is tried before it is used: a server that was restarted in between costs nobody an error.
    patience = {"connect_timeout": CONNECT_TIMEOUT_S}
    database = Database(_create_engine(url, pool_pre_ping=True, connect_args=patience))
    try:
        with database.read() as session:
            encoding = session.scalar(sa.text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise PrerequisiteError(
                f"The PostgreSQL database stores text as {encoding}; only UTF8 holds what models write.",
                "Make one with: createdb --encoding=UTF8 --template=template0 NAME",
            )
        _migrate(database)
    except PrerequisiteError:
        database.close()
        raise
    return database


def _open_sqlite(url: sa.URL) -> Database:
    path = Path(str(url.database)).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Switching to WAL and the first migration want the file for themselves; SQLite's own waiting does not
        # cover the switch, so processes that start together take turns here.
        with FileLock(f"{path}.lock", timeout=_OPEN_TIMEOUT_S):
            return _prepare_sqlite(url.set(database=str(path)))
    except Timeout as error:
        raise PrerequisiteError(
            f"Another process has been opening the session database {path} for too long.",
            "Stop it, then try again.",
        ) from error
    except OSError as error:
        raise problems.not_writable(str(path)) from error


def _prepare_sqlite(url: sa.URL) -> Database:
    sqlite_files.switch_to_wal(str(url.database), BUSY_TIMEOUT_S)
    engine = _create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    sa.event.listen(engine, "connect", sqlite_files.on_connect)
    sa.event.listen(engine, "begin", sqlite_files.on_begin)
    database = Database(engine)
    try:
        _migrate(database)
    except PrerequisiteError:
        database.close()
        raise
    return database


def migrations() -> Config:
    """Where Alembic finds the revisions; the connection is added by whoever runs them."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _migrate(database: Database) -> None:
    config = migrations()
    with database.rebuild() as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK_KEY)))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise PrerequisiteError(
                "The session database was written by a newer version of this program.",
                "Update the program, or set DATABASE_URL or WFGY_TRIAGE_HOME to another place.",
            ) from error
