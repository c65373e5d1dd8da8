"""The five steps, as a user takes them; a scripted worker plays the models."""

from __future__ import annotations

import re

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import NOTE, Served
from tests.browser.pages import open_page, pick, run_in_address, to_models
from tests.browser.scripted import ScriptedWorker
from wfgy_triage.result import State
from wfgy_triage.store.records import RunStatus


def test_first_visit_explains_itself_and_waits_for_a_choice(page: Page, served: Served):
    open_page(page, served.url)
    expect(page.get_by_role("heading", name="How this works")).to_be_visible()
    expect(page.get_by_role("radio")).to_have_count(7)
    expect(page.get_by_role("button", name="Continue")).to_be_disabled()


def test_a_symptom_with_a_probe_leads_on(page: Page, served: Served):
    open_page(page, served.url)
    pick(page, "symptom", "json_breaks")
    detail = page.locator("#symptom-detail")
    expect(detail).to_contain_text("Quantization noise amplifies schema drift")
    expect(detail.get_by_role("link", name=re.compile("Logic Collapse"))).to_have_attribute(
        "href", re.compile(r"^https://github\.com/onestardao/WFGY/.*logic-collapse\.md$")
    )
    expect(page.get_by_role("button", name="Continue")).to_be_enabled()


def test_models_are_described_and_unready_ones_cannot_be_chosen(page: Page, served: Served):
    to_models(page, served.url)
    ready = page.locator('label:has(input[value="demo"])')
    expect(ready).to_contain_text(re.compile(r"\d(\.\d+)? bits per weight, \d+-bit head"))
    expect(ready).to_contain_text(NOTE)
    expect(page.locator('input[name="pair"][value="later"]')).to_be_disabled()
    expect(page.locator('label:has(input[value="later"])')).to_contain_text("preparing")
    expect(page.locator("#plan")).to_contain_text("FP16 answers 20 questions.")


def test_without_an_earlier_run_no_time_is_invented(page: Page, served: Served, worker: ScriptedWorker):
    to_models(page, served.url)
    pick(page, "pair", "untried")
    expect(page.locator("#plan")).to_contain_text("First run of this pair: not known yet.")
    worker.finished_run(pair="untried")
    page.reload()
    to_models(page, served.url)
    pick(page, "pair", "untried")
    expect(page.locator("#plan")).to_contain_text("About 62 seconds, judging by earlier runs")


def test_the_whole_way_to_a_verdict(page: Page, served: Served, worker: ScriptedWorker):
    to_models(page, served.url)
    page.get_by_role("button", name="Start measuring").click()
    run_id = run_in_address(page)
    live, so_far = page.locator("#live"), page.locator("#so-far")
    expect(live).to_contain_text("Next in line")

    worker.lease(run_id)
    worker.answers(run_id, 8, ("fp16",))
    worker.answers(run_id, 7, ("exl2",))
    expect(live.get_by_role("progressbar", name="FP16 answers")).to_have_attribute("aria-valuenow", "8")
    expect(so_far).to_contain_text("FP16: 8 of 8 valid")
    expect(so_far).to_contain_text("EXL2: 5 of 7 valid")
    expect(so_far.get_by_text("Invalid", exact=True).first).to_be_visible()

    worker.answers(run_id, 20)
    worker.finish(run_id, State.FAIL)
    verdict = page.locator("#verdict")
    expect(verdict.get_by_text("Fail", exact=True)).to_be_visible()
    expect(verdict).to_contain_text("EXL2 breaks the schema in 6 of 20 answers")
    expect(verdict).to_contain_text("does not meet the page's literal rule")
    expect(verdict).to_contain_text(NOTE)
    expect(page.locator("#cause")).to_contain_text("The weights have too few bits")
    expect(page.locator("#plot-rates .points path.point")).to_have_count(6)
    expect(page.locator("#plot-kld .point")).to_have_count(5)
    expect(page.locator("#plot-failures .point")).to_have_count(10)


def test_metric_help_is_one_click_away(page: Page, served: Served, worker: ScriptedWorker):
    open_page(page, served.run_url(worker.finished_run()))
    row = page.locator("#metrics tr.primary")
    help_text = row.get_by_text("how many your program could use as they are")
    expect(help_text).to_be_hidden()
    row.get_by_text("What does this mean?").click()
    expect(help_text).to_be_visible()


def test_reading_two_answers_and_filtering(page: Page, served: Served, worker: ScriptedWorker):
    open_page(page, served.run_url(worker.finished_run()))
    answers, both = page.locator("#answers"), page.locator("#both")
    rows = answers.locator(".answer-row:visible")
    expect(rows).to_have_count(20)
    answers.locator("label", has_text="Only different").click()
    expect(rows).to_have_count(sum(worker.differs(number) for number in range(20)))
    answers.locator("label", has_text="Cut off").first.click()
    expect(rows).to_have_count(1)
    rows.first.click()
    expect(both.locator(".side-b")).to_contain_text("Cut off at the length limit.")
    answers.locator("label", has_text="Only different").click()
    pick(page, "answer", worker.key(3))
    expect(both.locator(".side-b mark")).to_contain_text("as requested")


def test_fix_step_is_honest_when_nothing_was_tried(page: Page, served: Served, worker: ScriptedWorker):
    open_page(page, served.run_url(worker.finished_run()))
    page.locator("#to-fix").click()
    expect(page.locator("#fix")).to_contain_text("No change was tried")
    expect(page.locator("#step5 .actions button.primary")).to_have_text(
        "I have changed something: check again"
    )
    rest = page.locator("#fix-rest")
    expect(rest.get_by_text("not tried on your models").first).to_be_visible()
    expect(rest.get_by_role("link", name=re.compile("Logic Collapse"))).to_be_visible()
    expect(page.locator("#files")).to_be_hidden()


def test_check_with_more_questions_is_prefilled(page: Page, served: Served, worker: ScriptedWorker):
    open_page(page, served.run_url(worker.finished_run(State.INCONCLUSIVE, pair="second")))
    expect(page.locator("#step4 .actions button.primary")).to_have_text("Check with more questions")
    page.locator("#more").click()
    expect(page.locator("#plan")).to_contain_text("FP16 answers 60 questions.")
    expect(page.locator('input[name="pair"][value="second"]')).to_be_checked()
    page.get_by_role("button", name="Start measuring").click()
    expect(page.locator("#live")).to_contain_text("Next in line")
    record = worker.runs.list(limit=1, status=RunStatus.QUEUED)[0]
    assert (record.spec.questions, record.spec.pair_id) == (60, "second")


def test_a_choice_stands_that_was_made_while_an_older_list_was_on_its_way(page: Page, served: Served):
    to_models(page, served.url)
    expect(page.locator('input[name="pair"][value="demo"]')).to_be_checked()
    asked: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if asked:
            route.continue_()
        else:
            asked.append(route)

    page.route("**/gradio_api/run/**", hold_the_first)
    for _ in range(100):  # the page asks every five seconds
        page.wait_for_timeout(0 if asked else 200)
    older = asked[0].fetch()
    with page.expect_response("**/gradio_api/run/**"):
        pick(page, "pair", "second")
    with page.expect_response("**/gradio_api/run/**"):
        asked[0].fulfill(response=older)
    page.wait_for_timeout(300)  # what the answer says is on the page
    expect(page.locator('input[name="pair"][value="second"]')).to_be_checked()


def test_step_two_of_a_session_opened_by_its_address_is_whole(
    page: Page, served: Served, worker: ScriptedWorker
):
    open_page(page, served.run_url(worker.finished_run()))
    expect(page.locator("#verdict-word")).to_be_visible()
    held: list[Route] = []
    page.route("**/gradio_api/run/**", lambda route: held.append(route))
    page.get_by_role("tab", name="Models").click()
    expect(page.get_by_role("heading", name="Which models, and how many questions?")).to_be_visible()
    expect(page.get_by_text("Error rendering")).to_have_count(0)  # before the server has answered
    page.unroute_all()  # what was held goes on
    expect(page.locator('input[name="trials"]')).to_have_count(4)
    expect(page.locator('input[name="pair"][value="demo"]')).to_be_checked()


def test_another_symptom_leaves_the_run(page: Page, served: Served, worker: ScriptedWorker):
    open_page(page, served.run_url(worker.finished_run()))
    page.locator("#to-fix").click()
    page.get_by_role("button", name="Another symptom").click()
    expect(page.get_by_role("heading", name="What looks wrong?")).to_be_visible()
    page.wait_for_function("!location.search.includes('run=')")
