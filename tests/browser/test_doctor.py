"""The symptom without questions: its steps, its list, and changes to copy."""

from __future__ import annotations

from dataclasses import replace

from playwright.sync_api import Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, pick, run_in_address, sideways_overflow
from tests.browser.scripted import WORKER, ScriptedWorker, sample_result
from wfgy_triage.checks import load_checks
from wfgy_triage.doctor.finding import DOCTOR_SIDE, failed, passed, skipped, warned
from wfgy_triage.doctor.patches import environment_patch, json_patch
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.deploy_mismatch import PROBE
from wfgy_triage.result import State
from wfgy_triage.store.records import RunStatus, Sample, SampleKey

CHANGED = {
    "same_rope": failed(
        "same_rope", "rope_theta: FP16 5000, EXL2 none.", json_patch("config.json", {"rope_theta": 5e3})
    ),
    "attention_backend": warned("attention_backend", "no flash-attn", environment_patch("EXLLAMA_NO_SDPA=1")),
    "extension_imports": skipped("extension_imports", "There is no usable GPU."),
}
FINDINGS = [CHANGED.get(check) or passed(check, "As it should be.") for check in load_checks()]
SAMPLES = [Sample(SampleKey("deploy_mismatch", f.check, 0, 0, DOCTOR_SIDE), f.to_json()) for f in FINDINGS]


def finish(worker: ScriptedWorker, run_id: str) -> None:
    found = PROBE.evaluate(SAMPLES, (), ProbeSettings())
    result = replace(
        sample_result(run_id, found.state),
        symptom="deploy_mismatch",
        workload=PROBE.workload_info(ProbeSettings()),
        headline=found.headline,
        page_rule=found.page_rule,
        metrics=found.metrics,
        diagnosis=found.diagnosis,
        charts=found.charts,
    ).to_json()
    assert worker.runs.finish(run_id, WORKER, RunStatus.DONE, result, timings=result["timings"])


def test_the_doctors_way(page: Page, served: Served, worker: ScriptedWorker):
    open_page(page, served.url)
    pick(page, "symptom", "deploy_mismatch")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Which models are to be checked?")).to_be_visible()
    expect(page.locator("#questions")).to_be_hidden()
    expect(page.locator("#plan")).to_contain_text("No question is asked.")
    expect(page.locator("#plan")).not_to_contain_text("20 questions")

    page.get_by_role("button", name="Start measuring").click()
    run_id = run_in_address(page)
    worker.lease(run_id)
    expect(page.locator("#so-far")).to_contain_text("The first checks appear here")
    expect(page.locator("#live")).to_contain_text("The checks are being made.")
    worker.runs.add_samples(run_id, SAMPLES[:20])
    expect(page.locator("#so-far")).to_contain_text("1 failed")

    worker.runs.add_samples(run_id, SAMPLES[20:])
    finish(worker, run_id)
    verdict, doctor = page.locator("#verdict"), page.locator("#doctor")
    expect(verdict.get_by_text(State.FAIL.capitalize(), exact=True)).to_be_visible()
    expect(verdict).to_contain_text("One check failed")
    expect(verdict).not_to_contain_text("Noise floor")
    expect(page.locator("#cause")).to_contain_text("Position encoding is configured differently")
    urgent = doctor.locator(".doctor-urgent li")
    expect(urgent).to_have_count(2)
    expect(urgent.first).to_contain_text("EXL2 misjudges where words stand")
    expect(page.locator("#answers-block")).to_be_hidden()
    expect(page.locator("#more")).to_be_hidden()
    doctor.get_by_text("The two folders").click()
    expect(doctor.get_by_text("Same chat template")).to_be_visible()
    assert axe_faults(page) == []

    page.locator("#to-fix").click()
    expect(page.locator("#files")).to_contain_text("EXLLAMA_NO_SDPA=1")
    assert axe_faults(page) == []


def test_a_change_is_copied(page: Page, served: Served, worker: ScriptedWorker):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    run_id = finished(worker)
    open_page(page, served.run_url(run_id))
    button = page.locator("#doctor [data-copy]").first
    button.click()
    expect(button).to_have_text("Copied")
    assert '"rope_theta": 5000.0' in page.evaluate("navigator.clipboard.readText()")


def test_phone_width(page: Page, served: Served, worker: ScriptedWorker):
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, served.run_url(finished(worker)))
    expect(page.locator("#doctor")).to_contain_text("Every check")
    assert sideways_overflow(page) <= 0


def finished(worker: ScriptedWorker) -> str:
    run_id = worker.runs.create(replace(worker.runs.get(worker.queue()).spec, symptom="deploy_mismatch")).id
    worker.lease(run_id)
    worker.runs.add_samples(run_id, SAMPLES)
    finish(worker, run_id)
    return run_id
