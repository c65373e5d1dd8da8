"""Programs over HTTP: Gradio's own client against a served app, and the door in front of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.browser.scripted import ScriptedWorker
from tests.programs.conftest import CALLS, Door, bearer
from wfgy_triage.catalog import validate_result
from wfgy_triage.result import State
from wfgy_triage.store.records import RunStatus


@pytest.fixture(scope="module")
def client(door: Door) -> Iterator[Client]:
    opened = Client(door.api, headers=bearer(door.operator), verbose=False, analytics_enabled=False)
    yield opened
    opened.close()


def asked(
    url: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer, whatever the status."""
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own address
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_probe_from_complaint_to_result(client: Client, worker: ScriptedWorker):
    symptom = client.predict("my JSON breaks", api_name="/match_complaint")["symptom"]
    assert symptom in {s["id"] for s in client.predict(api_name="/list_symptoms")}
    ready = [p["id"] for p in client.predict(api_name="/list_pairs") if p["ready"]]
    assert ready == ["demo", "second", "untried"]

    begun = client.predict(symptom, ready[0], api_name="/start_probe")
    run_id = begun["run_id"]
    assert (begun["status"], begun["queue_position"], begun["result"]) == ("queued", 0, None)
    worker.lease(run_id)
    worker.answers(run_id, 7, ("fp16",))
    going = client.predict(run_id, api_name="/get_result")
    assert (going["status"], going["state"], going["stage"]["done"]) == ("running", None, 7)

    worker.finish(run_id, State.FAIL)
    ended = client.predict(run_id, api_name="/get_result")
    assert (ended["status"], ended["state"], ended["stage"]) == ("done", "FAIL", None)
    validate_result(ended["result"])
    assert ended["result"]["run_id"] == run_id
    assert ended["result"]["charts"]["rates"]
    assert client.predict(run_id, False, api_name="/get_result")["result"]["charts"] == {}


def test_the_same_key_starts_one_run(client: Client, worker: ScriptedWorker):
    once, again = (
        client.predict("json_breaks", "demo", start_key="build-7", api_name="/start_probe") for _ in "ab"
    )
    assert once["run_id"] == again["run_id"]
    with pytest.raises(AppError, match="another kind before"):
        client.predict("json_breaks", "second", start_key="build-7", api_name="/start_probe")


def test_a_run_is_cancelled(client: Client, worker: ScriptedWorker):
    run_id = client.predict("json_breaks", "demo", api_name="/start_probe")["run_id"]
    assert client.predict(run_id, api_name="/cancel_run")["status"] == "cancelled"
    assert client.predict(run_id, api_name="/get_result")["status"] == "cancelled"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"symptom": "nope"}, "no symptom with the id 'nope'"),
        ({"symptom": ["json_breaks"]}, "symptom must be a text"),
        ({"pair": "nope"}, "no model pair with the id 'nope'"),
        ({"pair": "../../etc"}, "no model pair"),
        ({"pair": "later"}, "folders are not complete"),
        ({"questions": 0}, "between 1 and 200"),
        ({"questions": "many"}, "questions must be a whole number"),
        ({"questions": True}, "questions must be a whole number"),
        ({"seed": -1}, "out of range"),
        ({"workload": "/etc/passwd"}, "question set"),
        ({"options": {"chunks": "/etc/passwd"}}, "no setting 'chunks'"),
        ({"options": "level=hard"}, "options must be an object"),
        ({"fix_seconds": 10**6}, "fix_seconds cannot be"),
        ({"symptom": "citations_missing", "options": {"level": "harder"}}, "level cannot be"),
        ({"symptom": "x" * 5000}, "symptom is too long"),
    ],
)
def test_what_cannot_be_asked_is_said(
    client: Client, worker: ScriptedWorker, given: dict[str, Any], said: str
):
    with pytest.raises(AppError, match=said) as caught:
        client.predict(**{"symptom": "json_breaks", "pair": "demo", **given}, api_name="/start_probe")
    assert "Traceback" not in str(caught.value)
    assert worker.runs.count(status=RunStatus.QUEUED) == 0


@pytest.mark.parametrize("run_id", ["0000000000", "../etc", "x" * 200, 7])
def test_an_unknown_session(client: Client, run_id: Any):
    with pytest.raises(AppError, match="session|run_id"):
        client.predict(run_id, api_name="/get_result")


def test_a_text_that_is_too_long_for_the_matcher(client: Client):
    with pytest.raises(AppError, match="3,000 characters"):
        client.predict("words " * 500, api_name="/match_complaint")


def test_one_program_cannot_fill_the_queue(client: Client, worker: ScriptedWorker):
    started = [client.predict("json_breaks", "demo", api_name="/start_probe")["run_id"] for _ in range(3)]
    with pytest.raises(AppError, match="3 of your runs are waiting"):
        client.predict("json_breaks", "demo", api_name="/start_probe")
    client.predict(started[0], api_name="/cancel_run")
    assert client.predict("json_breaks", "demo", api_name="/start_probe")["status"] == "queued"


def test_a_viewer_reads_and_starts_nothing(door: Door, worker: ScriptedWorker):
    viewer = Client(door.api, headers=bearer(door.viewer), verbose=False, analytics_enabled=False)
    run_id = worker.finished_run()
    assert viewer.predict(run_id, api_name="/get_result")["state"] == "FAIL"
    with pytest.raises(AppError, match="“dashboard” may read"):
        viewer.predict("json_breaks", "demo", api_name="/start_probe")
    with pytest.raises(AppError, match="“dashboard” may read"):
        viewer.predict(run_id, api_name="/cancel_run")
    viewer.close()


def test_exactly_the_calls_are_there(client: Client):
    described = client.view_api(return_format="dict")
    assert list(described["named_endpoints"]) == [f"/{name}" for name in CALLS]
    assert described["unnamed_endpoints"] == {}
    for name in CALLS:
        parameters = described["named_endpoints"][f"/{name}"]["parameters"]
        assert not {"request", "caller"} & {p["parameter_name"] for p in parameters}


@pytest.mark.parametrize("headers", [{}, bearer("wfgy_wrong"), {"Authorization": "Basic Y2k6Y2k="}])
@pytest.mark.parametrize("path", ["/config", "/gradio_api/info", "/gradio_api/call/list_pairs", "/mcp"])
def test_nothing_without_a_token(door: Door, path: str, headers: dict[str, str]):
    data = b'{"data": []}' if "call" in path or path == "/mcp" else None
    status, said = asked(f"{door.api}{path}", data, headers)
    assert status == 401
    assert said["error"]["hint"]


@pytest.mark.parametrize(
    "path",
    ["", "/", "/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/gradio_api/run/list_pairs", "/docs",
     "/gradio_api/proxy=http://localhost/", "/gradio_api/openapi.json", "/theme.css", "/gradio_api/mcp/"],
)  # fmt: skip
def test_what_programs_do_not_need_is_closed(door: Door, path: str):
    assert asked(f"{door.api}{path}", headers=bearer(door.operator))[0] == 404


def test_a_request_that_is_too_long_is_refused(door: Door):
    data = json.dumps({"data": ["x" * 400_000]}).encode()
    status, said = asked(f"{door.api}/gradio_api/call/match_complaint", data, bearer(door.operator))
    assert (status, said["error"]["message"]) == (413, "This request is too long.")


def test_another_sites_page_may_not_ask(door: Door):
    headers = {**bearer(door.operator), "Origin": "https://example.org"}
    assert asked(f"{door.api}/config", headers=headers)[0] == 403


def test_a_token_that_is_taken_out_closes_at_once(door: Door):
    kept = door.tokens.read_text()
    assert asked(f"{door.api}/config", headers=bearer(door.viewer))[0] == 200
    try:
        door.tokens.write_text("".join(line for line in kept.splitlines(True) if "dashboard" not in line))
        assert asked(f"{door.api}/config", headers=bearer(door.viewer))[0] == 401
        assert asked(f"{door.api}/config", headers=bearer(door.operator))[0] == 200
    finally:
        door.tokens.write_text(kept)


def test_the_pages_handlers_stay_private(door: Door):
    _, described = asked(f"{door.served.url}/gradio_api/info")
    assert described == {"named_endpoints": {}, "unnamed_endpoints": {}}
