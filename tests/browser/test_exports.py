"""Exports and comparisons in the browser: the report from disk, the menu of step 4, two sessions beside each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, sideways_overflow
from tests.browser.scripted import ScriptedWorker
from tests.browser.scripted_trials import VERIFIED, run_with_trials
from tests.report.sessions_made import hostile_session, made_session, written
from wfgy_triage.result import State

WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture
def from_disk(browser: Browser) -> Iterator[Page]:
    """A page of a context of its own: the usual one refuses every address but the served app's."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_the_menu_gives_the_report_with_and_without_texts(
    page: Page, served: Served, worker: ScriptedWorker, tmp_path: Path
):
    run_id = run_with_trials(worker, VERIFIED)
    open_page(page, served.run_url(run_id))
    page.locator("#export summary").click()
    assert axe_faults(page, "#export") == []
    with page.expect_download() as download:
        page.get_by_role("link", name="Download: Report (English)", exact=True).click()
    assert download.value.suggested_filename == f"json_breaks-{run_id}.html"
    saved = tmp_path / "report.html"
    download.value.save_as(saved)
    page.locator("#export").get_by_label("Leave out the texts of questions and answers").check()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download: Debug packets without texts").click()
    assert not any("q" in packet for packet in json.loads(download.value.path().read_text()))
    assert "<h1>EXL2 triage report</h1>" in saved.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_report_opens_from_disk_and_everyone_can_read_it(
    browser: Browser, tmp_path: Path, width: str, theme: str
):
    file = tmp_path / "report.html"
    file.write_text(written(made_session(), "html"), encoding="utf-8")
    context = browser.new_context(viewport={"width": WIDTHS[width], "height": 860}, color_scheme=theme)
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    expect(page.locator("svg.plot")).to_have_count(4)
    page.locator(".answer-fold summary").first.click()
    expect(page.get_by_text("Marked: what only this side wrote.").first).to_be_visible()
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert background == {"light": "rgb(246, 248, 250)", "dark": "rgb(13, 18, 22)"}[theme]
    assert sideways_overflow(page) <= 0
    assert asked == [file.as_uri()]
    assert said == []
    context.close()


def test_the_report_has_no_fault_that_axe_knows(page: Page, served: Served, tmp_path: Path):
    # Served, because the report's own policy keeps axe out of a page from disk.
    html = written(made_session(), "html").replace("default-src 'none';", "default-src 'none'; script-src *;")
    page.route("**/report-for-axe", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{served.url}/report-for-axe")
    assert axe_faults(page) == []


def test_hostile_texts_do_nothing_in_the_report(from_disk: Page, tmp_path: Path):
    file, page = tmp_path / "report.html", from_disk
    file.write_text(written(hostile_session(), "html"), encoding="utf-8")
    page.add_init_script("window.boom = () => { window.__boom = 1; }")
    page.goto(file.as_uri())
    expect(page.get_by_role("heading", name="EXL2 triage report")).to_be_visible()
    page.wait_for_timeout(300)
    assert page.evaluate("window.__boom") is None
    assert page.locator("img, script, iframe").count() == 0


def test_on_paper_the_answers_are_unfolded(from_disk: Page, tmp_path: Path):
    file, page = tmp_path / "report.html", from_disk
    file.write_text(written(made_session(), "html"), encoding="utf-8")
    page.goto(file.as_uri())
    answer = page.locator(".answer-fold pre").first
    assert not answer.is_visible()
    page.emulate_media(media="print", color_scheme="dark")
    assert answer.bounding_box()["height"] > 50
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"


def test_two_sessions_are_chosen_and_compared(page: Page, served: Served, worker: ScriptedWorker):
    first = worker.finished_run()
    second = worker.finished_run(State.PASS, pair="second")
    open_page(page, f"{served.url}/runs")
    boxes = page.locator("[data-compare]")
    page.locator(f'[data-compare][value="{second}"]').check()
    expect(page.get_by_text("Choose one more to compare.")).to_be_visible()
    page.locator(f'[data-compare][value="{first}"]').check()
    assert boxes.evaluate_all("all => all.every(b => b.checked || b.disabled)")
    page.get_by_role("link", name="Compare the two").click()
    page.wait_for_url(f"**/runs?compare={first},{second}")
    expect(page.get_by_role("heading", name="Two sessions compared")).to_be_visible()
    heads = page.locator(".compare-head")
    expect(heads.nth(0)).to_contain_text("Fail")
    expect(heads.nth(1)).to_contain_text("Pass")
    # Scripted answers are not a probe's: the process that pairs them says so, and the rest stands.
    expect(page.get_by_text("could not be evaluated again")).to_be_visible(timeout=90_000)
    expect(page.get_by_text("Models, settings and versions are the same in both.")).to_be_visible()
    assert axe_faults(page) == []
    page.get_by_role("link", name="Swap the two").click()
    page.wait_for_url(f"**/runs?compare={second},{first}")
    expect(page.locator(".compare-head").nth(0)).to_contain_text("Pass")


def test_a_phone_shows_the_comparison_without_scrolling_sideways(
    page: Page, served: Served, worker: ScriptedWorker
):
    ids = [worker.finished_run(), worker.finished_run(State.PASS)]
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, f"{served.url}/runs?compare={','.join(ids)}")
    expect(page.locator(".compare-head")).to_have_count(2)
    assert sideways_overflow(page) <= 0


def test_an_address_without_two_sessions_says_so(page: Page, served: Served):
    open_page(page, f"{served.url}/runs?compare=nope")
    expect(page.get_by_role("alert")).to_contain_text("does not name two sessions")
