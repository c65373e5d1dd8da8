"""The page in Chinese: chosen by the browser's language or the switch, whole, and without touching what models wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, pick, sideways_overflow
from tests.browser.scripted import ScriptedWorker

ENGLISH_LEFT = """() => {
  const left = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (element.closest('pre, code, script, style, textarea, noscript, [translate="no"]')) continue;
    const text = walker.currentNode.data.trim();
    if (/[a-z]{3,} [a-z]{2,}/.test(text)) left.push(text);
  }
  return left;
}"""
"""Texts of the page, hidden ones too, in which two English words stand side by side."""
STEP_1 = "哪里不对劲？"
OWN_WORDS = (NOTE := "The FP16 side of this pair is a test file; its numbers mean nothing.",)


@pytest.fixture
def chinese(browser: Browser, browser_context_args: dict) -> Iterator[Page]:
    """A page of somebody whose browser is Chinese."""
    context = browser.new_context(**browser_context_args | {"locale": "zh-CN"})
    yield context.new_page()
    context.close()


def title(page: Page, text: str):
    return page.get_by_role("heading", name=text, exact=True)


def test_a_chinese_browser_gets_a_chinese_page(chinese: Page, served: Served):
    open_page(chinese, served.url)
    expect(title(chinese, STEP_1)).to_be_visible()
    expect(chinese.locator("html")).to_have_attribute("lang", "zh-Hans")
    assert sideways_overflow(chinese) <= 0
    assert axe_faults(chinese) == []


def test_the_switch_turns_the_page_and_is_kept(page: Page, served: Served):
    open_page(page, served.url)
    before = page.locator("body").inner_text()
    switch = page.locator("[data-language]")
    expect(switch).to_have_text("中文")
    switch.click()
    expect(title(page, STEP_1)).to_be_visible()
    page.reload()
    expect(title(page, STEP_1)).to_be_visible()
    expect(switch).to_have_text("English")
    switch.click()
    expect(switch).to_have_text("中文")
    assert page.locator("body").inner_text() == before
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_every_step_says_nothing_in_english(chinese: Page, served: Served, worker: ScriptedWorker):
    """From the first card to the recommended change; what comes later is exchanged as it comes."""
    page = chinese
    open_page(page, served.url)
    pick(page, "symptom", "json_breaks")
    expect(page.locator("#to-models")).to_be_enabled()
    assert english(page) == []
    page.locator("#to-models").click()
    expect(page.locator("#plan ol")).to_be_visible()
    assert english(page) == []
    page.locator("#start").click()
    page.wait_for_url("**/?run=*")
    run_id = page.url.split("run=")[1]
    worker.lease(run_id)
    worker.answers(run_id, 20)
    expect(page.locator("#so-far .chip").first).to_be_visible()
    assert english(page) == []
    worker.finish(run_id)
    expect(page.locator("#to-fix")).to_be_visible()
    assert english(page) == []
    page.locator("#to-fix").click()
    expect(page.locator("#fix-rest .module").first).to_be_visible()
    assert english(page) == []
    page.goto(f"{served.url}/runs")
    expect(page.locator("#sessions tbody a").first).to_be_visible()
    assert english(page) == []
    page.goto(f"{served.url}/guard")
    expect(page.get_by_role("heading", name="EXL2 triage", level=1)).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert english(page) == []


def english(page: Page) -> list[str]:
    page.wait_for_timeout(300)
    return [text for text in page.evaluate(ENGLISH_LEFT) if text not in OWN_WORDS]


def test_what_models_and_people_wrote_stays(chinese: Page, served: Served, worker: ScriptedWorker):
    run_id = worker.queue()
    worker.lease(run_id)
    worker.answers(run_id, 20)
    worker.finish(run_id)
    open_page(chinese, served.run_url(run_id))
    expect(chinese.locator("#both pre").first).to_be_visible()
    asked, *_ = worker.runs.samples(run_id) if hasattr(worker.runs, "samples") else (None,)
    texts = chinese.locator("#both h4, #both pre, .answer-row .q").all_inner_texts()
    assert texts
    assert not [t for t in texts if re.search("[一-鿿]", t)]


PIECES: tuple[tuple[str, Callable[[str], bool]], ...] = ()
