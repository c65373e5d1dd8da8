"""The text box of step 1: a complaint in, ranked symptoms out, or plainly none."""

from __future__ import annotations

import os
import re
import signal

import psutil
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, sideways_overflow


def ask(page: Page, text: str) -> None:
    box = page.get_by_label("Describe it in your own words")
    box.fill(text)
    box.press("Enter")


def test_a_complaint_leads_to_its_card(page: Page, served: Served):
    open_page(page, served.url)
    ask(page, "after quantizing, my JSON does not parse")
    found = page.locator("#suggested").get_by_role("button")
    expect(found).to_have_text(
        [re.compile("Structured output breaks.*fits well"), re.compile("does not load")]
    )
    expect(page.locator("input[name=symptom]:checked")).to_have_count(0)
    found.first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("input[name=symptom][value=json_breaks]")).to_be_checked()
    expect(found.first).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Continue")).to_be_enabled()
    assert axe_faults(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert sideways_overflow(page) <= 0


def test_none_is_an_answer_and_bad_text_is_explained(page: Page, served: Served):
    open_page(page, served.url)
    said = page.locator("#suggested")
    page.get_by_role("button", name="Find the symptom").click()
    expect(said).to_contain_text("There is no text.")
    ask(page, "what is the weather tomorrow")
    expect(said).to_contain_text("None of the symptoms fits these words.")
    expect(said).to_contain_text("acceptance gate")
    expect(said.get_by_role("button")).to_have_count(0)
    ask(page, "JSON <img src=x onerror=alert(1)> " + "x" * 2000)
    expect(said).to_contain_text("at most 2,000 are read")
    expect(page.locator("#suggested img")).to_have_count(0)


def test_what_comes_nearest_can_be_chosen_where_none_fits(page: Page, served: Served):
    open_page(page, served.url)
    ask(page, "something near it")
    said = page.locator("#suggested")
    expect(said).to_contain_text("None of the symptoms fits these words.")
    found = said.get_by_role("button")
    expect(found).to_have_text([re.compile("does not load.*The server crashes")])
    assert axe_faults(page) == []
    found.click()
    expect(page.locator("input[name=symptom][value=deploy_mismatch]")).to_be_checked()
    page.set_viewport_size({"width": 390, "height": 844})
    assert sideways_overflow(page) <= 0


def test_a_matcher_that_died_is_said_and_comes_back(page: Page, served: Served):
    open_page(page, served.url)
    said = page.locator("#suggested")
    ask(page, "stuck in a loop")
    expect(said).to_contain_text("Long answers fall apart")
    matchers = [p for p in psutil.process_iter(["cmdline"]) if _is_ours(p, served)]
    assert len(matchers) == 1
    os.kill(matchers[0].pid, signal.SIGKILL)
    matchers[0].wait(10)
    ask(page, "stuck in a loop")
    expect(said).to_contain_text("The text matcher is starting.")
    expect(page.get_by_role("radio")).to_have_count(7)

    def answered() -> bool:
        ask(page, "stuck in a loop")
        page.wait_for_timeout(300)
        return "Long answers fall apart" in said.inner_text()

    assert any(answered() for _ in range(50))


def _is_ours(process: psutil.Process, served: Served) -> bool:
    if "tests.runs.fake_matcher" not in (process.info["cmdline"] or []):
        return False
    return process.environ().get("WFGY_TRIAGE_HOME") == str(served.settings.home)
