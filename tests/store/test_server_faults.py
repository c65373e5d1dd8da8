"""What a PostgreSQL server that is down, closed, of the wrong kind or restarted does to the program."""

from __future__ import annotations

from contextlib import closing

import pytest

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import RunSpec
from wfgy_triage.store.runs import RunRepository

pytestmark = pytest.mark.postgres
SPEC = RunSpec("json_breaks", "demo")


def test_a_server_that_is_not_there_is_explained_without_the_password(tmp_path):
    with pytest.raises(PrerequisiteError, match="refused the request") as caught:
        open_database(f"postgresql://user:secret@/triage?host={tmp_path}")
    assert "Check that the server runs" in caught.value.hint
    assert "secret" not in str(caught.value)


def test_a_database_that_is_not_there_is_explained(postgres):
    with pytest.raises(PrerequisiteError, match="does not exist") as caught:
        open_database(postgres.url("nothing_here"))
    assert "createdb" in caught.value.hint


def test_a_user_without_rights_is_explained(postgres):
    name = postgres.new_database(blank=True)
    postgres.execute("CREATE ROLE guest LOGIN")
    with pytest.raises(PrerequisiteError, match="permission denied") as caught:
        open_database(postgres.url(name).replace("//triage@", "//guest@"))
    assert "right to create tables" in caught.value.hint
    postgres.execute("DROP ROLE guest")
    postgres.drop(name)


def test_a_database_that_holds_one_alphabet_only_is_refused(postgres):
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(PrerequisiteError, match="LATIN1") as caught:
        open_database(postgres.url("latin"))
    assert "UTF8" in caught.value.hint
    postgres.drop("latin")


def test_connections_that_the_server_cut_are_made_anew(postgres):
    name = postgres.new_database()
    with closing(open_database(postgres.url(name))) as database:
        runs = RunRepository(database)
        run = runs.create(SPEC)
        mine = "usename = 'triage' AND pid <> pg_backend_pid()"
        cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"  # noqa: S608
        postgres.execute(cut)
        assert runs.get(run.id) == run
        postgres.execute(cut)
        assert runs.lease("w.1", 60) is not None
    postgres.drop(name)
