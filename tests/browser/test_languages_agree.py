"""What the server says in Chinese is what the script says in the browser, text by text and page by page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, sideways_overflow
from tests.browser.scripted import ScriptedWorker
from tests.browser.scripted_trials import VERIFIED, run_with_trials
from tests.languages.samples import texts
from tests.report.sessions_made import hostile_session, made_session, written
from wfgy_triage.languages.document import in_language
from wfgy_triage.languages.lookup import lookup

POLICY = re.compile('<meta http-equiv="Content-Security-Policy"[^>]*>')
MARKUP = """() => [document.title, document.documentElement.lang,
    ...Array.from(document.querySelectorAll('[title], [aria-label]'), e => `${e.title}|${e.ariaLabel}`),
    document.body.outerHTML]"""


@pytest.fixture
def chinese(browser: Browser, browser_context_args: dict) -> Iterator[Page]:
    context = browser.new_context(**browser_context_args | {"locale": "zh-CN"})
    yield context.new_page()
    context.close()


def show(page: Page, served: Served, html: str) -> None:
    """Open a document as if the app served it."""
    address = f"{served.url}/shown-for-a-test"
    page.unroute_all()
    page.route(address, lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8"))
    page.goto(address)


def test_every_text_is_exchanged_as_the_script_does(chinese: Page, served: Served):
    said = list(dict.fromkeys(texts()))
    assert len(said) > 5000
    body = "".join(f"<p>{escape(t)}</p>" for t in (*said, "Continue"))
    script = f'<script src="{served.url}/texts/translate.js" defer></script>'
    show(chinese, served, f'<!doctype html><html lang="en"><head>{script}</head><body>{body}</body></html>')
    expect(chinese.locator("p").last).to_have_text("继续", timeout=60_000)
    shown = chinese.evaluate("Array.from(document.querySelectorAll('p'), p => p.textContent)")
    say = lookup("zh").translated
    different = [(t, mine, say(t)) for t, mine in zip(said, shown, strict=False) if mine != say(t)]
    assert len(shown) == len(said) + 1
    assert different[:3] == []
    assert sum(t != mine for t, mine in zip(said, shown, strict=False)) > 4000


@pytest.mark.parametrize("made", [made_session, hostile_session])
def test_a_whole_report_is_exchanged_as_the_script_does(chinese: Page, served: Served, made):
    """Labels of figures in lines, attributes and the title too."""
    report = written(made(), "html")
    show(chinese, served, in_language(report, "zh"))
    mine = chinese.evaluate(MARKUP)
    script = f'<script src="{served.url}/texts/translate.js" defer></script>'
    show(chinese, served, POLICY.sub(script, report, count=1))
    expect(chinese.locator("h1")).to_have_text("EXL2 triage 报告")
    assert chinese.evaluate(MARKUP) == mine
    assert mine[1] == "zh-Hans"


@pytest.mark.parametrize("width", [1280, 390])
def test_a_shared_page_in_chinese_is_turned_to_english_and_back(
    browser: Browser, served: Served, worker: ScriptedWorker, page: Page, width: int
):
    run_id = worker.finished_run()
    open_page(page, served.run_url(run_id))
    page.get_by_role("button", name="Make a link").click()
    shown = page.locator("#share-link pre")
    expect(shown).to_contain_text("/s/")
    context = browser.new_context(locale="zh-CN", viewport={"width": width, "height": 844})
    reader = context.new_page()
    reader.goto(shown.inner_text())
    expect(reader.get_by_role("heading", name="EXL2 triage 报告")).to_be_visible()
    assert sideways_overflow(reader) <= 0
    reader.get_by_role("link", name="English", exact=True).click()
    expect(reader.get_by_role("heading", name="EXL2 triage report")).to_be_visible()
    reader.get_by_role("link", name="中文", exact=True).click()
    expect(reader.get_by_role("heading", name="EXL2 triage 报告")).to_be_visible()
    reader.goto(f"{served.url}/s/nothing")
    expect(reader.get_by_role("heading", name="这个链接打不开")).to_be_visible()
    assert axe_faults(reader) == []
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_chinese_reader_gets_a_chinese_report_by_one_click(
    chinese: Page, served: Served, worker: ScriptedWorker, width: int
):
    run_id = run_with_trials(worker, VERIFIED)
    chinese.set_viewport_size({"width": width, "height": 900})
    open_page(chinese, served.run_url(run_id))
    floors = chinese.locator('td[data-l="本底噪声"]')
    expect(floors.first).to_be_visible()
    before = floors.first.evaluate("cell => getComputedStyle(cell, '::before').content")
    assert before == ('"本底噪声"' if width == 390 else "none"), "on a phone each cell names its column"
    chinese.locator("#export summary").click()
    assert axe_faults(chinese, "#export") == []
    assert sideways_overflow(chinese) <= 0
    with chinese.expect_download() as download:
        chinese.get_by_role("link", name="下载：报告（中文）", exact=True).click()
    assert download.value.suggested_filename == f"json_breaks-{run_id}-zh.html"
    assert '<html lang="zh-Hans">' in download.value.path().read_text(encoding="utf-8")
