"""Pages and files without a script in the reader's language: by the address, else as the browser asks."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.browser.scripted import ScriptedWorker
from tests.report.test_export_chinese import english_left
from wfgy_triage.report.export.formats import FORMATS
from wfgy_triage.runs.service import TriageService
from wfgy_triage.ui.exports import export_menu

CHINESE = {"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"}
GERMAN = {"accept-language": "de-DE,de;q=0.9"}


@pytest.mark.parametrize(
    ("headers", "query", "lang", "other"),
    [
        ({}, "", "en", "zh"),
        (GERMAN, "", "en", "zh"),
        (CHINESE, "", "zh-Hans", "en"),
        (CHINESE, "?language=en", "en", "zh"),
        (GERMAN, "?language=zh", "zh-Hans", "en"),
        (CHINESE, "?language=fr", "zh-Hans", "en"),
    ],
)
def test_a_shared_page_and_a_dead_link_speak_the_reader_s_language(
    client: TestClient, worker: ScriptedWorker, service: TriageService, headers, query, lang, other
):
    _, token = service.share(worker.finished_run(), 7)
    for path, status in ((token, 200), ("A" * 43, 404)):
        found = client.get(f"/s/{path}{query}", headers=headers)
        assert found.status_code == status
        assert f'<html lang="{lang}">' in found.text
        assert f'href="?language={other}"' in found.text
        assert "Accept-Language" in found.headers["vary"]
        assert found.headers["cache-control"] == "no-store"
        assert found.headers["x-robots-tag"] == "noindex, nofollow"
        assert "<script" not in found.text
        assert (english_left(found.text) == []) is (lang == "zh-Hans")
        assert token not in found.text


def test_a_dead_link_tells_no_more_in_chinese(
    client: TestClient, worker: ScriptedWorker, service: TriageService
):
    run_id = worker.finished_run()
    share, token = service.share(run_id, 7)
    service.revoke(run_id, share.id)
    old, wrong = (client.get(f"/s/{t}", headers=CHINESE) for t in (token, "A" * 43))
    assert (old.status_code, old.text, old.headers.items()) == (
        wrong.status_code,
        wrong.text,
        wrong.headers.items(),
    )


def test_the_report_is_downloaded_in_the_language_that_is_asked_for(
    client: TestClient, worker: ScriptedWorker
):
    run_id = worker.finished_run()
    english = client.get(f"/sessions/{run_id}/export/html", headers=CHINESE)
    assert '<html lang="en">' in english.text  # a file is what its link says, whoever follows it
    found = client.get(f"/sessions/{run_id}/export/html?language=zh&redact=1")
    assert found.status_code == 200
    assert found.headers["content-disposition"].endswith(f'json_breaks-{run_id}-redacted-zh.html"')
    assert english_left(found.text) == []
    assert 'class="language"' not in found.text  # from disk there is no other page to go to


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("html?language=fr", "no language 'fr'"),
        ("html?language=", "no language ''"),
        ("csv?language=zh", "English only"),
    ],
)
def test_a_language_that_a_format_does_not_have_is_refused(
    client: TestClient, worker: ScriptedWorker, query: str, said: str
):
    answer = client.get(f"/sessions/{worker.finished_run()}/export/{query}")
    assert answer.status_code == 404
    assert said in answer.text
    assert "content-disposition" not in answer.headers


def test_the_menu_offers_every_language_of_a_format():
    html = export_menu("abc")
    for form in FORMATS.values():
        for language in form.languages if len(form.languages) > 1 else ():
            assert f'href="./sessions/abc/export/{form.id}?language={language}"' in html
            assert f'href="./sessions/abc/export/{form.id}?language={language}&amp;redact=1"' in html
    assert ">中文</a>" in html
