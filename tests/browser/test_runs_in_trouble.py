"""Closed tabs, stops, failures, missing workers, hostile text: what the user sees, and that nothing is lost."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Served, write_default_pairs
from tests.browser.pages import axe_faults, open_page, pick, run_in_address, to_models
from tests.browser.scripted import ScriptedWorker
from wfgy_triage.result import State
from wfgy_triage.store.records import RunStatus

HOSTILE = '<img src=x onerror="window.__x=1"><script>window.__x=2</script>${window.__x=3}{{constructor}}`'


def test_reload_and_another_tab_find_the_run(
    page: Page, context: BrowserContext, served: Served, worker: ScriptedWorker
):
    to_models(page, served.url)
    page.get_by_role("button", name="Start measuring").click()
    run_id = run_in_address(page)
    worker.lease(run_id)
    worker.answers(run_id, 4)
    page.reload()
    expect(page.locator("#so-far")).to_contain_text("EXL2: 3 of 4 valid")
    other = context.new_page()
    page.close()
    worker.answers(run_id, 20)
    open_page(other, served.run_url(run_id))
    expect(other.locator("#so-far")).to_contain_text("FP16: 19 of 20 valid")
    worker.finish(run_id)
    expect(other.locator("#verdict")).to_contain_text("EXL2 breaks the schema")


def test_stop_keeps_what_is_done(page: Page, served: Served, worker: ScriptedWorker):
    run_id = worker.queue()
    worker.lease(run_id)
    worker.answers(run_id, 6)
    open_page(page, served.run_url(run_id))
    page.get_by_role("button", name="Stop and keep what is done").click()
    expect(page.locator("#live")).to_contain_text("Stopping after the question in work.")
    assert worker.runs.cancel_requested(run_id)
    worker.finish(run_id, State.INCONCLUSIVE, RunStatus.CANCELLED)
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("stopped early: partial data")
    expect(verdict.get_by_text("Inconclusive", exact=True)).to_be_visible()


def test_a_run_stopped_before_it_began_can_go_on(page: Page, served: Served, worker: ScriptedWorker):
    run_id = worker.queue()
    open_page(page, served.run_url(run_id))
    page.get_by_role("button", name="Stop and keep what is done").click()
    expect(page.get_by_role("heading", name="Stopped")).to_be_visible()
    page.get_by_role("button", name="Go on where it stopped").click()
    expect(page.get_by_role("heading", name="Waiting to start")).to_be_visible()
    assert worker.runs.get(run_id).status is RunStatus.QUEUED


def test_a_failed_run_says_why_and_what_to_do(page: Page, served: Served, worker: ScriptedWorker):
    run_id = worker.queue()
    worker.lease(run_id)
    worker.answers(run_id, 3)
    worker.fail(run_id, "model.safetensors is truncated.", "Download it again.")
    open_page(page, served.run_url(run_id))
    expect(page.get_by_role("heading", name="This run could not finish")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("model.safetensors is truncated. Download it again.")
    expect(page.locator("#so-far")).to_contain_text("FP16: 3 of 3 valid")
    expect(page.get_by_role("button", name="Go on where it stopped")).to_be_visible()
    page.get_by_role("button", name="Change the settings").click()
    expect(page.get_by_role("heading", name="Which models, and how many questions?")).to_be_visible()


def test_queue_position_is_shown(page: Page, served: Served, worker: ScriptedWorker):
    worker.queue()
    worker.queue()
    open_page(page, served.run_url(worker.queue()))
    expect(page.locator("#live")).to_contain_text("Waiting: at most 2 runs come before this one.")


def test_a_missing_worker_is_said_and_its_return_noticed(page: Page, served: Served, worker: ScriptedWorker):
    run_id = worker.queue()
    worker.gone()
    open_page(page, served.run_url(run_id))
    expect(page.get_by_role("alert")).to_contain_text("The measuring process is not running right now.")
    worker.alive()
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_its_word(page: Page, served: Served, worker: ScriptedWorker, state: State):
    open_page(page, served.run_url(worker.finished_run(state)))
    word = {"NOT MEASURED": "Not measured"}.get(state.value, state.value.capitalize())
    expect(page.locator("#verdict-word").get_by_text(word, exact=True)).to_be_visible()
    expect(page.locator("#verdict .verdict-icon svg")).to_be_visible()
    assert axe_faults(page, "#verdict") == []


def test_unknown_run_in_the_address(page: Page, served: Served):
    open_page(page, served.run_url("nothing-here"))
    expect(page.get_by_role("alert")).to_contain_text("nothing-here")
    expect(page.get_by_role("heading", name="What looks wrong?")).to_be_visible()


def test_hostile_model_output_stays_text(page: Page, served: Served, worker: ScriptedWorker):
    run_id = worker.queue()
    worker.lease(run_id)
    worker.answer(run_id, 0, "fp16")
    worker.answer(run_id, 0, "exl2", HOSTILE, "malformed")
    open_page(page, served.run_url(run_id))
    expect(page.locator("#so-far pre").nth(1)).to_have_text(HOSTILE)
    worker.finish(run_id)
    pick(page, "answer", worker.key(0))
    expect(page.locator("#both .side-b pre")).to_have_text(HOSTILE)
    assert page.evaluate("window.__x") is None
    assert page.locator("#both img, #so-far img").count() == 0


def test_hostile_run_id_stays_text(page: Page, served: Served):
    open_page(page, served.run_url("%3Cimg src=x onerror=window.__x=1%3E"))
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.evaluate("window.__x") is None


def test_no_pairs_and_a_broken_pairs_file(page: Page, served: Served):
    served.settings.pairs_file.unlink()
    try:
        to_models(page, served.url)
        expect(page.locator("#pair")).to_contain_text("No model pair is registered yet.")
        expect(page.get_by_role("button", name="Start measuring")).to_be_disabled()
        served.settings.pairs_file.write_text("pairs: [")
        expect(page.locator("#pair").get_by_role("alert")).to_contain_text("not valid YAML", timeout=15_000)
        served.settings.pairs_file.unlink()
    finally:
        write_default_pairs(served.settings)
    expect(page.locator('input[name="pair"][value="demo"]')).to_be_checked(timeout=15_000)
    expect(page.get_by_role("button", name="Start measuring")).to_be_enabled()
