"""Old databases come up to date with what they hold, and go back; the tables are those of the models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from wfgy_triage.store import database as database_module
from wfgy_triage.store import sqlite_files
from wfgy_triage.store.answers import AnswerCache
from wfgy_triage.store.database import Database, open_database
from wfgy_triage.store.models import Base, WorkerRow
from wfgy_triage.store.records import RunStatus, Sample, SampleKey
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.store.shares import ShareRepository

MOMENT = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FIRST_ROWS = (
    "INSERT INTO runs (id, symptom, pair_id, questions, seed, workload_id, options, status, state, created_at, "
    "cancel_requested, barren_leases, timings, error_message, error_hint, result) VALUES ('r1', 'json_breaks', "
    "'demo', 2, 0, 'builtin', '{\"fix\": \"no\"}', 'done', 'PASS', :at, false, 0, '{\"total\": 3.5}', '', '', "
    '\'{"state": "PASS"}\')',
    "INSERT INTO samples (run_id, probe, question, paraphrase, seed, side, payload) "
    "VALUES ('r1', 'json_breaks', 'q', 0, 0, 'fp16', '{\"text\": \"kept \\u0000\"}')",
    "INSERT INTO events (run_id, seq, at, kind, payload) VALUES ('r1', 1, :at, 'status', '{\"status\": \"done\"}')",
    "INSERT INTO workers VALUES ('w', :at, NULL)",
)


def script() -> Config:
    config = Config()
    config.set_main_option("script_location", str(database_module._MIGRATIONS))
    return config


REVISIONS = [r.revision for r in ScriptDirectory.from_config(script()).walk_revisions()][::-1]


def migrate(url: str, move: Callable[[Config, str], None], revision: str, *statements: str) -> None:
    """Bring a database to a revision and run statements there, in one transaction."""
    engine, config = sa.create_engine(database_module._parse(url)), script()
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", sqlite_files.on_connect)
        sa.event.listen(engine, "begin", sqlite_files.on_begin)
    at = MOMENT.replace(tzinfo=None).isoformat(" ") + ("" if engine.dialect.name == "sqlite" else "+00")
    with Database(engine).rebuild() as session:
        connection = config.attributes["connection"] = session.connection()
        move(config, revision)
        for statement in statements:
            text = sa.text(statement)
            connection.execute(text, {"at": at} if "at" in text._bindparams else {})
    engine.dispose()


def test_the_revisions_are_one_line_without_forks():
    assert [f"{n:04d}" for n in range(1, len(REVISIONS) + 1)] == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_older_version_comes_up_to_date_with_what_it_holds(make_url, revision):
    url = make_url(blank=True)
    migrate(url, command.upgrade, "0001", *FIRST_ROWS)
    migrate(url, command.upgrade, revision)
    database = open_database(url)
    runs = RunRepository(database)
    run = runs.get("r1")
    assert (run.spec.symptom, run.status, run.state) == ("json_breaks", RunStatus.DONE, "PASS")
    assert (run.spec.options, run.timings, run.result) == ({"fix": "no"}, {"total": 3.5}, {"state": "PASS"})
    assert (run.created_at, run.cancel_requested) == (MOMENT, False)
    assert (run.title, run.note, run.tags) == ("", "", ())
    assert runs.samples("r1") == (Sample(SampleKey("json_breaks", "q", 0, 0, "fp16"), {"text": "kept \x00"}),)
    assert [e.at for e in runs.events("r1")] == [MOMENT]
    with database.read() as session:
        assert session.get(WorkerRow, "w").seen_at == MOMENT
        assert session.scalar(sa.text("SELECT version_num FROM alembic_version")) == REVISIONS[-1]
    # What later versions brought works on the old session.
    share, token = ShareRepository(database).create("r1", 7)
    assert ShareRepository(database).find(token) == share
    long_side = "try:" + "x" * 40
    assert runs.add_samples("r1", [Sample(SampleKey("json_breaks", "q", 0, 0, long_side), {"n": 1})]) == 1
    AnswerCache(database).put_many({"k": {"n": 1}})
    assert AnswerCache(database).get_many({"k"}) == {"k": {"n": 1}}
    database.close()


def test_going_back_to_the_first_version_keeps_what_that_one_knew(make_url):
    url = make_url(blank=True)
    migrate(url, command.upgrade, "0001", *FIRST_ROWS)
    open_database(url).close()
    migrate(url, command.downgrade, "0001")
    engine = sa.create_engine(database_module._parse(url))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT id, symptom FROM runs")).all() == [("r1", "json_breaks")]
        assert connection.execute(sa.text("SELECT count(*) FROM samples")).scalar() == 1
        assert set(sa.inspect(connection).get_table_names()) == {
            "alembic_version",
            "events",
            "runs",
            "samples",
            "workers",
        }
    engine.dispose()


def test_a_blank_start_makes_exactly_the_tables_of_the_models(make_url):
    opened = open_database(make_url(blank=True))
    with opened.engine.connect() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        assert tables == {"alembic_version", *Base.metadata.tables}
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    opened.close()
