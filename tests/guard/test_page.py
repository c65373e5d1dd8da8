"""What the page and the terminal show of the guard."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from wfgy_triage.catalog import load_catalog
from wfgy_triage.cli import app
from wfgy_triage.guard.overview import read_overview, symptom_of
from wfgy_triage.guard.watched import load_watched
from wfgy_triage.report.charts_guard import courses_figure, courses_table
from wfgy_triage.report.guard import NOT_STARTED, guard_rest, guard_state, ops_card
from wfgy_triage.settings import load_settings
from wfgy_triage.store.database import open_database
from wfgy_triage.store.guard import GuardedAnswer, GuardEvent, GuardRepository, GuardServer

NOW = datetime.now(UTC)
GOOD = GuardedAnswer(NOW, "m", "chat", "json", "ok", parse_ok=True, schema_ok=True)
BAD = replace(
    GOOD,
    verdict="failed",
    failure="schema_mismatch",
    schema_ok=False,
    model="<b>m</b>",
    reason="<script>x</script>",
    text="<i>kept</i>",
)
SERVER = GuardServer("s", "127.0.0.1:8001", "127.0.0.1:5000", "observe", "shop", NOW, NOW, 60, 3, 200, 60)
EVENT = GuardEvent(NOW, "json_schema_valid", "left", 0.5, 0.3, 0.7, 60)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WFGY_TRIAGE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def repository(home):
    database = open_database(load_settings().database_url)
    yield GuardRepository(database)
    database.close()


def view(repository):
    return read_overview(repository, load_watched(), NOW)


def test_before_the_first_guard(repository):
    found = view(repository)
    assert found.empty
    assert "python -m wfgy_triage guard --upstream" in NOT_STARTED
    card = ops_card(found, load_watched(), load_catalog())
    assert card.count("Not watched here") == 2
    assert card.count("Nothing to watch yet") == 2


def test_a_gate_that_is_left(repository):
    at = [NOW - timedelta(minutes=59 - i) for i in range(60)]
    repository.add([replace(BAD if i % 2 else GOOD, at=t) for i, t in enumerate(at)], [EVENT], SERVER)
    found, watched, catalog = view(repository), load_watched(), load_catalog()
    page = guard_state(found, watched, catalog, NOW) + guard_rest(found, watched, catalog)
    assert "clearly outside the gate" in page
    assert "Left its gate" in page
    assert "3 could not be logged" in page
    assert "not measured: no sentence model" in page
    assert page.count("Not measured") == 3  # the three gates of citations
    assert "https://github.com/onestardao/WFGY/blob/main/ProblemMap/data-contracts.md" in page
    assert "<script>" not in page
    assert "<i>" not in page
    assert "&lt;i&gt;kept&lt;/i&gt;" in page
    assert page.count("Watched<") == 1
    (schema, parse) = found.courses
    assert sum(p.answers for p in schema.points) == sum(p.answers for p in parse.points) == 60
    figure = courses_figure(found.courses)
    assert figure is not None
    assert [t["yaxis"] for t in figure["data"]] == ["y", "y2"]
    assert courses_table(found.courses).count("<tr>") == 1 + sum(len(c.points) for c in found.courses)


@pytest.mark.parametrize(("minutes", "words"), [(2, "%H:%M:%S"), (60, "%H:%M"), (3 * 24 * 60, "%d %b %H:%M")])
def test_the_time_axis_says_as_much_as_tells_its_moments_apart(repository, minutes, words):
    at = [NOW - timedelta(minutes=minutes * i / 10) for i in range(11)]
    repository.add([replace(GOOD, at=t) for t in at], (), SERVER)
    figure = courses_figure(view(repository).courses)
    assert figure is not None
    assert figure["layout"]["xaxis"]["tickformat"] == words


def test_a_guard_that_has_ended_is_said(repository):
    repository.add([GOOD], (), replace(SERVER, seen_at=NOW - timedelta(minutes=5)))
    assert "No guard is running" in guard_state(view(repository), load_watched(), load_catalog(), NOW)


def test_failures_lead_to_the_modules_of_their_symptom():
    watched = load_watched()
    cites = replace(BAD, kind="citations", failure="no_citation")
    assert symptom_of(BAD, watched) == "json_breaks"
    assert symptom_of(cites, watched) == "citations_missing"
    assert symptom_of(replace(cites, failure="truncated"), watched) == "citations_missing"
    assert symptom_of(replace(cites, kind="json+citations", failure="malformed"), watched) == "json_breaks"


def report(*arguments: str):
    return CliRunner().invoke(app, ["guard", "report", *arguments], env={"COLUMNS": "200"})


def test_the_report_of_an_empty_store(home):
    done = report()
    assert done.exit_code == 4
    assert json.loads(report("--json").stdout)["servers"] == []


def test_the_report(repository):
    repository.add([GOOD] * 30 + [BAD] * 30, [EVENT], SERVER)
    done = report("--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [g["state"] for g in told["gates"]][:2] == ["FAIL", "INCONCLUSIVE"]
    assert (told["verdicts"], told["servers"][0]["dropped"]) == ({"ok": 30, "failed": 30}, 3)
    assert "Answers that fit the schema" in report().stdout


def test_the_command_needs_a_server_to_guard(home):
    from wfgy_triage.errors import InputError

    with pytest.raises(InputError, match="which model server"):
        CliRunner().invoke(app, ["guard"], catch_exceptions=False)
