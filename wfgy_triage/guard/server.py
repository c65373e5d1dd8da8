"""The guard as a server: the three paths of an OpenAI-compatible one, and the log behind them."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.routing import Route as Endpoint

from wfgy_triage.errors import InputError
from wfgy_triage.guard.alerts import LogAlerts, WebhookAlerts, asked_address, checked_webhook
from wfgy_triage.guard.checks import Embed, Guard
from wfgy_triage.guard.desk import Desk
from wfgy_triage.guard.policy import Mode, Route, load_policy
from wfgy_triage.guard.proxy import MAX_BODY, Conduct, Forward, Upstream
from wfgy_triage.guard.recorder import Recorder
from wfgy_triage.guard.watched import load_watched
from wfgy_triage.listening import bind
from wfgy_triage.settings import Settings
from wfgy_triage.store.database import open_database
from wfgy_triage.store.guard import GuardServer
from wfgy_triage.store.rows import new_run_id

_PATHS: tuple[tuple[str, str, Route | None], ...] = (
    ("POST", "/v1/chat/completions", "chat"),
    ("POST", "/v1/completions", "completions"),
    ("GET", "/v1/models", None),
)
_CONNECT_S = 10.0
_IDLE_S = 2.0
"""Connections to the server behind are not kept longer than this: it may close them after five seconds."""
_CONNECTIONS = 1_000
_CLIENT_IDLE_S = 65
_SWITCH_S = 0.0005
"""How long judging may keep the streams waiting for their turn; Python's own value is ten times that."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GuardOptions:
    """What the admin said.

    Attributes:
        upstream: address of the server behind; `/v1` at its end is allowed.
        host: interface to listen on.
        port: TCP port.
        mode: `observe` or `enforce`, for rules that name none.
        policy: policy file.
        webhook: address for alerts.
        window_answers: newest answers that rates are taken over; None as in the fix map.
        window_minutes: and how old they may be.
        timeout_s: longest silence of the server behind.
        max_body: longest request in bytes.
    """

    upstream: str
    host: str = "127.0.0.1"
    port: int = 8001
    mode: Mode = "observe"
    policy: Path | None = None
    webhook: str | None = None
    window_answers: int | None = None
    window_minutes: int | None = None
    timeout_s: float = 600.0
    max_body: int = MAX_BODY


def checked_upstream(url: str) -> str:
    """The address of the server behind, without `/v1`.

    Raises:
        InputError: not http or https, or with a user name, a query or a fragment.
    """
    parts = asked_address(url.strip())
    if parts is None:
        raise InputError(
            f"{url!r} is not the address of a server.", "For example --upstream http://127.0.0.1:5000"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            "The upstream's address holds a user name, a query or a fragment.",
            "Clients send the API key; the guard passes it on.",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"


def build_guard(
    options: GuardOptions,
    settings: Settings,
    embed: Embed | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """Build the server.

    Args:
        options: what the admin said.
        settings: where the log is kept.
        embed: a sentence model; without it ΔS is NOT MEASURED.
        transport: for tests: what stands for the network.

    Raises:
        InputError: an address or the policy file cannot be used.
    """
    base, policy, watched = checked_upstream(options.upstream), load_policy(options.policy), load_watched()
    alerts = WebhookAlerts(checked_webhook(options.webhook)) if options.webhook else LogAlerts()
    now = datetime.now(UTC)
    about = GuardServer(
        id=new_run_id(),
        address=f"{options.host}:{options.port}",
        upstream=urlsplit(base).netloc[:128],
        mode=options.mode,
        policy=policy.id,
        started_at=now,
        seen_at=now,
        answers=0,
        dropped=0,
        window_answers=options.window_answers or watched.answers,
        window_minutes=options.window_minutes or watched.minutes,
    )
    recorder = Recorder(partial(open_database, settings.database_url), about, watched, alerts)
    desk = Desk(recorder.put, Guard(embed), policy.id)
    client = httpx.AsyncClient(
        timeout=httpx.Timeout(options.timeout_s, connect=_CONNECT_S),
        limits=httpx.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_IDLE_S),
        follow_redirects=False,
        trust_env=False,
        transport=transport,
    )

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        recorder.start()
        try:
            yield
        finally:
            await desk.close()
            await client.aclose()
            recorder.stop()
            if isinstance(alerts, WebhookAlerts):
                alerts.stop()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=living)
    app.state.recorder = recorder
    conduct = Conduct(policy, options.mode, watched.schema_fields, options.max_body)
    upstream = Upstream(base, client)
    for method, path, route in _PATHS:
        forward = Forward(upstream, desk, conduct, path, route)
        app.router.routes.append(Endpoint(path, endpoint=forward, methods=[method]))

    @app.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> str:
        """Answer that the guard is up (it says nothing about the server behind)."""
        return "ok"

    return app


def serve_guard(options: GuardOptions, settings: Settings, embed: Embed | None = None) -> None:
    """Serve until interrupted.

    Raises:
        InputError: as for `build_guard`.
        PrerequisiteError: the port is taken.
    """
    app = build_guard(options, settings, embed)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("wfgy_triage.guard").setLevel(logging.INFO)
    sys.setswitchinterval(_SWITCH_S)
    listener = bind(options.host, options.port)
    _log.info("guarding %s at http://%s:%s (stop with Ctrl-C)", options.upstream, *listener.getsockname()[:2])
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        timeout_keep_alive=_CLIENT_IDLE_S,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listener])
