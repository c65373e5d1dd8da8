"""What a monitoring system asks: `/readyz`, and `/metrics` where that is switched on.

The numbers are read from the store at each question, so that they are right after a restart and the same from every
web process; only HTTP requests are counted here. No label holds anything that a visitor wrote.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterator

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wfgy_triage import __version__
from wfgy_triage.errors import TriageError
from wfgy_triage.hosting import Hosting
from wfgy_triage.runs.service import WORKER_SILENT_S, TriageService
from wfgy_triage.store.figures import Figures, read_figures

PREFIX = "wfgy_triage"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_STORE = {"cache-control": "no-store"}


def add_monitoring(app: FastAPI, service: TriageService, hosting: Hosting) -> None:
    """Serve `/readyz`; and `/metrics` where the installation wants it."""

    @app.api_route("/readyz", methods=["GET", "HEAD"], response_class=PlainTextResponse)
    def readyz() -> Response:
        """Say whether runs would be measured now: the database answers and a worker is alive."""
        try:
            alive = service.worker_alive()
        except TriageError:
            return _said("The database cannot be used.", 503)
        return _said("ready", 200) if alive else _said("No worker process is alive.", 503)

    if not hosting.metrics:
        return
    requests: Counter[tuple[str, str]] = Counter()
    app.add_middleware(RequestCounter, counts=requests)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(service, requests))

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics(request: Request) -> Response:
        """Give the numbers in Prometheus' text form."""
        if not _may_ask(request, hosting.metrics_token):
            return Response(status_code=401, headers={"www-authenticate": "Bearer", **_NO_STORE})
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=kind, headers=_NO_STORE)


class RequestCounter:
    """Counts the HTTP requests that pass through, by method and class of the answer's status.

    Args:
        app: the application inside.
        counts: where they are counted.
    """

    def __init__(self, app: ASGIApp, counts: Counter[tuple[str, str]]) -> None:
        self.app = app
        self.counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count it when its answer starts."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.counts[method, f"{message['status'] // 100}xx"] += 1
            await send(message)

        await self.app(scope, receive, counting)


class StoreCollector:
    """Reads the store whenever the numbers are asked for.

    Args:
        service: whose store it is.
        requests: the HTTP requests of this process, by method and class of status.
    """

    def __init__(self, service: TriageService, requests: Counter[tuple[str, str]]) -> None:
        self._service = service
        self._requests = requests

    def collect(self) -> Iterator[Metric]:
        """Give the numbers; of a store that cannot be read, only that."""
        yield InfoMetricFamily(f"{PREFIX}_build", "The program.", {"version": __version__})
        requests = CounterMetricFamily(
            f"{PREFIX}_http_requests", "HTTP requests of this web process.", labels=("method", "status")
        )
        for (method, status), count in sorted(self._requests.items()):
            requests.add_metric((method, status), count)
        yield requests
        try:
            figures = read_figures(self._service.database, WORKER_SILENT_S)
        except TriageError:
            yield _gauge("store_up", "Whether the session database could be read.", 0)
            return
        yield _gauge("store_up", "Whether the session database could be read.", 1)
        yield from _of_the_store(figures)


def _of_the_store(figures: Figures) -> Iterator[Metric]:
    runs = GaugeMetricFamily(
        f"{PREFIX}_sessions", "Recorded sessions.", labels=("status", "symptom", "verdict")
    )
    for group in figures.runs:
        runs.add_metric((group.status, group.symptom, group.state or "none"), group.count)
    yield runs
    stages = GaugeMetricFamily(
        f"{PREFIX}_stage_seconds", "Seconds that recorded sessions spent, by stage.", labels=("stage",)
    )
    for name, seconds in figures.stage_seconds.items():
        stages.add_metric((name,), seconds)
    yield stages
    yield _gauge("queue_length", "Runs that wait.", figures.waiting)
    yield _gauge(
        "oldest_waiting_seconds", "How long the first in the queue has waited.", figures.oldest_waiting_s
    )
    yield _gauge("workers_alive", "Worker processes with a sign of life.", figures.workers)
    yield _gauge("measurements", "Stored measurements.", figures.samples)
    yield _gauge("cached_answers", "FP16 answers kept for later runs.", figures.cached_answers)
    yield _gauge("open_links", "Read-only links that open.", figures.open_links)


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", about, value=value)


def _may_ask(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "")
    return not token or hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


def _said(text: str, status: int) -> PlainTextResponse:
    return PlainTextResponse(text, status_code=status, headers=_NO_STORE)
