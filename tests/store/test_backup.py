"""Backup and restore: from either database into either, whole or not at all, while others write."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import zipfile
from contextlib import closing

import pytest
import sqlalchemy as sa
from alembic import command

from tests.store.test_migrations import FIRST_ROWS, REVISIONS, migrate
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.store.backup import LEFT_OUT, MANIFEST, read_manifest, write_backup
from wfgy_triage.store.database import open_database
from wfgy_triage.store.descriptions import described
from wfgy_triage.store.models import Base, SampleRow
from wfgy_triage.store.records import RunSpec, RunStatus, Sample, SampleKey
from wfgy_triage.store.restore import restore
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.store.shares import ShareRepository
from wfgy_triage.store.workers import WorkerRepository

TEXTS = ("日本語 🎉", "nul \x00", "lone \ud800", "'; DROP TABLE runs; --", "")


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home" / "workloads"
    folder.mkdir(parents=True)
    (folder / f"{'a' * 64}.json").write_text('{"kind": "records"}')
    return tmp_path / "home"


@pytest.fixture
def token(database):
    """Fill the store with everything it can hold; the token of a link."""
    repo = RunRepository(database)
    for number, text in enumerate(TEXTS):
        run = repo.create(RunSpec("json_breaks", "demo", seed=number, options={"x": text}), worker_id="w.1")
        repo.add_samples(
            run.id, [Sample(SampleKey("p", f"q{i}", 0, i, "fp16"), {"t": text, "n": i / 3}) for i in range(3)]
        )
        repo.describe(run.id, described("A name", "line\nline", "prod keep"))
        repo.finish(run.id, "w.1", RunStatus.DONE, {"state": "PASS", "none": None, "texts": [text]})
    repo.create(RunSpec("json_breaks", "demo"), start_key="key")
    WorkerRepository(database).beat("w.1", "demo")
    return ShareRepository(database).create(run.id, 7, redacted=True)[1]


def everything(database):
    """All rows of all tables, as Python values."""
    with database.read() as session:
        return {
            table.name: [
                tuple(row) for row in session.execute(sa.select(table).order_by(*table.primary_key.columns))
            ]
            for table in Base.metadata.sorted_tables
            if table.name not in LEFT_OUT
        }


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def other(request, tmp_path):
    """An empty database of either kind to restore into."""
    if request.param == "sqlite":
        with closing(open_database(f"sqlite:///{tmp_path / 'other.db'}")) as database:
            yield database
        return
    server = request.getfixturevalue("postgres")
    name = server.new_database()
    with closing(open_database(server.url(name))) as database:
        yield database
    server.drop(name)


def test_a_backup_of_either_goes_into_either_with_every_value(database, token, other, home, tmp_path):
    file = tmp_path / "b.zip"
    made = write_backup(database, file, (home / "workloads").iterdir())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made.tables["runs"] == len(TEXTS) + 1
    assert read_manifest(file) == made
    away = tmp_path / "away"
    assert restore(other, file, away) == made
    assert everything(other) == everything(database)
    assert (away / "workloads" / f"{'a' * 64}.json").read_text() == '{"kind": "records"}'
    # It is alive: links open, rows get new numbers, the queue goes on.
    assert ShareRepository(other).find(token).redacted
    repo = RunRepository(other)
    queued = repo.lease("w.9", 60)
    assert queued is not None
    assert repo.add_samples(queued.id, [Sample(SampleKey("p", "new", 0, 0, "fp16"), {})], "w.9") == 1
    with other.read() as session:
        assert session.scalar(sa.select(sa.func.max(SampleRow.id))) == len(TEXTS) * 3 + 1


def test_a_database_with_sessions_is_replaced_only_when_asked(database, token, other, tmp_path):
    write_backup(database, tmp_path / "b.zip")
    RunRepository(other).create(RunSpec("long_chain", "other"))
    before = everything(other)
    with pytest.raises(InputError, match="holds 1 sessions") as caught:
        restore(other, tmp_path / "b.zip", tmp_path)
    assert "--replace" in caught.value.hint
    assert everything(other) == before
    restore(other, tmp_path / "b.zip", tmp_path, replace=True)
    assert everything(other) == everything(database)


def test_a_backup_shows_one_moment_while_others_write(database, tmp_path):
    repo, stop = RunRepository(database), threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            run = repo.create(RunSpec("json_breaks", "demo", seed=number), worker_id="w.1")
            repo.add_samples(run.id, [Sample(SampleKey("p", "q", 0, 0, "fp16"), {"n": number})])
            repo.finish(run.id, "w.1", RunStatus.DONE, {"state": "PASS"})
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            write_backup(database, tmp_path / f"{number}.zip")
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        with zipfile.ZipFile(tmp_path / f"{number}.zip") as archive:
            found = {
                table: [json.loads(line) for line in archive.open(f"tables/{table}.jsonl")]
                for table in ("runs", "events", "samples")
            }
        runs = {row["id"]: row for row in found["runs"]}
        assert {row["run_id"] for row in found["samples"]} <= set(runs)
        # A run is done exactly where the line of its log that says so is there too.
        ended = {e["run_id"] for e in found["events"] if e["payload"].get("status") == "done"}
        assert ended == {i for i, row in runs.items() if row["status"] == "done"}


@pytest.mark.parametrize("revision", [REVISIONS[0], REVISIONS[3]])
def test_a_backup_of_an_older_version_comes_up_to_date(make_url, other, tmp_path, revision):
    url = make_url(blank=True)
    migrate(url, command.upgrade, "0001", *FIRST_ROWS)
    with closing(open_database(url)) as database:
        write_backup(database, tmp_path / "new.zip")
    as_of_revision(tmp_path / "new.zip", tmp_path / "old.zip", revision)
    restore(other, tmp_path / "old.zip", tmp_path)
    repo = RunRepository(other)
    assert repo.get("r1").result == {"state": "PASS"}
    assert [s.payload for s in repo.samples("r1")] == [{"text": "kept \x00"}]
    with other.read() as session:
        assert session.scalar(sa.text("SELECT version_num FROM alembic_version")) == REVISIONS[-1]


def as_of_revision(source, target, revision):
    """Write a backup as an older version would have: without the tables and columns that came later."""
    migrate(f"sqlite:///{target}.db", command.upgrade, revision)
    engine = sa.create_engine(f"sqlite:///{target}.db")
    inspector = sa.inspect(engine)
    columns = {t: {c["name"] for c in inspector.get_columns(t)} for t in inspector.get_table_names()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        said = json.loads(old.read(MANIFEST))
        said["tables"] = {t: n for t, n in said["tables"].items() if t in columns}
        said["hashes"], said["revision"] = {}, revision
        for table in said["tables"]:
            name = f"tables/{table}.jsonl"
            rows = [json.loads(line) for line in old.open(name)]
            text = "".join(
                json.dumps({k: v for k, v in row.items() if k in columns[table]}) + "\n" for row in rows
            )
            new.writestr(name, text)
            said["hashes"][name] = hashlib.sha256(text.encode()).hexdigest()
        new.writestr(MANIFEST, json.dumps(said))
    engine.dispose()


def rewritten(source, target, change):
    """Copy a backup with its manifest changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == MANIFEST:
                said = json.loads(data)
                change(said)
                data = json.dumps(said).encode()
            new.writestr(name, data)
    return target


def test_what_is_damaged_newer_or_no_backup_is_refused_and_changes_nothing(database, token, tmp_path):
    good = tmp_path / "good.zip"
    write_backup(database, good)
    whole = good.read_bytes()
    before = everything(database)
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.zip").write_text("no backup")
    middle = whole.index(b"tables/samples.jsonl") + 80
    (tmp_path / "bit.zip").write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    cases = {
        "cut.zip": "damaged",
        "text.zip": "damaged",
        "bit.zip": "damaged",
        "absent.zip": "cannot be read",
        rewritten(good, tmp_path / "schema.zip", lambda m: m.update(schema="x")).name: "not a backup",
        rewritten(good, tmp_path / "newer.zip", lambda m: m.update(revision="9999")).name: "newer version",
        rewritten(good, tmp_path / "count.zip", lambda m: m["tables"].update(runs=99)).name: "damaged",
        rewritten(good, tmp_path / "more.zip", lambda m: m["hashes"].update(other="0")).name: "damaged",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message):
            restore_idle(database, tmp_path / name, tmp_path)
        assert everything(database) == before, name


def restore_idle(database, file, home):
    WorkerRepository(database).remove("w.1")
    return restore(database, file, home, replace=True)


def test_what_lies_beside_question_sets_is_not_taken_along(database, home, tmp_path):
    folder = home / "workloads"
    for name in (".DS_Store", f"{'a' * 64}.json~", "half.part"):
        (folder / name).write_text("x")
    (folder / "old").mkdir()
    (folder / f"{'b' * 64}.json").mkdir()
    written = write_backup(database, tmp_path / "b.zip", folder.glob("*"))
    assert written.files == (f"{'a' * 64}.json",)
    restore(database, tmp_path / "b.zip", tmp_path / "away")
    assert os.listdir(tmp_path / "away" / "workloads") == [f"{'a' * 64}.json"]


@pytest.mark.parametrize("foreign", [".DS_Store", "../escaped.json", f"../{'b' * 64}.json"])
def test_foreign_files_of_an_earlier_backup_are_passed_over_and_lead_nowhere(
    database, home, tmp_path, foreign
):
    write_backup(database, tmp_path / "b.zip", (home / "workloads").glob("*"))
    file = with_file(tmp_path / "b.zip", tmp_path / "old.zip", foreign)
    away = tmp_path / "away"
    restore(database, file, away)
    assert [p.relative_to(away).as_posix() for p in away.rglob("*")] == [
        "workloads",
        f"workloads/{'a' * 64}.json",
    ]


def with_file(source, target, name):
    """Copy a backup with one more file in it, as earlier versions took along whatever they found."""

    def add(said):
        said["files"] = [*said["files"], name]
        said["hashes"][f"workloads/{name}"] = hashlib.sha256(b"x").hexdigest()

    rewritten(source, target, add)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(f"workloads/{name}", b"x")
    return target


def test_a_database_that_the_app_works_on_is_left_alone(database, tmp_path):
    write_backup(database, tmp_path / "b.zip")
    WorkerRepository(database).beat("w.1")
    with pytest.raises(PrerequisiteError, match="app works on this database"):
        restore(database, tmp_path / "b.zip", tmp_path)
    WorkerRepository(database).remove("w.1")
    RunRepository(database).create(RunSpec("json_breaks", "demo"), worker_id="cli.1")
    with pytest.raises(PrerequisiteError, match="app works on this database"):
        restore(database, tmp_path / "b.zip", tmp_path, replace=True)


def test_a_file_that_is_there_is_never_overwritten_and_a_bad_place_is_said(database, tmp_path):
    (tmp_path / "b.zip").write_text("precious")
    with pytest.raises(InputError, match="is there already"):
        write_backup(database, tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_text() == "precious"
    with pytest.raises(InputError, match="cannot be written"):
        write_backup(database, tmp_path / "no folder" / "b.zip")
    assert os.listdir(tmp_path / "..") == os.listdir(tmp_path.parent)


@pytest.mark.postgres
def test_a_value_that_postgresql_has_no_room_for_is_named(postgres, tmp_path):
    with closing(open_database(f"sqlite:///{tmp_path / 'long.db'}")) as database:
        repo = RunRepository(database)
        run = repo.create(RunSpec("json_breaks", "demo"))
        repo.add_samples(run.id, [Sample(SampleKey("p", "q" * 300, 0, 0, "fp16"), {})])
        write_backup(database, tmp_path / "b.zip")
    name = postgres.new_database()
    with closing(open_database(postgres.url(name))) as target:
        with pytest.raises(InputError, match=r"samples\.question has 300 characters"):
            restore(target, tmp_path / "b.zip", tmp_path)
        assert RunRepository(target).count() == 0
    postgres.drop(name)
