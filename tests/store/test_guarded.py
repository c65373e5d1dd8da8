"""The store refuses by itself what somebody may not do, and writes down what they did in the same transaction."""

from __future__ import annotations

import inspect
import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa
from alembic import command

from tests.people import ADMIN, MAKER, READER, TEAM, VIEWER
from tests.store.test_migrations import migrate
from wfgy_triage.access import LOCAL, NOBODY, Actor, Role
from wfgy_triage.errors import AccessDenied, InputError
from wfgy_triage.store import audit as audit_module
from wfgy_triage.store.audit import AuditRepository
from wfgy_triage.store.database import Database, open_database
from wfgy_triage.store.descriptions import described
from wfgy_triage.store.guarded import GuardedComments, GuardedRuns, GuardedShares
from wfgy_triage.store.leases import LeaseRepository
from wfgy_triage.store.models import CommentRow, EventRow, SampleRow, ShareRow
from wfgy_triage.store.records import RunSpec, RunStatus, Sample, SampleKey
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.store.shares import ShareRepository

SPEC = RunSpec("json_breaks", "demo")
SAMPLE = Sample(SampleKey("p", "q", 0, 0, "fp16"), {"text": "an answer"})
WORKERS_OWN = {"add_event", "add_samples", "cancel_requested", "done_keys", "events", "last_event"}


@pytest.fixture
def database(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'triage.db'}")
    yield database
    database.close()


@pytest.fixture
def makers(database: Database) -> str:
    return GuardedRuns(database, MAKER).create(SPEC).id


def ended(database: Database, run_id: str) -> str:
    runs = RunRepository(database)
    assert runs.lease("lane.1", 60).id == run_id
    runs.add_samples(run_id, [SAMPLE], "lane.1")
    assert runs.finish(run_id, "lane.1", RunStatus.FAILED)
    return run_id


def trail(database: Database) -> list[tuple[str, str, str]]:
    return [(e.who, e.action, e.target) for e in reversed(AuditRepository(database).last(100))]


def everything(database: Database) -> str:
    tables = ("runs", "events", "samples", "shares", "audit")
    with database.read() as session:
        return repr([session.execute(sa.text(f"SELECT * FROM {t} ORDER BY 1, 2")).all() for t in tables])  # noqa: S608


WRITES = {
    "describe": lambda db, actor, run, link: GuardedRuns(db, actor).describe(run, described("x", "", "")),
    "cancel": lambda db, actor, run, link: GuardedRuns(db, actor).request_cancel(run),
    "resume": lambda db, actor, run, link: GuardedRuns(db, actor).requeue(run),
    "delete": lambda db, actor, run, link: GuardedRuns(db, actor).delete(run),
    "share": lambda db, actor, run, link: GuardedShares(db, actor).create(run, 7),
    "unshare": lambda db, actor, run, link: GuardedShares(db, actor).revoke(link),
}
READS = {
    "get": lambda runs, run: runs.get(run),
    "list": lambda runs, run: runs.list(),
    "count": lambda runs, run: runs.count(),
    "owners": lambda runs, run: runs.owners(),
    "samples": lambda runs, run: runs.samples(run),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    "actor", [READER, VIEWER, NOBODY, Actor("maker", Role.VIEWER), Actor("maker", Role.NONE)]
)
def test_the_wrong_person_changes_nothing(database, makers, write, actor):
    ended(database, makers)
    link, _ = GuardedShares(database, MAKER).create(makers, 7)
    before = everything(database)
    with pytest.raises(AccessDenied):
        WRITES[write](database, actor, makers, link.id)
    assert everything(database) == before


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("actor", [MAKER, ADMIN])
def test_the_owner_and_an_admin_may_and_it_is_written_down(database, makers, write, actor):
    if write != "cancel":
        ended(database, makers)
    link, _ = GuardedShares(database, MAKER).create(makers, 7)
    WRITES[write](database, actor, makers, link.id)
    assert trail(database)[-1] == (actor.name, write, makers)


def test_stopping_what_has_ended_does_nothing_and_leaves_no_line(database, makers):
    ended(database, makers)
    before = everything(database)
    assert GuardedRuns(database, MAKER).request_cancel(makers).status == RunStatus.FAILED
    assert everything(database) == before


@pytest.mark.parametrize("write", [w for w in WRITES if w != "unshare"])
def test_what_is_not_there_is_said_and_not_written_down(database, makers, write):
    before = trail(database)
    with pytest.raises(InputError, match="no session"):
        WRITES[write](database, ADMIN, "nothing", "nothing")
    with pytest.raises(InputError, match="no such link"):
        GuardedShares(database, ADMIN).revoke("nothing")
    assert trail(database) == before


@pytest.mark.parametrize("read", READS)
def test_everybody_with_a_role_reads_and_nobody_else(database, makers, read):
    for actor in TEAM:
        READS[read](GuardedRuns(database, actor), makers)
    with pytest.raises(AccessDenied):
        READS[read](GuardedRuns(database, NOBODY), makers)
    with pytest.raises(AccessDenied):
        GuardedShares(database, NOBODY).of_run(makers)


def test_a_run_belongs_to_who_started_it_and_a_viewer_starts_none(database, makers):
    assert RunRepository(database).get(makers).owner == "maker"
    with pytest.raises(AccessDenied):
        GuardedRuns(database, VIEWER).create(SPEC)
    assert RunRepository(database).count() == 1
    assert trail(database) == [("maker", "start", makers)]


def test_the_same_form_sent_twice_is_one_run_and_one_line(database):
    runs = GuardedRuns(database, MAKER)
    first, second = (runs.create(SPEC, start_key="form") for _ in range(2))
    assert first == second
    assert trail(database) == [("maker", "start", first.id)]


def test_a_session_of_nobody_is_for_admins(database):
    run_id = ended(database, RunRepository(database).create(SPEC).id)
    with pytest.raises(AccessDenied, match="Nobody is known"):
        GuardedRuns(database, Actor("", Role.OPERATOR)).delete(run_id)
    GuardedRuns(database, ADMIN).delete(run_id)


def test_what_fails_leaves_no_line(database, makers):
    before = trail(database)
    with pytest.raises(InputError, match="only failed and cancelled"):
        GuardedRuns(database, MAKER).requeue(makers)
    with pytest.raises(InputError, match="days was asked for"):
        GuardedShares(database, MAKER).create(makers, 9999)
    assert trail(database) == before


def test_deleting_takes_all_that_belongs_to_it_and_keeps_the_trail(database, makers):
    ended(database, makers)
    other = ended(database, GuardedRuns(database, READER).create(SPEC).id)
    _, token = GuardedShares(database, MAKER).create(makers, 7)
    GuardedRuns(database, MAKER).delete(makers)
    with database.read() as session:
        for table in (EventRow, SampleRow, ShareRow):
            assert set(session.scalars(sa.select(table.run_id))) <= {other}
    assert RunRepository(database).samples(other) == (SAMPLE,)
    assert ShareRepository(database).find(token) is None
    assert [r.id for r in GuardedRuns(database, MAKER).list()] == [other]
    assert trail(database)[-1] == ("maker", "delete", makers)
    assert AuditRepository(database).last(1)[0].details == {
        "symptom": "json_breaks",
        "pair": "demo",
        "owner": "maker",
    }


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_has_not_ended_is_not_deleted(database, makers, begun):
    if begun:
        RunRepository(database).lease("lane.1", 60)
    with pytest.raises(InputError, match="not ended"):
        GuardedRuns(database, MAKER).delete(makers)
    assert RunRepository(database).get(makers)


def test_the_list_can_be_of_one_person(database, makers):
    readers = GuardedRuns(database, READER).create(SPEC).id
    runs = GuardedRuns(database, VIEWER)
    assert [r.id for r in runs.list(owner="reader")] == [readers]
    assert runs.list(owner="nobody") == ()
    assert runs.owners() == ("maker", "reader")


def test_a_comment_stands_under_the_name_of_who_is_signed_in(database):
    run_id = GuardedRuns(database, READER).create(SPEC).id
    said = GuardedComments(database, MAKER).add(run_id, "somebody else", "Seen here, too.")
    assert said.who == "maker"
    with pytest.raises(AccessDenied):
        GuardedComments(database, VIEWER).add(run_id, "", "I may only look.")
    with pytest.raises(AccessDenied):
        GuardedComments(database, NOBODY).of_run(run_id)
    assert GuardedComments(database, VIEWER).of_run(run_id) == (said,)
    long = Actor("k" * 63, Role.OPERATOR)
    assert GuardedComments(database, long).add(run_id, "", "Long names are cut, not refused.").who == "k" * 60
    local = GuardedComments(database, LOCAL).add(run_id, "Robin", "On my own machine I say who I am.")
    assert local.who == "Robin"
    GuardedRuns(database, READER).request_cancel(run_id)
    GuardedRuns(database, READER).delete(run_id)
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(CommentRow)) == 0
    assert [line.action for line in AuditRepository(database).last(10)].count("comment") == 3


def test_every_way_into_the_store_is_guarded_or_the_workers():
    def public(kind):
        return {n for n, f in inspect.getmembers(kind, inspect.isfunction) if not n.startswith("_")}

    workers = public(LeaseRepository) | WORKERS_OWN
    assert public(RunRepository) - workers <= public(GuardedRuns)
    assert public(GuardedRuns) & workers == set()
    assert public(ShareRepository) == public(GuardedShares)


def test_the_trail_can_only_grow():
    assert {n for n in dir(AuditRepository) if not n.startswith("_")} == {"add", "last"}
    source = inspect.getsource(audit_module)
    assert "delete(" not in source
    assert "update(" not in source


def test_lines_are_read_newest_first_and_in_parts(database):
    trail = AuditRepository(database)
    for number in range(5):
        trail.add(MAKER, "export", f"run{number}", {"format": "html"})
    assert [e.target for e in trail.last(2)] == ["run4", "run3"]
    assert [e.target for e in trail.last(2, 2)] == ["run2", "run1"]
    trail.add(Actor("x" * 200, Role.VIEWER), "export", "y" * 200)
    assert (len(trail.last(1)[0].who), len(trail.last(1)[0].target)) == (64, 64)


def test_a_database_of_the_version_before_keeps_its_sessions_and_links(tmp_path):
    path = tmp_path / "triage.db"
    url = f"sqlite:///{path}"
    migrate(url, command.upgrade, "0005")
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(
            "INSERT INTO runs (id, symptom, pair_id, questions, seed, workload_id, options, status, created_at, "
            "cancel_requested, barren_leases, timings, error_message, error_hint, title, note, tags) VALUES ('old', "
            "'json_breaks', 'demo', 20, 0, 'builtin', '{}', 'done', '2026-11-20 10:00:00', 0, 0, '{}', '', '', 'T', "
            "'', '')"
        )
        raw.execute(
            "INSERT INTO samples (run_id, probe, question, paraphrase, seed, side, payload) VALUES ('old', 'p', 'q', "
            "0, 0, 'fp16', '{}')"
        )
        raw.execute(
            "INSERT INTO shares (id, run_id, token_hash, redacted, created_at, expires_at) VALUES ('link', 'old', 'h', "
            "0, '2026-11-20 10:00:00', '2036-11-20 10:00:00')"
        )
        raw.commit()
    database = open_database(url)
    (record,) = GuardedRuns(database, ADMIN).list()
    (share,) = GuardedShares(database, ADMIN).of_run("old")
    assert (record.title, record.owner, share.made_by) == ("T", "", "")
    assert len(GuardedRuns(database, ADMIN).samples("old")) == 1
    GuardedShares(database, ADMIN).revoke("link")
    assert trail(database) == [("chief", "unshare", "old")]
    database.close()
    migrate(url, command.downgrade, "0005")
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT id, title FROM runs").fetchall() == [("old", "T")]
        assert raw.execute("SELECT id FROM shares").fetchall() == [("link",)]
        tables = {row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert not tables & {"audit", "sign_ins", "failed_sign_ins"}
