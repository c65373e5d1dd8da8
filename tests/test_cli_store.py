"""The commands on the whole database: info, backup, restore, prune."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from tests.browser.scripted import ScriptedWorker
from wfgy_triage.cli import app
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.settings import load_settings
from wfgy_triage.store.models import EventRow, RunRow
from wfgy_triage.store.rows import now


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WFGY_TRIAGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("WFGY_TRIAGE_KEEP_DAYS", raising=False)
    scripted = ScriptedWorker(load_settings())
    yield scripted
    scripted.database.close()


def call(*arguments: str):
    done = CliRunner().invoke(app, ["store", *arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0
    return done


def test_info_says_what_is_there_and_how_long_it_stays(worker, monkeypatch):
    worker.finished_run()
    worker.queue()
    said = call("info").stdout
    assert "triage.db" in "".join(said.split())  # a long address goes on in the next line
    for part in ("Sessions", "done", "queued", "80", "ever (WFGY_TRIAGE_KEEP_DAYS is not set)"):
        assert part in said
    monkeypatch.setenv("WFGY_TRIAGE_KEEP_DAYS", "30")
    said = call("info").stdout
    assert "30 days" in said
    assert "0 sessions" in said


def test_a_backup_comes_back_in_another_home(worker, tmp_path, monkeypatch):
    run_id = worker.finished_run()
    worker.gone()
    folder = tmp_path / "home" / "workloads"
    folder.mkdir()
    (folder / f"{'a' * 64}.json").write_text("{}")
    (folder / "half.part").write_text("x")
    file = str(tmp_path / "b.zip")
    said = " ".join(
        call("backup", file).stderr.split()
    )  # where a line ends hangs on the length of the address
    assert "1 sessions, 80 measurements, 1 files" in said
    with pytest.raises(InputError, match="holds 1 sessions"):
        call("restore", file)
    worker.alive()
    with pytest.raises(PrerequisiteError, match="app works on this database"):
        call("restore", file, "--replace")
    monkeypatch.setenv("WFGY_TRIAGE_HOME", str(tmp_path / "second"))
    assert "Restored 1 sessions" in call("restore", file).stderr
    restored = ScriptedWorker(load_settings())
    assert restored.runs.get(run_id) == worker.runs.get(run_id)
    assert (tmp_path / "second" / "workloads" / f"{'a' * 64}.json").is_file()
    restored.database.close()


def test_pruning_shows_first_and_deletes_what_it_showed(worker):
    old, young = worker.finished_run(), worker.finished_run()
    with worker.database.write() as session:
        moment = now() - timedelta(days=100)
        session.execute(update(RunRow).where(RunRow.id == old).values(created_at=moment))
        session.execute(update(EventRow).where(EventRow.run_id == old).values(at=moment))
    with pytest.raises(InputError, match="nothing is deleted"):
        call("prune")
    shown = call("prune", "--days", "90", "--dry-run").stdout
    assert [line.split()[0] for line in shown.splitlines()] == [old]
    assert worker.runs.count() == 2
    assert "Deleted 1 sessions" in call("prune", "--days", "90").stderr
    assert [r.id for r in worker.runs.list()] == [young]
