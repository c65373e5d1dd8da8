"""A user's own questions on step 2, and the verdict page of the citation probe."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, pick, run_in_address, sideways_overflow
from tests.browser.scripted import WORKER, ScriptedWorker, sample_result
from tests.probes.desk import Desk
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.citations_missing import PROBE
from wfgy_triage.result import State
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.store.records import RunSpec, RunStatus
from wfgy_triage.workload.citations import RECORD, load_citations, marked, record

TEMPLATES = REPO_ROOT / "assets" / "templates"


def to_own_questions(page: Page, url: str) -> None:
    open_page(page, url)
    pick(page, "symptom", "citations_missing")
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("Ask your own questions instead").click()


def give(page: Page, name: str, text: str | None = None) -> None:
    file = {
        "name": name,
        "mimeType": "text/plain",
        "buffer": (text or (TEMPLATES / name).read_text()).encode(),
    }
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose question files").click()
    chooser.value.set_files([file])


def test_own_questions_are_read_summed_up_and_asked(page: Page, served: Served, worker: ScriptedWorker):
    to_own_questions(page, served.url)
    give(page, "questions.csv")
    note = page.locator("#upload-note")
    expect(note).to_contain_text("Your own questions are used: “questions”, 3 questions.")
    expect(note).to_contain_text("What deposit does the night desk take for a key?")
    expect(page.locator("#plan")).to_contain_text("FP16 answers 3 questions.")
    assert axe_faults(page, "#step2") == []
    assert sideways_overflow(page) <= 0
    page.get_by_role("button", name="Use the built-in questions").click()
    expect(note).to_be_empty()
    expect(page.locator("#plan")).to_contain_text("FP16 answers 20 questions.")
    give(page, "questions.csv")
    expect(page.locator("#plan")).to_contain_text("FP16 answers 3 questions.")
    page.get_by_role("button", name="Start measuring").click()
    spec = worker.runs.get(run_in_address(page)).spec
    assert (served.settings.home / "workloads" / f"{spec.workload_id}.json").is_file()


def test_every_problem_of_a_file_is_listed_and_none_of_it_is_used(page: Page, served: Served):
    to_own_questions(page, served.url)
    give(page, "wrong.csv", "question,answer,context\nHow many?,8,The box holds 7 pens.\nHow?,,<b>x</b>\n")
    note = page.locator("#upload-note")
    expect(note).to_contain_text("wrong.csv, line 2: the answer '8' stands in no sentence of the section")
    expect(note.get_by_role("alert")).to_be_visible()
    expect(note).to_contain_text("wrong.csv, line 3: 'answer' is missing.")
    expect(page.locator("#plan")).to_contain_text("FP16 answers 20 questions.")
    give(page, "records.jsonl")
    expect(note).to_contain_text("the chosen symptom needs questions about texts")


@pytest.mark.parametrize("name", ["questions.csv", "questions.md", "questions.jsonl", "records.jsonl"])
def test_templates_can_be_downloaded(page: Page, served: Served, name: str):
    to_own_questions(page, served.url)
    with page.expect_download() as download:
        page.get_by_role("link", name=name).click()
    assert download.value.suggested_filename == name
    assert download.value.path().read_text() == (TEMPLATES / name).read_text()


def finished_run(worker: ScriptedWorker) -> str:
    """A run of the real probe on scripted engines: EXL2 keeps the sentences and loses the citations of ten."""
    tasks = load_citations().tasks
    right = {t.question.id: marked(t.question.evidence[0], t.gold) for t in tasks}
    right |= {
        t.question.id + RECORD: record(t.gold, t.question.section, t.question.evidence[0]) for t in tasks
    }
    bare = {t.question.id: t.question.evidence[0] for t in tasks[:10]}
    desk = Desk(PROBE, right, right | bare, ProbeSettings(20))
    desk.run()
    found = desk.evaluate()
    run_id = worker.runs.create(RunSpec("citations_missing", "demo")).id
    worker.lease(run_id)
    worker.runs.add_samples(run_id, list(desk.samples.values()))
    result = replace(
        sample_result(run_id, State.FAIL),
        symptom="citations_missing",
        state=found.state,
        headline=found.headline,
        page_rule=found.page_rule,
        metrics=found.metrics,
        diagnosis=found.diagnosis,
        charts=found.charts,
    )
    assert worker.runs.finish(run_id, WORKER, RunStatus.DONE, result.to_json(), timings=result.timings)
    return run_id


def test_the_verdict_page_of_the_citation_probe(page: Page, served: Served, worker: ScriptedWorker):
    open_page(page, served.run_url(finished_run(worker)))
    verdict = page.locator("#verdict")
    expect(verdict.get_by_text("Fail", exact=True)).to_be_visible()
    expect(verdict).to_contain_text("a passage that was not supplied, in 10 of 20 answers; FP16 in 0.")
    expect(page.locator("#cause")).to_contain_text("this symptom as it is described")
    expect(page.locator("#metrics tr.primary")).to_contain_text("Citations that point at a supplied passage")
    expect(page.locator("#plot-places .point")).to_have_count(15)
    expect(page.locator("#plot-failures .point")).to_have_count(4)
    expect(page.locator("#answers .answer-row:visible")).to_have_count(40)
    assert axe_faults(page, "#step4") == []
    assert sideways_overflow(page) <= 0
