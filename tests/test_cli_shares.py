"""Links to sessions on the command line: made, listed, taken back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.browser.scripted import ScriptedWorker
from wfgy_triage.cli import app
from wfgy_triage.errors import InputError
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import load_settings


@pytest.fixture
def run_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WFGY_TRIAGE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return ScriptedWorker(load_settings()).finished_run()


def call(*arguments: str):
    return CliRunner().invoke(app, ["sessions", *arguments], catch_exceptions=False, env={"COLUMNS": "160"})


def test_a_link_is_made_listed_and_taken_back(run_id: str):
    made = call("share", run_id, "--days", "30", "--redact")
    assert made.exit_code == 0
    link = made.stdout.strip().splitlines()[-1]
    service = TriageService(load_settings())
    share = service.shared(link.rpartition("/s/")[2])
    assert share is not None
    assert (share.run_id, share.redacted) == (run_id, True)
    (listed,) = service.shares(run_id)
    assert call("links", run_id).exit_code == 0
    assert call("unshare", run_id, listed.id).exit_code == 0
    assert service.shared(link.rpartition("/s/")[2]) is None


def test_what_is_not_there_is_said(run_id: str):
    for arguments in (("share", "nope"), ("links", "nope"), ("unshare", run_id, "nope")):
        with pytest.raises(InputError, match="no session|no such link"):
            call(*arguments)
