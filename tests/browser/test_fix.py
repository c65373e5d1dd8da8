"""Step 5 and the live view of trials, in the browser; a scripted worker plays the models."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, pick, run_in_address, sideways_overflow, to_models
from tests.browser.scripted import ScriptedWorker
from tests.browser.scripted_trials import NONE_HELPED, RENDERS, VERIFIED, run_with_trials, try_change
from wfgy_triage.result import State


def to_fix(page: Page, served: Served, run_id: str) -> None:
    open_page(page, served.run_url(run_id))
    page.locator("#to-fix").click()
    expect(page.locator("#fix-word")).to_be_visible()


def test_from_the_recommendation_to_its_file_and_the_check_again(
    page: Page, served: Served, worker: ScriptedWorker
):
    first = run_with_trials(worker, VERIFIED)
    to_fix(page, served, first)
    fix, files, rest = (page.locator(i) for i in ("#fix", "#files", "#fix-rest"))
    expect(fix.get_by_text("Verified", exact=True)).to_be_visible()
    expect(fix.get_by_role("heading", name="Hold decoding to the schema")).to_be_visible()
    expect(fix.locator(".moved")).to_contain_text(re.compile(r"73\.7 %.*99\.5 %"))
    expect(page.locator("#plot-before-after .point")).to_have_count(3)

    expect(files.locator("pre:visible")).to_have_text(RENDERS["sampler_preset"].strip())
    pick(page, "file-tab", "config_json")
    expect(files.locator("pre:visible ins")).to_contain_text("100000.0")
    with page.expect_download() as download:
        files.get_by_role("link", name="Download").locator("visible=true").click()
    assert download.value.suggested_filename == "config.json"
    assert download.value.path().read_text() == RENDERS["config_json"]

    rest.get_by_text("3 other changes").click()
    expect(rest.get_by_text("It brings back 0 of 5 lost answers")).to_be_visible()
    rest.get_by_text("Read the answers with the change").click()
    expect(rest.locator(".three").first).to_contain_text("With the change")

    page.get_by_role("button", name="I have applied it: check again").click()
    page.wait_for_url(lambda url: "run=" in url and first not in url)
    spec = worker.runs.get(run_in_address(page)).spec
    assert spec.options == {"recheck_of": first}
    assert (spec.symptom, spec.pair_id, spec.questions) == ("json_breaks", "demo", 20)


def test_a_check_after_a_change_is_held_against_the_run_before(
    page: Page, served: Served, worker: ScriptedWorker
):
    first = worker.finished_run()
    effect = VERIFIED[3].to_json()["effect"]
    recheck = {"run_id": first, "created_at": "2026-11-23T07:41:00+00:00", "state_before": "FAIL", "effect": effect,
               "same_files": False}  # fmt: skip
    open_page(page, served.run_url(run_with_trials(worker, VERIFIED, recheck=recheck)))
    line = page.locator("#recheck")
    expect(line).to_contain_text("on 20 questions that both runs asked")
    line.get_by_role("link").click()
    page.wait_for_url(f"**/?run={first}")
    expect(page.locator("#recheck")).to_be_hidden()


def test_none_helped_is_a_finding(page: Page, served: Served, worker: ScriptedWorker):
    to_fix(page, served, run_with_trials(worker, NONE_HELPED))
    fix = page.locator("#fix")
    expect(fix).to_contain_text("None of the 3 changes that were tried helped measurably.")
    expect(fix).to_contain_text("Another format (EXL3 or GGUF)")
    expect(page.locator("#files")).to_be_hidden()
    expect(page.locator("#plot-before-after .point")).to_have_count(4)
    expect(page.get_by_role("button", name="I have changed something: check again")).to_be_visible()


def test_trials_are_shown_while_they_run(page: Page, served: Served, worker: ScriptedWorker):
    run_id = worker.queue()
    worker.lease(run_id)
    worker.answers(run_id, 20)
    try_change(worker, run_id, VERIFIED[0])
    try_change(worker, run_id, VERIFIED[2], told=False)
    open_page(page, served.run_url(run_id))
    expect(page.locator("#live")).to_contain_text("Now changes are tried, one at a time.")
    trying = page.locator("#so-far .trying")
    expect(trying).to_contain_text("Given up early")
    expect(trying).to_contain_text(re.compile(r"Trying now\s*Vote over 3 continuations\s*6 of 20 done"))
    expect(page.locator("#so-far")).to_contain_text("EXL2: 14 of 19 valid")
    worker.finish(run_id, State.FAIL)
    expect(page.locator("#verdict")).to_contain_text("EXL2 breaks the schema")


def test_trying_changes_can_be_switched_off_before_the_start(
    page: Page, served: Served, worker: ScriptedWorker
):
    to_models(page, served.url)
    expect(page.locator("#plan")).to_contain_text("for up to 3 minutes more")
    pick(page, "trials", "off")
    expect(page.locator("#plan")).to_contain_text("No change is tried")
    page.get_by_role("button", name="Start measuring").click()
    assert worker.runs.get(run_in_address(page)).spec.options == {"fix": "no"}


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_and_width(browser: Browser, served: Served, worker: ScriptedWorker, theme: str, width: int):
    page = browser.new_context(
        color_scheme=theme, reduced_motion="reduce", viewport={"width": width, "height": 844}
    ).new_page()
    faults: dict[str, list[str]] = {}
    widths: dict[str, int] = {}
    for name, trials in (("verified", VERIFIED), ("better", VERIFIED[:3]), ("none", NONE_HELPED)):
        to_fix(page, served, run_with_trials(worker, trials))
        expect(page.locator("#plot-before-after .point").first).to_be_visible()
        page.evaluate("document.querySelectorAll('#fix-rest details').forEach(d => { d.open = true; })")
        faults[name], widths[name] = axe_faults(page, "#step5"), sideways_overflow(page)
    page.context.close()
    assert {step: found for step, found in faults.items() if found} == {}
    assert {step: found for step, found in widths.items() if found > 0} == {}
