"""The page behind a proxy that serves it below a path of another site, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, serve
from tests.browser.pages import open_page
from tests.browser.proxy import Proxy
from tests.browser.scripted import ScriptedWorker

PREFIX = "/tools/triage"


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Proxy]]:
    home = tmp_path_factory.mktemp("behind")
    with serve(home, WFGY_TRIAGE_ROOT_PATH=PREFIX) as served, Proxy(served.url, PREFIX).running() as proxy:
        yield served, proxy


def test_page_list_session_download_and_shared_link_stay_below_the_path(
    page: Page, behind: tuple[Served, Proxy]
):
    served, proxy = behind
    worker = ScriptedWorker(served.settings)
    run_id = worker.finished_run()
    answers: list[tuple[str, int]] = []
    page.on("response", lambda r: answers.append((r.url, r.status)))

    open_page(page, proxy.url)  # without the slash at the end, as people type it
    assert page.url == f"{proxy.url}/"
    page.get_by_role("link", name="Sessions").first.click()
    expect(page).to_have_url(f"{proxy.url}/runs")
    row = page.locator("table.sessions tbody tr").first
    expect(row).to_be_visible()
    row.get_by_role("link").first.click()
    expect(page).to_have_url(f"{proxy.url}/?run={run_id}")
    expect(page.get_by_text("EXL2 breaks the schema in 6 of 20 answers").first).to_be_visible()

    page.locator("details.export summary").click()
    with page.expect_download() as download:
        page.locator("details.export a.full").first.click()
    assert download.value.url.startswith(f"{proxy.url}/sessions/{run_id}/export/")

    page.get_by_role("button", name="Make a link").click()
    link = page.locator("#share-link pre")
    expect(link).to_contain_text("/s/")
    shown = link.inner_text()
    assert shown.startswith(f"{proxy.url}/s/")
    opened = page.request.get(shown)
    assert opened.ok
    assert "EXL2 breaks the schema" in opened.text()

    for path in ("/", "/runs", "/healthz"):
        headers = page.request.get(f"{proxy.url}{path}").headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
    assert [(url, status) for url, status in answers if status >= 400] == []
    assert proxy.strays == []
    worker.database.close()


def test_a_proxy_that_leaves_the_path_on_is_understood_too(page: Page, behind: tuple[Served, Proxy]):
    served, _ = behind
    open_page(page, f"{served.url}{PREFIX}/")
    page.get_by_role("link", name="Sessions").first.click()
    expect(page).to_have_url(f"{served.url}{PREFIX}/runs")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
