"""Links into sessions: one question, a pair over time, and what people say; a scripted worker plays the models."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, sideways_overflow
from tests.browser.scripted import ScriptedWorker
from wfgy_triage.pairs import load_pairs, register_pairs
from wfgy_triage.result import State


def test_one_question_is_linked_copied_and_opened(
    page: Page, context: BrowserContext, served: Served, worker: ScriptedWorker
):
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=served.url)
    run_id = worker.finished_run()
    open_page(page, served.run_url(run_id))
    page.get_by_role("link", name="All questions").click()
    expect(page.get_by_role("heading", name="Questions of a session")).to_be_visible()
    expect(page.locator("details.answer-fold")).to_have_count(20)
    expect(page.locator("details[open]")).to_have_count(0)
    assert axe_faults(page) == []
    page.locator("[data-copy-link]").nth(7).click()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{served.url}/runs?run={run_id}&question=")

    open_page(page, link)
    asked = page.locator("details[open]")
    expect(asked).to_have_count(1)
    expect(asked).to_be_in_viewport()
    expect(asked.get_by_role("heading", name="EXL2 answer")).to_be_visible()
    assert axe_faults(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert sideways_overflow(page) <= 0


def test_a_question_or_session_that_is_not_there_is_said(page: Page, served: Served, worker: ScriptedWorker):
    run_id = worker.finished_run()
    wrong = "<img src=x onerror=alert(1)>"
    open_page(page, f"{served.url}/runs?run={run_id}&question={quote(wrong)}")
    expect(page.get_by_role("alert")).to_contain_text(f"This session has no question “{wrong}”.")
    expect(page.locator("details.answer-fold")).to_have_count(20)
    open_page(page, f"{served.url}/runs?run=0000000000&question=a")
    expect(page.get_by_role("alert")).to_contain_text("There is no session")


def test_a_pair_over_time(page: Page, served: Served, worker: ScriptedWorker):
    watched = replace(load_pairs(served.settings)["demo"], id="watched", name="A pair over time")
    register_pairs(served.settings, [watched])  # no other test has runs of it
    trend = f"{served.url}/runs?trend=watched&symptom=json_breaks"
    open_page(page, trend)
    expect(page.get_by_text("No session of this symptom on this pair has finished yet.")).to_be_visible()
    expect(page.locator("#trend")).to_be_hidden()
    assert axe_faults(page) == []

    runs = [worker.finished_run(state, "watched") for state in (State.FAIL, State.INCONCLUSIVE, State.PASS)]
    open_page(page, served.run_url(runs[0]))
    page.get_by_role("link", name="Trend of this pair").click()
    expect(page.get_by_role("heading", name="Structured output breaks, over time")).to_be_visible()
    expect(page.locator("#plot-trend .js-plotly-plot .points path").first).to_be_visible()
    assert page.locator("#plot-trend .points path").count() == 6  # three sessions, two sides
    rows = page.locator("table.trend tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("Pass")
    assert axe_faults(page) == []
    rows.nth(2).get_by_role("link").click()
    page.wait_for_url(f"**/?run={runs[0]}")

    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, trend)
    expect(rows).to_have_count(3)
    assert sideways_overflow(page) <= 0
    open_page(page, f"{served.url}/runs?trend=../x&symptom=json_breaks")
    expect(page.get_by_role("alert")).to_contain_text("does not name a model pair")


def test_a_comment_is_added_and_shown_as_it_was_typed(page: Page, served: Served, worker: ScriptedWorker):
    run_id = worker.finished_run()
    open_page(page, served.run_url(run_id))
    expect(page.locator("#comment-list")).to_contain_text("Nobody has said anything yet.")
    page.get_by_label("Your name, if you like").fill("Chief")
    page.get_by_label("Comment", exact=True).fill("<b>head bits</b>\nsecond line")
    page.get_by_role("button", name="Add the comment").click()
    expect(page.locator("#comment-list .said")).to_have_text("<b>head bits</b>\nsecond line")
    expect(page.get_by_label("Comment", exact=True)).to_have_value("")
    assert axe_faults(page, "#comments-block") == []
    page.get_by_role("button", name="Add the comment").click()
    expect(page.locator("#notice")).to_contain_text("There is no text.")
    # The block lies at the end of a long page, and what is said about it has to be seen there.
    expect(page.locator("#notice p")).to_be_in_viewport()
    open_page(page, f"{served.url}/runs?run={run_id}")
    expect(page.locator("#sessions .said")).to_have_text("<b>head bits</b>\nsecond line")
