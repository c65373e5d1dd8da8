"""Read-only links on the page: made once, listed, taken back; and what their address gives."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from tests.browser.scripted import ScriptedWorker
from tests.ui.conftest import Stage
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import Settings
from wfgy_triage.store.rows import now
from wfgy_triage.ui.app import build_app
from wfgy_triage.ui.sharing import any_open, share_list

HEADLINE = "EXL2 breaks the schema in 6 of 20 answers"


@pytest.fixture
def run_id(stage: Stage, settings: Settings) -> str:
    return ScriptedWorker(settings).finished_run()


def token_of(stage: Stage) -> str:
    return str(stage.said("share_path")).removeprefix("s/")


def test_a_link_is_made_listed_and_taken_back(stage: Stage, run_id: str):
    stage.call("make_link", run_id, "7", True)
    token = token_of(stage)
    assert len(token) == 43
    assert "Open" in stage.said("share_list")["options"]
    assert "without texts" in stage.said("share_list")["options"]
    share = stage.context.service.shared(token)
    assert share is not None
    assert token not in stage.said("share_list")["options"]
    stage.call("take_back", run_id, share.id)
    assert stage.context.service.shared(token) is None
    assert "Taken back" in stage.said("share_list")["options"]
    assert stage.said("share_path") == ""
    assert stage.said("share_back")["visible"] is False


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("make_link", "{run}", "9999", False), "not known"),
        (("make_link", "nothing", "7", False), "no session"),
        (("take_back", "{run}", ""), "No link was chosen"),
        (("take_back", "{run}", "nothing"), "no such link"),
    ],
)
def test_wrong_requests_are_said_in_the_notice(stage: Stage, run_id: str, call, message: str):
    name, *args = (a.replace("{run}", run_id) if isinstance(a, str) else a for a in call)
    assert message in stage.call(name, *args).said("notice")


def test_the_address_gives_the_report_and_an_old_one_looks_like_a_wrong_one(settings: Settings):
    worker = ScriptedWorker(settings)
    service = TriageService(settings)
    run_id = worker.finished_run()
    client = TestClient(build_app(settings, service))
    share, token = service.share(run_id, 7)
    found = client.get(f"/s/{token}")
    assert found.status_code == 200
    assert HEADLINE in found.text
    for header, value in (
        ("x-robots-tag", "noindex, nofollow"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ):
        assert found.headers[header] == value
    service.revoke(run_id, share.id)
    old, wrong = client.get(f"/s/{token}"), client.get("/s/" + "A" * 43)
    assert (old.status_code, old.text) == (wrong.status_code, wrong.text)
    assert old.status_code == 404
    assert HEADLINE not in old.text


def test_a_redacted_link_shows_no_text_of_a_question_or_an_answer(settings: Settings):
    worker = ScriptedWorker(settings)
    service = TriageService(settings)
    run_id = worker.finished_run()
    client = TestClient(build_app(settings, service))
    whole, bare = (
        client.get(f"/s/{service.share(run_id, 1, redacted)[1]}").text for redacted in (False, True)
    )
    text = worker.questions[3].text[:60]
    assert text in whole
    assert text not in bare


def test_what_is_over_cannot_be_chosen(stage: Stage, run_id: str):
    share, _ = stage.context.service.share(run_id, 1)
    assert "radio" in share_list([share], now())
    later = now() + timedelta(days=2)
    assert "radio" not in share_list([share], later)
    assert "Over" in share_list([share], later)
    assert not any_open([share], later)
    assert "No link was made yet" in share_list([], later)
