"""Keyboard, small screens, dark mode, screen readers' rules, and the list of sessions."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, pick, run_in_address, sideways_overflow, to_models
from tests.browser.scripted import ScriptedWorker
from wfgy_triage.result import State


def tab_to(page: Page, selector: str, limit: int = 60) -> None:
    """Press Tab until the element (or one inside it) has the focus."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        if page.evaluate("s => !!document.activeElement?.closest(s)", selector):
            return
    raise AssertionError(f"Tab never reached {selector}")


def test_the_whole_way_by_keyboard(page: Page, served: Served, worker: ScriptedWorker):
    open_page(page, served.url)
    tab_to(page, "input[name=symptom]")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("input[name=symptom][value=json_breaks]")).to_be_checked()
    expect(page.locator("#to-models")).to_be_enabled()
    tab_to(page, "#to-models")
    page.keyboard.press("Enter")
    # The list of pairs comes from the server; tabs are pressed faster than it answers.
    expect(page.locator("input[name=pair][value=second]")).to_be_attached()
    expect(page.get_by_role("heading", name="Which models, and how many questions?")).to_be_visible()
    tab_to(page, "input[name=pair]")
    page.keyboard.press("ArrowDown")
    expect(page.locator("input[name=pair][value=second]")).to_be_checked()
    tab_to(page, "#start")
    page.keyboard.press("Enter")
    run_id = run_in_address(page)
    assert worker.runs.get(run_id).spec.pair_id == "second"
    worker.lease(run_id)
    worker.answers(run_id, 20)
    worker.finish(run_id)
    expect(page.locator("#to-fix")).to_be_visible()
    tab_to(page, "input[name=answer]")
    before = page.locator("#both h4").inner_text()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#both h4")).not_to_have_text(before)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    expect(page.locator("input[name=answer-filter][value=different]")).to_be_checked()


def test_focus_is_visible_on_the_cards(page: Page, served: Served):
    open_page(page, served.url)
    tab_to(page, "input[name=symptom]")
    outline = page.evaluate("getComputedStyle(document.activeElement.closest('.pick')).outlineStyle")
    assert outline == "solid"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, served: Served, worker: ScriptedWorker, theme: str):
    page = browser.new_context(
        color_scheme=theme, reduced_motion="reduce", viewport={"width": 1280, "height": 900}
    ).new_page()
    faults: dict[str, list[str]] = {}
    open_page(page, served.url)
    pick(page, "symptom", "wrong_snippet")
    expect(page.locator("#symptom-detail")).to_contain_text("Index mismatch after quantization")
    faults["symptom"] = axe_faults(page)
    pick(page, "symptom", "json_breaks")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#plan")).to_contain_text("What will happen")
    faults["models"] = axe_faults(page)
    running = worker.queue()
    worker.lease(running)
    worker.answers(running, 7)
    open_page(page, served.run_url(running))
    expect(page.locator("#so-far")).to_contain_text("of 7 valid")
    faults["measure"] = axe_faults(page)
    worker.finish(running)
    open_page(page, served.run_url(running))
    expect(page.locator("#plot-kld .point")).to_have_count(5)
    faults["verdict"] = axe_faults(page)
    page.locator("#to-fix").click()
    expect(page.locator("#fix-rest")).to_contain_text("Logic Collapse")
    faults["fix"] = axe_faults(page)
    open_page(page, f"{served.url}/runs")
    expect(page.get_by_role("table")).to_be_visible()
    faults["runs"] = axe_faults(page)
    page.context.close()
    assert {step: found for step, found in faults.items() if found} == {}


def test_phone_width_never_scrolls_sideways(browser: Browser, served: Served, worker: ScriptedWorker):
    page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    widths: dict[str, int] = {}
    open_page(page, served.url)
    pick(page, "symptom", "json_breaks")
    expect(page.get_by_role("button", name="Continue")).to_be_enabled()
    widths["symptom"] = sideways_overflow(page)
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#plan")).to_contain_text("What will happen")
    widths["models"] = sideways_overflow(page)
    running = worker.queue()
    worker.lease(running)
    worker.answers(running, 7)
    worker.answer(running, 8, "exl2", "x" * 600, "malformed")
    open_page(page, served.run_url(running))
    expect(page.locator("#so-far")).to_contain_text("xxxx")
    widths["measure"] = sideways_overflow(page)
    worker.finish(running)
    expect(page.locator("#plot-kld .point")).to_have_count(5)
    widths["verdict"] = sideways_overflow(page)
    page.locator("#to-fix").click()
    expect(page.locator("#fix-rest")).to_contain_text("Logic Collapse")
    widths["fix"] = sideways_overflow(page)
    open_page(page, f"{served.url}/runs")
    expect(page.get_by_role("table")).to_be_visible()
    widths["runs"] = sideways_overflow(page)
    page.context.close()
    assert {step: width for step, width in widths.items() if width > 0} == {}


def test_dark_mode_follows_the_system(browser: Browser, served: Served):
    page = browser.new_context(color_scheme="dark").new_page()
    open_page(page, served.url)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [int(value) for value in re.findall(r"\d+", background)[:3]]
    page.context.close()
    assert max(channels) < 40


def test_sessions_list_filters_and_opens(page: Page, served: Served, worker: ScriptedWorker):
    failed = worker.queue()
    worker.lease(failed)
    worker.fail(failed, "It broke.", "Try again.")
    passed = worker.finished_run(State.PASS)
    open_page(page, f"{served.url}/runs")
    expect(page.locator(f'a[href="./?run={failed}"]')).to_be_visible()
    page.get_by_role("link", name="Finished").click()
    expect(page.locator(f'a[href="./?run={passed}"]')).to_be_visible()
    expect(page.locator(f'a[href="./?run={failed}"]')).to_have_count(0)
    page.get_by_role("link", name="Could not finish").click()
    page.locator(f'a[href="./?run={failed}"]').click()
    expect(page.get_by_role("alert")).to_contain_text("It broke.")


def test_sessions_list_says_when_nothing_matches(page: Page, served: Served):
    open_page(page, f"{served.url}/runs?status=queued&page=7")
    expect(page.locator("#sessions")).to_contain_text("No session matches this filter.")


def test_the_two_pages_link_to_each_other(page: Page, served: Served):
    open_page(page, served.url)
    page.get_by_role("link", name="Sessions").click()
    expect(page.get_by_role("heading", name="Sessions")).to_be_visible()
    page.get_by_role("link", name="Triage").click()
    expect(page.get_by_role("heading", name="What looks wrong?")).to_be_visible()


def test_step_two_is_reached_again_from_the_stepper(page: Page, served: Served):
    to_models(page, served.url)
    page.get_by_role("tab", name="Symptom").click()
    expect(page.get_by_role("heading", name="What looks wrong?")).to_be_visible()
