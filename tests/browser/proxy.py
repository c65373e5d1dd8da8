"""A reverse proxy as nginx would be with `location /PREFIX/ { proxy_pass http://app/; }`: it takes the prefix off."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "host"}


class Proxy:
    """Forwards what lies under the prefix; `strays` are the paths that were asked for outside of it."""

    def __init__(self, upstream: str, prefix: str) -> None:
        self.upstream, self.prefix = upstream, prefix
        self.strays: list[str] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.origin = f"http://127.0.0.1:{probe.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"{self.origin}{self.prefix}"

    @asynccontextmanager
    async def client(self, app: Starlette) -> AsyncIterator[None]:
        patient = httpx.Timeout(None)  # noqa: S113 - streams of progress stay open
        async with httpx.AsyncClient(base_url=self.upstream, timeout=patient) as app.state.client:
            yield

    async def forward(self, request: Request) -> Response:
        path = request.url.path
        if path == self.prefix:
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"{self.prefix}/{query}", 301)
        if not path.startswith(f"{self.prefix}/"):
            self.strays.append(path)
            return PlainTextResponse("another application", 404)
        headers = [(k, v) for k, v in request.headers.items() if k not in HOP_BY_HOP]
        headers += [("host", request.url.netloc), ("x-forwarded-host", request.url.netloc)]
        headers += [("x-forwarded-proto", "http"), ("x-forwarded-for", "127.0.0.1")]
        inner = httpx.URL(path=path[len(self.prefix) :], query=request.url.query.encode())
        client: httpx.AsyncClient = request.app.state.client
        asked = client.build_request(
            request.method, inner, headers=headers, content=await request.body() or None
        )
        answer = await client.send(asked, stream=True)
        kept = {k: v for k, v in answer.headers.items() if k not in HOP_BY_HOP}
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=None)

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        app = Starlette(routes=[Route("/{path:path}", self.forward, methods=METHODS)], lifespan=self.client)
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=int(self.origin.rsplit(":", 1)[1]),
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the proxy did not start"
            time.sleep(0.05)
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(20)
