"""Name, notes and tags of a session on the page, and the list that finds it by them."""

from __future__ import annotations

import pytest

from tests.browser.scripted import ScriptedWorker
from tests.ui.conftest import Stage
from wfgy_triage.settings import Settings
from wfgy_triage.ui.sessions import ListQuery, sessions_page

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def run_id(stage: Stage, settings: Settings) -> str:
    return ScriptedWorker(settings).finished_run()


def test_what_is_written_is_kept_and_shown_again(stage: Stage, run_id: str):
    stage.call("describe", run_id, " Nightly ", "Prod, llama", "cache was Q4")
    assert stage.said("describe_tags") == {"value": "prod, llama", "interactive": True}
    assert "Saved" in stage.said("describe_saved")
    record = stage.context.service.get(run_id)
    assert (record.title, record.note, record.tags) == ("Nightly", "cache was Q4", ("prod", "llama"))


def test_what_is_too_long_is_said_and_nothing_is_lost(stage: Stage, run_id: str):
    stage.call("describe", run_id, "First", "", "kept")
    assert "cannot be a tag" in stage.call("describe", run_id, "Second", "a<b", "").said("notice")
    assert stage.context.service.get(run_id).title == "First"


def test_the_list_shows_names_and_tags_as_text(stage: Stage, run_id: str):
    stage.call("describe", run_id, EVIL, "prod", EVIL)
    html = sessions_page(stage.context, ListQuery())
    assert EVIL not in html
    assert 'href="./runs?tag=prod"' in html


def test_search_and_tag_narrow_the_list_and_stay_in_the_address(
    stage: Stage, run_id: str, settings: Settings
):
    other = ScriptedWorker(settings).finished_run()
    stage.call("describe", run_id, "Nightly", "prod", "")

    def listed(**query: str) -> tuple[bool, bool]:
        html = sessions_page(stage.context, ListQuery(**query))
        return f"run={run_id}" in html, f"run={other}" in html

    assert listed(text="night") == (True, False)
    assert listed(tag="prod") == (True, False)
    assert listed(text="nothing of the kind") == (False, False)
    assert listed() == (True, True)
    query = ListQuery.parse("", "", "", [], " night ", "prod")
    assert query.url(page=2) == "./runs?q=night&tag=prod&page=2"
    assert 'value="&quot;x"' in sessions_page(stage.context, ListQuery(text='"x'))
