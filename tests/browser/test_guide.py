"""Fix in 60 seconds in the browser, from its card to the verdict; a scripted worker plays the models."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, pick, run_in_address, sideways_overflow
from tests.browser.scripted import WORKER, ScriptedWorker
from tests.guide_samples import guide_result
from wfgy_triage.result import Result
from wfgy_triage.store.records import RunSpec, RunStatus


def finish(worker: ScriptedWorker, run_id: str, result: Result) -> None:
    data = {**result.to_json(), "run_id": run_id}
    assert worker.runs.finish(run_id, WORKER, RunStatus.DONE, data, timings=data["timings"])


def finished(worker: ScriptedWorker, result: Result) -> str:
    run_id = worker.runs.create(RunSpec("sixty_seconds", "demo", questions=20)).id
    worker.lease(run_id)
    finish(worker, run_id, result)
    return run_id


def test_one_button_leads_from_the_card_to_the_verified_module(
    page: Page, served: Served, worker: ScriptedWorker
):
    open_page(page, served.url)
    pick(page, "symptom", "sixty_seconds")
    expect(page.locator("#symptom-detail")).to_contain_text("Four steps, one button")
    page.get_by_role("button", name="Continue").click()
    plan = page.locator("#plan")
    for text in ("Measure ΔS", "Probe λ_observe", "Apply the module", "Verify"):
        expect(plan).to_contain_text(text)
    page.locator("#start").click()
    run_id = run_in_address(page)
    worker.lease(run_id)
    worker.runs.add_event(run_id, "stage", {"name": "fp16_k", "label": "FP16", "done": 3, "total": 60})
    track = page.locator("#so-far .guide")
    expect(track.locator("li.tone-live")).to_contain_text("Probe λ_observe")
    assert axe_faults(page, "#so-far") == []

    finish(worker, run_id, guide_result())
    steps = page.locator("#verdict .guide-steps > li")
    expect(steps).to_have_count(4)
    expect(steps.nth(2)).to_contain_text("Recommended: State the contract first")
    expect(steps.nth(3)).to_contain_text("0 % → 100 %")
    expect(page.locator("#verdict .guide-clock")).to_contain_text("It took 1:35")
    page.locator("#to-fix").click()
    expect(page.locator("#fix").get_by_text("Verified", exact=True)).to_be_visible()


def test_the_track_is_readable_on_a_phone_and_by_screen_readers(
    browser: Browser, served: Served, worker: ScriptedWorker
):
    url = served.run_url(finished(worker, guide_result(helps=False)))
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
        page = context.new_page()
        open_page(page, url)
        expect(page.locator("#verdict .guide-steps > li").nth(2)).to_contain_text("None helped")
        assert sideways_overflow(page) <= 0
        assert axe_faults(page, "#verdict") == []
        context.close()
