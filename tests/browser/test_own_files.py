"""What a visitor brings: passages and an index, the settings of a probe, a file to change. A scripted worker plays."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Served
from tests.browser.pages import axe_faults, open_page, pick, run_in_address, sideways_overflow
from tests.browser.scripted import ScriptedWorker
from tests.browser.scripted_trials import run_with_trials, trial
from wfgy_triage.settings import REPO_ROOT

TEMPLATE = REPO_ROOT / "assets" / "templates" / "passages.jsonl"
CONFIG = b"# mine\r\nmodel:\r\n  max_seq_len: 4096\r\n  cache_mode:  FP16 # small\r\n"


def give(page: Page, button: str, name: str, data: bytes) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=button).click()
    chooser.value.set_files([{"name": name, "mimeType": "application/octet-stream", "buffer": data}])


def to_searches(page: Page, url: str) -> None:
    open_page(page, url)
    pick(page, "symptom", "wrong_snippet")
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("Search your own passages instead").click()
    page.get_by_text("Details for engineers").click()
    expect(page.get_by_label("Hidden layer")).to_be_visible()


def to_own_file(page: Page, served: Served, worker: ScriptedWorker) -> None:
    verified = trial(
        0, "schema_lock", "A smaller cache", "verified", 0.995, n=200, patch={"model.cache_mode": "Q8"}
    )
    open_page(page, served.run_url(run_with_trials(worker, (verified,))))
    page.locator("#to-fix").click()
    expect(page.get_by_role("heading", name="In your own file")).to_be_visible()


def an_index(tmp_path: Path) -> bytes:
    index = faiss.IndexFlatIP(16)
    index.add(np.random.default_rng(3).standard_normal((8, 16)).astype(np.float32))
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    return (tmp_path / "index.faiss").read_bytes()


def test_passages_index_and_settings_reach_the_run(
    page: Page, served: Served, worker: ScriptedWorker, tmp_path: Path
):
    to_searches(page, served.url)
    note = page.locator("#upload-note")
    give(page, "Choose passages", "mine.jsonl", b'{"id": "a"}\n')
    expect(note).to_contain_text("Line 1: text has to be a text")
    expect(note.get_by_role("alert")).to_be_visible()
    give(page, "Choose passages", "mine.jsonl", TEMPLATE.read_bytes())
    expect(note).to_contain_text("“mine.jsonl”, 8 passages, 8 questions")
    give(page, "Add a FAISS index", "bad.faiss", b"no index" * 10)
    expect(note).to_contain_text("bad.faiss is not a FAISS index.")
    expect(note).to_contain_text("“mine.jsonl”, 8 passages, 8 questions")
    give(page, "Add a FAISS index", "mine.faiss", an_index(tmp_path))
    expect(note).to_contain_text("Its vectors: mine.faiss.")

    k = page.get_by_label("Results looked at (k)")
    k.fill("50")
    page.get_by_role("button", name="Start measuring").click()
    expect(page.locator("#notice")).to_contain_text("k cannot be '50'. Give a whole number from 1 to 20.")
    k.fill("10")
    page.get_by_label("What is deployed").select_option("rebuilt")
    page.get_by_label("Hidden layer").fill("last")
    # The list of pairs is read anew every five seconds; what is being typed has to survive that.
    page.wait_for_timeout(5_500)
    expect(k).to_have_value("10")
    expect(page.get_by_label("Hidden layer")).to_have_value("last")
    page.get_by_role("button", name="Start measuring").click()
    spec = worker.runs.get(run_in_address(page)).spec
    assert spec.options == {"mode": "rebuilt", "k": "10", "layer": "last"}
    assert (served.settings.home / "workloads" / f"{spec.workload_id}.json").is_file()


def test_fields_follow_the_symptom(page: Page, served: Served):
    to_searches(page, served.url)
    page.get_by_label("Results looked at (k)").fill("10")
    page.get_by_role("tab", name="Symptom").click()
    pick(page, "symptom", "citations_missing")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_label("Difficulty")).to_be_visible()
    expect(page.get_by_label("Difficulty")).to_have_value("standard")
    expect(page.get_by_label("Results looked at (k)")).to_have_count(0)
    expect(page.get_by_text("Search your own passages instead")).to_be_hidden()
    page.get_by_role("tab", name="Symptom").click()
    pick(page, "symptom", "wrong_snippet")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_label("Results looked at (k)")).to_be_visible()
    expect(page.get_by_label("Results looked at (k)")).to_have_value("5")


def test_a_change_in_the_visitors_own_file(page: Page, served: Served, worker: ScriptedWorker):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    to_own_file(page, served, worker)
    shown = page.locator("#own-file-shown")
    give(page, "Choose your file", "mine.cfg", CONFIG)
    expect(shown.get_by_role("alert")).to_contain_text("does not say what kind of file it is")
    page.get_by_label("Kind of file").select_option("tabbyapi")
    give(page, "Choose your file", "mine.cfg", CONFIG)
    expect(shown.locator("pre:visible ins")).to_contain_text("cache_mode:  Q8 # small")
    new = CONFIG.replace(b"FP16", b"Q8")
    pick(page, "own-tab", "own-whole")
    with page.expect_download() as download:
        shown.get_by_role("link", name="Download").locator("visible=true").click()
    assert download.value.suggested_filename == "mine.cfg"
    assert download.value.path().read_bytes() == new
    shown.get_by_role("button", name="Copy mine.cfg", exact=True).click()
    expect(shown.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == new.decode()
    pick(page, "own-tab", "own-diff")
    with page.expect_download() as download:
        shown.get_by_role("link", name="Download").locator("visible=true").click()
    assert download.value.suggested_filename == "mine.cfg.diff"
    # What is given next is shown as the chosen tab says.
    pick(page, "own-tab", "own-whole")
    give(page, "Choose your file", "other.cfg", CONFIG + b"# more\n")
    expect(shown.locator("pre:visible")).to_contain_text("# more")
    expect(shown.locator("input[name=own-tab]:checked")).to_have_value("own-whole")
    expect(shown.locator("pre:visible ins")).to_have_count(0)
    left = [f for f in (served.settings.home / "gradio").rglob("*") if f.is_file() and f.stat().st_size]
    assert not [f for f in left if b"cache_mode" in f.read_bytes()]


def test_without_a_recommendation_there_is_no_block(page: Page, served: Served, worker: ScriptedWorker):
    open_page(page, served.run_url(worker.finished_run()))
    page.locator("#to-fix").click()
    expect(page.locator("#fix-rest")).to_contain_text("Logic Collapse")
    expect(page.locator("#own-file")).to_be_hidden()


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_and_width(browser: Browser, served: Served, worker: ScriptedWorker, theme: str, width: int):
    page = browser.new_context(
        color_scheme=theme, reduced_motion="reduce", viewport={"width": width, "height": 844}
    ).new_page()
    faults: dict[str, list[str]] = {}
    widths: dict[str, int] = {}
    to_searches(page, served.url)
    give(page, "Choose passages", "mine.jsonl", TEMPLATE.read_bytes())
    expect(page.locator("#upload-note")).to_contain_text("8 passages")
    faults["models"], widths["models"] = axe_faults(page, "#step2"), sideways_overflow(page)
    to_own_file(page, served, worker)
    give(page, "Choose your file", "config.yml", CONFIG)
    expect(page.locator("#own-file-shown ins")).to_be_visible()
    faults["fix"], widths["fix"] = axe_faults(page, "#step5"), sideways_overflow(page)
    page.context.close()
    assert {step: found for step, found in faults.items() if found} == {}
    assert {step: found for step, found in widths.items() if found > 0} == {}
