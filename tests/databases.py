"""The databases that the store is tested on: SQLite files, and a PostgreSQL server that the tests start themselves.

One server a test session, in a temporary folder, on a Unix socket, never as root; one database a test, copied from a
template whose tables are there already.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tools.ensure_postgres import HINT, find_postgres
from wfgy_triage.store.database import Database, open_database

KINDS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.postgres))
_USER = "triage"
_TEMPLATE = "triage_template"
_QUICK = [
    f"--{setting}"
    for setting in ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=")
]
# The server ends when the tests do, however they end: then this shell's input is at its end.
_KEEPER = '"$@" & read _; kill -QUIT $!; wait'


class PostgresServer:
    """A server of its own; `url(name)` is the address of a database on it."""

    def __init__(self) -> None:
        programs = find_postgres()
        if programs is None:
            pytest.fail(HINT, pytrace=False)
        self._programs: Path = programs
        self._numbers = itertools.count(1)
        # Directly under /tmp: the path of a socket may have 107 characters only.
        self.folder = Path(tempfile.mkdtemp(prefix="triage-pg-", dir="/tmp"))  # noqa: S108
        self._owner = self._somebody()
        self._run("initdb", "-D", str(self.data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync", "-N")
        self.start()
        self.execute(f"CREATE DATABASE {_TEMPLATE}")
        open_database(self.url(_TEMPLATE)).close()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def _somebody(self) -> str | None:
        """PostgreSQL refuses to run as root: another user then, who owns the folder."""
        self.folder.chmod(0o755)
        if os.geteuid() != 0:
            return None
        names = {entry.pw_name for entry in pwd.getpwall()}
        owner = "postgres" if "postgres" in names else "nobody"
        shutil.chown(self.folder, owner)
        return owner

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        log = self.folder / "programs.log"
        with log.open("ab") as output:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                check=False,
                cwd=self.folder,
                **self._as_owner(),
            )
        assert done.returncode == 0, f"{program} failed:\n{log.read_text()[-3000:]}"

    def start(self) -> None:
        options = [*_QUICK, "-c", f"unix_socket_directories={self.folder}", "-D", str(self.data)]
        with (self.folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", _KEEPER, "sh", str(self._programs / "postgres"), *options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._as_owner(),
            )
        while not self._is_up():
            assert self._keeper.poll() is None, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)

    def stop(self) -> None:
        self._keeper.stdin.close()
        self._keeper.wait(60)

    def _is_up(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _as_owner(self) -> dict[str, Any]:
        whose = {"user": self._owner, "extra_groups": []} if self._owner else {}
        return {**whose, "env": {**os.environ, "LC_ALL": "C.UTF-8"}}

    def url(self, name: str) -> str:
        return f"postgresql://{_USER}@/{name}?host={self.folder}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(host=str(self.folder), user=_USER, dbname="postgres", autocommit=True) as server:
            server.execute(statement)

    def new_database(self, *, blank: bool = False) -> str:
        """Make a database and return its name; with the tables unless `blank`."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {'template0' if blank else _TEMPLATE}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture(params=KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Every test that asks for a database runs once on each kind."""
    return request.param


@pytest.fixture
def make_url(
    request: pytest.FixtureRequest, database_kind: str, tmp_path: Path
) -> Iterator[Callable[..., str]]:
    """Gives addresses of new databases of the kind; `blank=True`: without tables."""
    numbers, made = itertools.count(1), []

    def make(*, blank: bool = False) -> str:
        if database_kind == "sqlite":
            number = next(numbers)
            return f"sqlite:///{tmp_path / ('triage.db' if number == 1 else f'triage-{number}.db')}"
        server = request.getfixturevalue("postgres")
        made.append(server.new_database(blank=blank))
        return server.url(made[-1])

    yield make
    for name in made:
        request.getfixturevalue("postgres").drop(name)


@pytest.fixture
def url(make_url: Callable[..., str]) -> str:
    return make_url()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = open_database(url)
    yield opened
    opened.close()
