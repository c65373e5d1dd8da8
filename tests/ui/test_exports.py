"""The downloads and the comparison, without a browser."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

from tests.browser.scripted import ScriptedWorker
from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import Match
from wfgy_triage.errors import InputError
from wfgy_triage.report.export.formats import FORMATS
from wfgy_triage.report.export.session_file import content_hash
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import Settings
from wfgy_triage.ui.compare import comparison
from wfgy_triage.ui.context import PageContext
from wfgy_triage.ui.exports import export_menu
from wfgy_triage.ui.sessions import ListQuery, sessions_page


@pytest.fixture
def context(settings: Settings, service: TriageService) -> PageContext:
    return PageContext(
        settings, service, load_catalog(), frozenset({"json_breaks"}), lambda symptom, path: {},
        lambda text: Match("none", {}),
    )  # fmt: skip


def test_every_format_is_a_download_with_closed_headers(client: TestClient, worker: ScriptedWorker):
    run_id = worker.finished_run()
    for form in FORMATS.values():
        answer = client.get(f"/sessions/{run_id}/export/{form.id}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(form.media_type)
        disposition = answer.headers["content-disposition"]
        assert disposition == f'attachment; filename="json_breaks-{run_id}{form.suffix}"'
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_texts_are_left_out_on_request(client: TestClient, worker: ScriptedWorker):
    run_id = worker.finished_run()
    full = client.get(f"/sessions/{run_id}/export/packet").json()
    bare = client.get(f"/sessions/{run_id}/export/packet?redact=1").json()
    assert full[0]["q"]
    assert len(bare) == len([p for p in full if "loses" in p["triage_notes"]])
    assert not any("q" in p or "a" in p for p in bare)


@pytest.mark.parametrize(
    "path",
    ["nope/export/html", "%2e%2e%2f%2e%2e/export/html", "RUN/export/pdf", "RUN/export/..%2fhtml", "RUN'--/export/html",
     "a" * 200 + "/export/html", "QUEUED/export/html"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(client: TestClient, worker: ScriptedWorker, path: str):
    ids = {"RUN": worker.finished_run(), "QUEUED": worker.queue()}
    for name, run_id in ids.items():
        path = path.replace(name, run_id)
    answer = client.get(f"/sessions/{path}")
    assert answer.status_code == 404
    assert "content-disposition" not in answer.headers


def test_the_menu_offers_every_format_with_and_without_texts():
    html = export_menu("abc")
    for form in FORMATS.values():
        if len(form.languages) == 1:
            assert f'href="./sessions/abc/export/{form.id}"' in html
            assert f'href="./sessions/abc/export/{form.id}?redact=1"' in html


def test_only_sessions_with_a_verdict_can_be_chosen(context: PageContext, worker: ScriptedWorker):
    done, waiting = worker.finished_run(), worker.queue()
    html = sessions_page(context, ListQuery())
    assert f'data-compare value="{done}"' in html
    assert f'data-compare value="{waiting}"' not in html


def test_imported_sessions_say_so_and_give_no_estimate(context: PageContext, worker: ScriptedWorker):
    run_id = worker.finished_run()
    data = json.loads(context.service.export(run_id, "session").text)
    estimate = context.estimate("json_breaks", ["demo"], 20)
    data["content"]["session"]["timings"]["total"] = 9e6
    data["sha256"] = content_hash(data["content"])
    assert context.service.import_session(json.dumps(data).encode()).new
    assert ">imported<" in sessions_page(context, ListQuery())
    assert context.estimate("json_breaks", ["demo"], 20) == estimate


def test_the_comparison_is_there_before_its_metrics_are_paired(context: PageContext, worker: ScriptedWorker):
    first, second = worker.finished_run(), worker.finished_run(pair="second")
    html = comparison(context, f"{first},{second}", pair=False)
    assert "being paired question by question" in html
    assert f'href="./runs?compare={second},{first}"' in html


@pytest.mark.parametrize("asked", ["x", "a,b,c", ",", "../x,y", "nope,nada", "RUN,RUN"])
def test_an_address_that_names_no_two_sessions_is_explained(
    context: PageContext, worker: ScriptedWorker, asked: str
):
    with pytest.raises(InputError) as caught:
        comparison(context, asked.replace("RUN", worker.finished_run()), pair=False)
    assert caught.value.hint
