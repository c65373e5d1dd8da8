"""`sessions export`, `import` and `compare` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.scripted import ScriptedWorker
from tests.commands import Here, call
from tests.report.sessions_made import made_session, written
from wfgy_triage.cli.sessions import Form
from wfgy_triage.report.export.formats import FORMATS
from wfgy_triage.result import State
from wfgy_triage.settings import load_settings


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A home with two finished sessions; their ids."""
    home = tmp_path_factory.mktemp("home")
    worker = ScriptedWorker(load_settings(home=home, database_url=f"sqlite:///{home / 'triage.db'}"))
    ids = [worker.finished_run(), worker.finished_run(State.PASS, pair="second")]
    worker.database.close()
    return home, *ids


def test_from_one_home_to_another_and_back(recorded, tmp_path: Path):
    home, first, second = recorded
    file = tmp_path / "session.json"
    out = call(home, "sessions", "export", first, "--format", "session", "--out", str(file))
    assert (out.returncode, out.stdout) == (0, "")
    assert f"Wrote {file}." in out.stderr
    taken = call(tmp_path / "other", "sessions", "import", str(file))
    assert (taken.returncode, taken.stdout.strip()) == (0, first)
    again = call(tmp_path / "other", "sessions", "import", str(file))
    assert "recorded already" in again.stderr
    listed = call(tmp_path / "other", "sessions", "list").stdout
    assert first in listed
    assert "imported" in listed


def test_standard_output_is_the_file_and_nothing_else(recorded):
    home, first, _ = recorded
    shown = call(home, "sessions", "export", first, "--format", "packet", "--redact").stdout
    assert all("q" not in packet for packet in json.loads(shown))


def test_the_report_is_written_in_the_language_that_is_asked_for(recorded):
    home, first, _ = recorded
    asked = ("sessions", "export", first, "--format", "html")
    assert '<html lang="zh-Hans">' in call(home, *asked, "--language", "zh").stdout
    assert '<html lang="en">' in call(home, *asked).stdout


def test_compare_shows_both_and_what_differs(recorded, here: Here):
    home, first, second = recorded
    shown = here(home, "sessions", "compare", first, second)
    assert shown.returncode == 0
    assert first in shown.stdout
    assert "EXL2 breaks the schema in 6 of 20 answers" in shown.stdout
    assert "could not be evaluated again" in shown.stdout  # scripted answers are no probe's


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "nope", "--format", "html"], "There is no session with the id 'nope'"),
        (["export", "nope"], "Missing option"),
        (["export", "FIRST", "--format", "pdf"], "'pdf' is not one of 'html', 'markdown', 'session'"),
        (["export", "FIRST", "--format", "csv", "--out", "/nowhere/x.csv"], "cannot be written"),
        (["export", "FIRST", "--format", "html", "--language", "fr"], "There is no language 'fr'"),
        (["export", "FIRST", "--format", "csv", "--language", "zh"], "written in English only"),
        (["import", "/nowhere.json"], "cannot be read"),
        (["import", "README.md"], "not JSON"),
        (["compare", "FIRST", "FIRST"], "one and the same session"),
        (["compare", "FIRST"], "Missing argument"),
    ],
)
def test_mistakes_end_with_two(recorded, here: Here, arguments: list[str], said: str):
    home, first, _ = recorded
    outcome = here(home, "sessions", *(first if a == "FIRST" else a for a in arguments))
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_every_format_can_be_asked_for():
    assert [form.value for form in Form] == list(FORMATS)


def test_a_changed_file_is_refused(recorded, tmp_path: Path):
    file = tmp_path / "session.json"
    file.write_text(written(made_session(answers=1), "session").replace("FAIL", "PASS", 1))
    outcome = call(tmp_path / "home", "sessions", "import", str(file))
    assert outcome.returncode == 2
    assert "its hash does not fit" in outcome.stderr
