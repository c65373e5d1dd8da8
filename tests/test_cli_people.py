"""Users, the audit trail and deleting on the command line."""

from __future__ import annotations

import csv
import io
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.browser.scripted import ScriptedWorker
from tests.people import MAKER, PASSWORD, finished_session, queued_session
from wfgy_triage.access import Role, command_line
from wfgy_triage.cli import app
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.passwords import fits
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import load_settings
from wfgy_triage.store.audit import AuditRepository
from wfgy_triage.store.database import open_database
from wfgy_triage.users import read_users


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WFGY_TRIAGE_HOME", str(tmp_path))
    for name in ("DATABASE_URL", "WFGY_TRIAGE_USERS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def worker() -> ScriptedWorker:
    return ScriptedWorker(load_settings())


def call(*arguments: str, given: str = ""):
    return CliRunner().invoke(
        app, list(arguments), input=given, catch_exceptions=False, env={"COLUMNS": "200"}
    )


def test_users_from_adding_to_removing(home: Path):
    assert call("users", "add", "Maker", "--role", "admin", given=f"{PASSWORD}\n").exit_code == 0
    assert call("users", "add", "account", "--no-password").exit_code == 0
    file = home / "users.yaml"
    users = read_users(file).by_name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {n: u.role for n, u in users.items()} == {"maker": Role.ADMIN, "account": Role.OPERATOR}
    assert fits(PASSWORD, users["maker"].password)
    assert users["account"].password == ""
    listed = call("users", "list").stdout
    assert "maker" in listed
    assert "scrypt" not in listed
    call("users", "role", "maker", "viewer")
    call("users", "passwd", "maker", given="another pass phrase\r\n")
    maker = read_users(file).by_name["maker"]
    assert maker.role is Role.VIEWER
    assert fits("another pass phrase", maker.password)
    call("users", "remove", "maker")
    assert list(read_users(file).by_name) == ["account"]

    database = open_database(load_settings().database_url)
    trail = [(e.who, e.action, e.target, e.details) for e in AuditRepository(database).last(50)]
    database.close()
    me = command_line().name
    assert trail[::-1] == [
        (me, "user-add", "maker", {"role": "admin"}),
        (me, "user-add", "account", {"role": "operator"}),
        (me, "user-role", "maker", {"role": "viewer", "before": "admin"}),
        (me, "user-password", "maker", {}),
        (me, "user-remove", "maker", {}),
    ]


def test_a_change_that_the_trail_cannot_take_is_said_to_be_done(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (home / "triage.db").write_bytes(b"this is not a database" * 100)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    with pytest.raises(PrerequisiteError, match=r"triage\.db"):
        app(["users", "add", "maker"], standalone_mode=False)
    assert "Added maker as operator" in " ".join(capsys.readouterr().err.split())
    assert list(read_users(home / "users.yaml").by_name) == ["maker"]


def test_what_cannot_be_done_is_said_and_changes_nothing(home: Path):
    call("users", "add", "maker", given=f"{PASSWORD}\n")
    before = (home / "users.yaml").read_bytes()
    for arguments, given, message in (
        (("add", "maker"), PASSWORD, "already"),
        (("add", "local"), PASSWORD, "cannot be a user's name"),
        (("add", "reader", "--role", "root"), PASSWORD, "no role"),
        (("add", "reader"), "short", "5 characters"),
        (("add", "reader"), "", "0 characters"),
        (("role", "reader", "admin"), "", "no user"),
        (("passwd", "reader"), PASSWORD, "no user"),
        (("remove", "reader"), "", "no user"),
    ):
        with pytest.raises(InputError, match=message):
            call("users", *arguments, given=given)
    assert (home / "users.yaml").read_bytes() == before
    assert call("audit", "--csv").stdout.count("user-") == 1


def test_a_password_is_taken_from_no_argument():
    assert CliRunner().invoke(app, ["users", "add", "maker", PASSWORD]).exit_code != 0
    assert CliRunner().invoke(app, ["users", "add", "maker", "--password", PASSWORD]).exit_code != 0


def test_the_file_can_be_elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch):
    place = home / "etc" / "people.yaml"
    monkeypatch.setenv("WFGY_TRIAGE_USERS", str(place))
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        call("users", "list")
    call("users", "add", "maker", given=f"{PASSWORD}\n")
    assert list(read_users(place).by_name) == ["maker"]


def test_a_session_is_deleted_after_a_question_and_the_trail_says_by_whom(worker: ScriptedWorker):
    run_id = finished_session(worker, MAKER)
    assert CliRunner().invoke(app, ["sessions", "delete", run_id], input="n\n").exit_code != 0
    assert worker.runs.get(run_id)
    assert call("sessions", "delete", run_id, given="y\n").exit_code == 0
    with pytest.raises(InputError, match="no session"):
        worker.runs.get(run_id)
    shown = call("audit", "--last", "1").stdout
    assert command_line().name in shown
    assert run_id in shown
    assert "delete" in shown


def test_a_session_that_has_not_ended_is_not_deleted(worker: ScriptedWorker):
    run_id = queued_session(worker, MAKER)
    with pytest.raises(InputError, match="not ended"):
        call("sessions", "delete", run_id, "--yes")
    assert worker.runs.get(run_id)


def test_the_trail_as_csv_is_no_formula(worker: ScriptedWorker):
    database = open_database(load_settings().database_url)
    AuditRepository(database).add(MAKER, "export", '=HYPERLINK("http://x")', {"format": "html"})
    AuditRepository(database).add(MAKER, "export", "later")
    database.close()
    rows = list(csv.DictReader(io.StringIO(call("audit", "--csv", "--last", "2").stdout)))
    assert [r["target"] for r in rows] == ["later", '\'=HYPERLINK("http://x")']
    assert rows[1]["details"] == '{"format": "html"}'
    assert [r["who"] for r in rows] == ["maker", "maker"]


def test_what_is_done_on_the_command_line_belongs_to_its_user(worker: ScriptedWorker, home: Path):
    run_id = finished_session(worker, MAKER)
    file = home / "session.json"
    call("sessions", "export", run_id, "--format", "session", "--out", str(file))
    call("sessions", "delete", run_id, "--yes")
    call("sessions", "import", str(file))
    service = TriageService(load_settings())
    assert service.get(run_id).owner == command_line().name
    assert "maker" not in file.read_text()
    assert [e.action for e in service.audit(3)] == ["import", "delete", "export"]
