"""What a monitoring system gets: readiness, and numbers only where the installation wants them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tests.browser.scripted import ScriptedWorker
from wfgy_triage.runs.service import TriageService
from wfgy_triage.settings import Settings
from wfgy_triage.ui.app import build_app

TOKEN = "0123456789abcdef0123"  # noqa: S105 - of no service
PRIVATE = "How old was the patient Sample?"


@pytest.fixture
def serve(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TestClient]]:
    with ExitStack() as stack:

        def served(**variables: str) -> TestClient:
            for name, value in variables.items():
                monkeypatch.setenv(f"WFGY_TRIAGE_{name}", value)
            service = TriageService(settings)
            stack.callback(service.close)
            return TestClient(build_app(settings, service))

        yield served


def numbers(client: TestClient, **headers: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    return {
        (s.name.removeprefix("wfgy_triage_"), tuple(sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(answer.text)
        for s in family.samples
    }


def spoil(settings: Settings) -> None:
    """Take a table away that every question needs."""
    with closing(sqlite3.connect(settings.home / "triage.db")) as raw:
        raw.execute("DROP TABLE workers")
        raw.commit()


def test_ready_means_that_runs_would_be_measured(serve, settings):
    client = serve()
    assert client.get("/readyz").status_code == 503
    worker = ScriptedWorker(settings)
    worker.alive()
    assert (client.get("/readyz").text, client.head("/readyz").status_code) == ("ready", 200)
    worker.gone()
    assert client.get("/readyz").text == "No worker process is alive."
    worker.database.close()
    spoil(settings)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "The database cannot be used.")
    assert client.get("/healthz").status_code == 200, "the web process itself is well"


def test_no_numbers_unless_they_are_wanted(serve):
    assert "wfgy_triage_" not in serve().get("/metrics").text


def test_with_a_token_only_who_shows_it_gets_numbers(serve):
    client = serve(METRICS_TOKEN=TOKEN)
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": TOKEN},
        {"authorization": "Bearer é"},
    ):
        raw = {k: v.encode() for k, v in headers.items()}
        answer = client.get("/metrics", headers=raw)
        assert (answer.status_code, answer.text) == (401, "")
    assert numbers(client, authorization=f"Bearer {TOKEN}")[("store_up", ())] == 1


def test_the_numbers_are_those_of_the_store_also_after_a_restart(serve, settings):
    worker = ScriptedWorker(settings)
    worker.finished_run()
    run = worker.runs.create(worker.runs.get(worker.queue()).spec)
    worker.runs.add_event(run.id, "note", {"text": PRIVATE})
    worker.alive()
    for client in (serve(METRICS="1"), serve()):
        found = numbers(client)
        assert found["sessions", (("status", "done"), ("symptom", "json_breaks"), ("verdict", "FAIL"))] == 1
        assert found["sessions", (("status", "queued"), ("symptom", "json_breaks"), ("verdict", "none"))] == 2
        assert found["queue_length", ()] == 2
        assert found["workers_alive", ()] == 1
        assert found["measurements", ()] == 80
        assert found["oldest_waiting_seconds", ()] >= 0
        assert sum(v for (name, _), v in found.items() if name == "stage_seconds") > 0
    worker.gone()
    assert numbers(client)["workers_alive", ()] == 0
    assert PRIVATE not in client.get("/metrics").text
    worker.database.close()


def test_requests_are_counted_by_kinds_that_nobody_can_make_up(serve):
    client = serve(METRICS="1")
    client.get("/healthz")
    client.get("/s/nothing-such")
    client.request("BREW", "/healthz")
    found = {labels: v for (name, labels), v in numbers(client).items() if name == "http_requests_total"}
    assert found[(("method", "GET"), ("status", "2xx"))] == 1
    assert found[(("method", "GET"), ("status", "4xx"))] == 1
    assert found[(("method", "other"), ("status", "4xx"))] == 1


def test_numbers_say_when_the_store_cannot_be_read(serve, settings):
    client = serve(METRICS="1")
    spoil(settings)
    found = numbers(client)
    assert found["store_up", ()] == 0
    assert not any(name == "sessions" for name, _ in found)
