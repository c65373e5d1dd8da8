"""Opening, migrating and breaking the session database."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tests.rights import ordinary_user
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.store import problems
from wfgy_triage.store.database import open_database
from wfgy_triage.store.models import EventRow, WorkerRow
from wfgy_triage.store.records import RunSpec, Sample, SampleKey
from wfgy_triage.store.runs import RunRepository


def url_of(path):
    return f"sqlite:///{path}"


@contextmanager
def opened(path):
    database = open_database(url_of(path))
    try:
        yield database
    finally:
        database.close()


@pytest.fixture
def open_folder():
    """A folder that an ordinary user could reach (pytest's own belong to one user)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


def test_a_blank_start_makes_the_folder_too(tmp_path):
    path = tmp_path / "new" / "folder" / "triage.db"
    with opened(path):
        assert path.is_file()


def test_opening_again_changes_nothing(url):
    with closing(open_database(url)) as database:
        run = RunRepository(database).create(RunSpec("json_breaks", "demo"))
    with closing(open_database(url)) as database:
        assert RunRepository(database).get(run.id) == run


def test_sqlite_is_set_up_for_several_processes(tmp_path):
    with opened(tmp_path / "triage.db") as database, database.read() as session:
        values = {
            name: session.execute(sa.text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert values == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 30000}


def test_processes_that_start_together_on_a_blank_database_all_succeed(make_url):
    url = make_url(blank=True)
    code = (
        "import sys; from wfgy_triage.store.database import open_database; "
        "from wfgy_triage.store.runs import RunRepository; from wfgy_triage.store.records import RunSpec; "
        "sys.stdin.read(1); d = open_database(sys.argv[1]); RunRepository(d).create(RunSpec('s', 'p'))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", code, url],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        for _ in range(4)
    ]
    failures = [process.communicate(b"x")[1].decode() for process in starters]
    assert failures == [""] * 4
    with closing(open_database(url)) as database:
        assert RunRepository(database).count() == 4


def test_a_file_that_is_no_database_is_explained_and_kept(tmp_path):
    path = tmp_path / "triage.db"
    path.write_bytes(b"this is a text file, not a database " * 100)
    before = path.read_bytes()
    with pytest.raises(PrerequisiteError, match="damaged or is not a database") as caught:
        open_database(url_of(path))
    assert f'mv "{path}"' in caught.value.hint
    assert path.read_bytes() == before


def test_damage_inside_the_file_is_explained_when_it_is_met(tmp_path):
    path = tmp_path / "triage.db"
    with opened(path) as database:
        repo = RunRepository(database)
        run = repo.create(RunSpec("json_breaks", "demo"))
        repo.add_samples(
            run.id, [Sample(SampleKey("p", f"q{i}", 0, 0, "fp16"), {"text": "x" * 3000}) for i in range(50)]
        )
    with path.open("r+b") as file:  # everything after the schema page becomes noise
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    size = path.stat().st_size
    with (
        pytest.raises(PrerequisiteError, match="damaged or is not a database"),
        opened(path) as database,
    ):
        RunRepository(database).samples(run.id)
    assert path.stat().st_size == size


def test_a_database_of_a_newer_version_is_left_alone(url):
    with closing(open_database(url)) as database, database.write() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(PrerequisiteError, match="newer version"):
        open_database(url)


def test_a_foreign_database_is_not_mixed_with_ours(make_url):
    url = make_url(blank=True)
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE runs (name TEXT)"))
    with pytest.raises(PrerequisiteError, match="already exists") as caught:
        open_database(url)
    assert "another place" in caught.value.hint
    tables = sa.inspect(engine).get_table_names()
    assert tables == ["runs"], "a migration that fails leaves nothing behind"
    engine.dispose()


def test_a_folder_without_write_access_is_explained(open_folder):
    open_folder.chmod(0o555)
    with ordinary_user(), pytest.raises(PrerequisiteError, match="cannot be opened for writing") as caught:
        open_database(url_of(open_folder / "triage.db"))
    assert "WFGY_TRIAGE_HOME" in caught.value.hint


def test_a_file_that_became_read_only_is_explained(open_folder):
    path = open_folder / "triage.db"
    open_database(url_of(path)).close()
    path.chmod(0o444)
    with ordinary_user(), pytest.raises(PrerequisiteError, match="cannot be opened for writing"):
        open_database(url_of(path))


def test_a_file_in_the_place_of_the_folder_is_explained(tmp_path):
    (tmp_path / "home").touch()
    with pytest.raises(PrerequisiteError, match="cannot be opened for writing"):
        open_database(url_of(tmp_path / "home" / "triage.db"))


def test_a_full_disk_is_explained_and_keeps_what_was_stored(tmp_path):
    with opened(tmp_path / "triage.db") as database:
        repo = RunRepository(database)
        run = repo.create(RunSpec("json_breaks", "demo"))
        first = Sample(SampleKey("p", "q0", 0, 0, "fp16"), {"text": "kept"})
        repo.add_samples(run.id, [first])
        database.engine.dispose()
        sa.event.listen(database.engine, "connect", lambda c, _: c.execute("PRAGMA max_page_count = 30"))
        big = [Sample(SampleKey("p", f"big{i}", 0, 0, "fp16"), {"text": "x" * 20_000}) for i in range(50)]
        with pytest.raises(PrerequisiteError, match="is full") as caught:
            repo.add_samples(run.id, big)
        assert "kept" in caught.value.hint
        assert repo.samples(run.id) == (first,)


def test_a_failed_write_leaves_no_half(database):
    rows = [WorkerRow(id="w", seen_at=datetime.now(UTC)), WorkerRow(id="w2", seen_at=None)]
    with pytest.raises(IntegrityError), database.write() as session:
        session.add_all(rows)
    with database.read() as session:
        assert session.get(WorkerRow, "w") is None


def test_events_need_a_run(database):
    row = EventRow(run_id="nobody", seq=1, at=datetime.now(UTC), kind="note", payload={})
    with pytest.raises(IntegrityError, match="(?i)foreign key"), database.write() as session:
        session.add(row)


def test_moments_keep_their_instant_whatever_the_zone(database):
    moment = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with database.write() as session:
        session.add(WorkerRow(id="w", seen_at=moment, pair_id=None))
    with database.read() as session:
        back = session.get(WorkerRow, "w").seen_at
    assert back == moment
    assert back.utcoffset() == timedelta(0)


def test_an_error_holds_no_text_of_users(database):
    def store():
        with database.write() as session:
            session.add(WorkerRow(id="w", seen_at=datetime.now(UTC), pair_id="what a user wrote"))

    store()
    with pytest.raises(IntegrityError) as caught:
        store()
    assert "what a user wrote" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("not a url", "cannot be read"),
        ("mysql://u:secret@host/db", "not supported"),
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
    ],
)
def test_wrong_urls_are_refused(url, message):
    with pytest.raises(InputError, match=message) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_a_lock_held_by_another_program_is_explained(tmp_path):
    path = str(tmp_path / "x.db")
    with (
        closing(sqlite3.connect(path, timeout=0)) as one,
        closing(sqlite3.connect(path, timeout=0)) as two,
    ):
        one.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            two.execute("BEGIN IMMEDIATE")
    assert "locked for too long" in problems.explain_sqlite(caught.value, path).message


def test_a_server_error_names_the_server_without_its_password():
    url = sa.make_url("postgresql+psycopg://user:secret@db.example/triage")
    error = sa.exc.OperationalError("SELECT 1", {}, OSError("connection refused\nmore"))
    explained = problems.explain(error, url)
    assert "db.example" in explained.message
    assert "connection refused" in explained.message
    assert "secret" not in str(explained)
