"""A read-only link from the verdict to whoever gets it, and back; a scripted worker plays the models."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, sideways_overflow
from tests.browser.scripted import ScriptedWorker


def test_a_link_is_made_opened_by_somebody_else_and_taken_back(
    page: Page, browser: Browser, served: Served, worker: ScriptedWorker
):
    open_page(page, served.run_url(worker.finished_run()))
    page.get_by_label("It opens for").select_option("30")
    page.locator("#share-block").get_by_label("Leave out the texts of questions and answers").check()
    page.get_by_role("button", name="Make a link").click()
    shown = page.locator("#share-link pre")
    expect(shown).to_contain_text("/s/")
    link = shown.inner_text()
    assert link.startswith(f"{served.url.rstrip('/')}/s/")
    assert axe_faults(page, "#share-block") == []

    # Another browser, without anything of the first.
    other = browser.new_context(viewport={"width": 390, "height": 844})
    reader = other.new_page()
    asked: list[str] = []
    reader.on("request", lambda request: asked.append(request.url))
    reader.goto(link)
    expect(reader.get_by_text("EXL2 breaks the schema in 6 of 20 answers")).to_be_visible()
    expect(reader.get_by_text(worker.questions[3].text[:40])).to_have_count(0)
    assert asked == [link]
    assert sideways_overflow(reader) <= 0

    page.locator('#share-list input[type="radio"]').first.check()
    page.get_by_role("button", name="Take the chosen link back").click()
    expect(page.locator("#share-list")).to_contain_text("Taken back")
    reader.goto(link)
    expect(reader.get_by_role("heading", name="This link opens nothing")).to_be_visible()
    other.close()
