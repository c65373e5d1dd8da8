"""The guard's page in a browser: empty, then with answers; axe and a phone's width in both."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from playwright.sync_api import Browser, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, sideways_overflow
from wfgy_triage.store.database import open_database
from wfgy_triage.store.guard import GuardedAnswer, GuardEvent, GuardRepository, GuardServer


def test_the_page_says_how_to_start_and_then_what_the_guard_sees(browser: Browser, served: Served):
    page = browser.new_context(color_scheme="dark", viewport={"width": 390, "height": 844}).new_page()
    open_page(page, f"{served.url}/guard")
    expect(page.get_by_text("No guard has run here yet")).to_be_visible()
    assert axe_faults(page) == []
    assert sideways_overflow(page) <= 0
    now = datetime.now(UTC)
    good = GuardedAnswer(now, "m" * 100, "chat", "json", "ok", parse_ok=True, schema_ok=True)
    bad = replace(good, verdict="failed", failure="schema_mismatch", schema_ok=False, reason="r" * 90)
    server = GuardServer("s", "127.0.0.1:8001", "h:5000", "observe", "none", now, now, 60, 0, 200, 60)
    database = open_database(served.settings.database_url)
    event = GuardEvent(now, "json_schema_valid", "left", 0.5, 0.3, 0.7, 60)
    GuardRepository(database).add([good] * 30 + [bad] * 30, [event], server)
    database.close()
    open_page(page, f"{served.url}/guard")
    expect(page.locator("#guard-state")).to_contain_text("clearly outside the gate")
    expect(page.locator("#plot-guard .scatterlayer")).not_to_have_count(0)
    expect(page.locator("#guard-rest")).to_contain_text("Log coverage and citation schema at runtime")
    assert sideways_overflow(page) <= 0
    assert axe_faults(page) == []
    page.set_viewport_size({"width": 1280, "height": 900})
    assert axe_faults(page) == []
    # What a reader has unfolded stays so when the page is written anew.
    meaning = page.locator("details.why").first
    meaning.locator("summary").click()
    database = open_database(served.settings.database_url)
    GuardRepository(database).add([good] * 40, [], replace(server, answers=1_234))
    database.close()
    expect(page.locator("#guard-state")).to_contain_text("1,234 answers since", timeout=30_000)
    expect(meaning).to_have_attribute("open", "")
    expect(page.locator("details.why[open]")).to_have_count(1)
    page.context.close()
