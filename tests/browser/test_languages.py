"""The page in Chinese: by the browser's language or the switch, whole, and without touching what models wrote."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import scripted
from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, pick, sideways_overflow
from tests.browser.scripted import ScriptedWorker
from wfgy_triage.store.descriptions import described

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
STEP_1 = "你看到了什么问题？"
TWO_WORDS = re.compile("[a-z]{3,} [a-z]{2,}")
CHINESE = re.compile("[\u4e00-\u9fff]")
SENTENCES = {
    "19 questions": "19 个问题",
    "2 warnings": "2 项警告",
    "EXL2 breaks the schema in 3 of 20 answers; FP16 in 0.": "20 个回答中，EXL2 有 3 个不符合模式；FP16 有 0 个。",
    "Stopped after 3 s of work. What was measured is kept.": "用时 3 s 后停止。已测量的内容都保留着。",
    "26 Nov 2026, 08:04 UTC": "2026年11月26日 08:04 UTC",
    "3.30 bits per weight, 6-bit head": "每权重 3.30 比特，6 比特输出头",
    "Nora wrote this long before the page existed": "Nora wrote this long before the page existed",
    "SmolLM2-135M-Instruct": "SmolLM2-135M-Instruct",
}
"""What the page says, and what it says in Chinese; foreign words stay."""


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
    expect(page.locator("#symptom-detail h3")).to_be_visible()
    before = page.locator("#symptom label").all_inner_texts()
    switch = page.locator("[data-language]")
    expect(switch).to_have_text("中文")
    switch.click()
    expect(title(page, STEP_1)).to_be_visible()
    page.reload()
    expect(title(page, STEP_1)).to_be_visible()
    expect(switch).to_have_text("English")
    switch.click()
    expect(switch).to_have_text("中文")
    assert page.locator("#symptom label").all_inner_texts() == before
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
    """What is left in English, but for what the author of the sample run wrote there."""
    page.wait_for_timeout(300)
    constants = ast.walk(ast.parse(Path(scripted.__file__).read_text(encoding="utf-8")))
    own = " ".join(str(node.value) for node in constants if isinstance(node, ast.Constant))
    pieces = [p for text in page.evaluate(ENGLISH_LEFT) for p in re.split(r" · |(?<=[.。]) ?", text)]
    return [p for p in pieces if TWO_WORDS.search(p) and p not in own]


def test_what_models_and_people_wrote_stays(chinese: Page, served: Served, worker: ScriptedWorker):
    """Also where it reads like a word of the page."""
    run_id = worker.queue()
    worker.lease(run_id)
    worker.answers(run_id, 20, ("fp16",))
    for number in range(20):
        worker.answer(run_id, number, "exl2", "Continue")
    worker.finish(run_id)
    worker.runs.describe(run_id, described("Verdict", "", "Export"))
    open_page(chinese, served.run_url(run_id))
    expect(chinese.locator("#both pre").nth(1)).to_have_text("Continue")
    texts = chinese.locator("#both h4, #both pre, .answer-row .q").all_inner_texts()
    assert len(texts) > 20
    assert not [t for t in texts if CHINESE.search(t)]
    chinese.goto(f"{served.url}/runs")
    expect(chinese.locator("#sessions tbody b", has_text="Verdict").first).to_be_visible()
    expect(chinese.locator("#sessions tbody .tag", has_text="Export").first).to_be_visible()


def test_what_the_server_says_later_is_exchanged_and_comes_back(page: Page, served: Served):
    """Sentences with something put into them, several in one, and dates; then English again, word for word."""
    open_page(page, served.url)
    page.evaluate(
        """texts => texts.forEach(t => {
          const p = document.createElement('p');
          p.className = 'said'; p.textContent = t; document.body.append(p); })""",
        list(SENTENCES),
    )
    page.locator("[data-language]").click()
    expect(page.locator("p.said").first).to_have_text(SENTENCES["19 questions"])
    assert page.locator("p.said").all_inner_texts() == list(SENTENCES.values())
    page.locator("[data-language]").click()
    assert page.locator("p.said").all_inner_texts() == list(SENTENCES)


def test_a_dictionary_is_loaded_only_when_it_is_needed(page: Page, served: Served):
    """Who reads English loads no dictionary; an unchanged one is not sent again."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_page(page, served.url)
    assert not [url for url in asked if url.endswith(".json") and "/texts/" in url]
    first = page.request.get(f"{served.url}/texts/zh.json")
    assert first.json()["Continue"] == "继续"
    again = page.request.get(f"{served.url}/texts/zh.json", headers={"if-none-match": first.headers["etag"]})
    assert again.status == 304
    for name in ("xx.json", "zh", "..%2ftranslate.js"):
        assert page.request.get(f"{served.url}/texts/{name}").status == 404
