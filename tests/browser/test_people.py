"""A small team in the browser: sign in, see whose a session is and only what one may do, delete it, sign out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, serve
from tests.browser.pages import axe_faults, open_page, sideways_overflow
from tests.browser.scripted import ScriptedWorker
from tests.people import MAKER, PASSWORD, READER, finished_session, write_team


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("team")
    write_team(home / "users.yaml")
    with serve(home) as served:
        yield served


def sign_in(page: Page, url: str, name: str) -> None:
    page.goto(url)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_a_team_signs_in_and_each_finds_what_they_may_do(page: Page, team: Served):
    worker = ScriptedWorker(team.settings)
    makers, readers = (finished_session(worker, actor) for actor in (MAKER, READER))
    page.goto(team.url)
    assert axe_faults(page) == []
    assert sideways_overflow(page) <= 0
    sign_in(page, team.run_url(readers), "maker")

    expect(page.locator("#session-owner")).to_contain_text("Started by reader.")
    expect(page.locator("#who")).to_contain_text("Signed in as maker, operator")
    for name in ("Make a link", "Save", "Delete this session", "Audit trail"):
        expect(page.get_by_text(name, exact=True)).to_be_hidden()

    open_page(page, team.run_url(makers))
    expect(page.locator("#session-owner")).to_contain_text("Started by maker (you).")
    expect(page.get_by_role("button", name="Make a link")).to_be_visible()
    assert axe_faults(page, "#session-people") == []
    page.get_by_role("button", name="Delete this session").click()
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Delete this session").click()
    assert axe_faults(page, "#session-people") == []
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#notice")).to_contain_text("The session was deleted.")
    expect(page.locator("#session-people")).to_be_hidden()

    open_page(page, f"{team.url}/runs")
    expect(page.locator("#sessions tbody tr")).to_have_count(1)
    expect(page.locator('#sessions td[data-l="By"]')).to_have_text("reader")
    page.get_by_role("button", name="Sign out").click()

    sign_in(page, f"{team.url}/runs", "chief")
    page.get_by_role("link", name="Audit trail").click()
    deleted = page.locator("#sessions tr", has=page.get_by_text("Deleted", exact=True))
    expect(deleted).to_contain_text("maker")
    assert axe_faults(page, "#sessions") == []
    worker.database.close()


def test_a_viewer_is_offered_no_start(page: Page, team: Served):
    worker = ScriptedWorker(team.settings)
    run_id = finished_session(worker, MAKER)
    sign_in(page, team.run_url(run_id), "vera")
    expect(page.locator("#session-owner")).to_contain_text("Started by maker.")
    for name in ("start", "again", "more", "stop", "resume", "delete-ask", "share-make", "describe-save"):
        expect(page.locator(f"#{name}")).to_be_hidden()
    for name in ("comment-who", "comment-text", "comment-add"):
        expect(page.locator(f"#{name}")).to_be_hidden()
    for name in ("title", "tags", "note"):
        expect(page.locator(f"#describe-{name}").locator("input, textarea")).to_be_disabled()
    expect(page.locator("#export summary")).to_be_visible()
    worker.database.close()
