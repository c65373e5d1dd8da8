"""The door to `/api`: who asks, which addresses there are, and how much may be sent.

Everything under `/api` passes here first. `WhoAsks` is the one place that says who a request comes from; whoever has
another way of knowing (a sign-in) gives another function to `add_programs`.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wfgy_triage.access import Actor, Role
from wfgy_triage.errors import TriageError
from wfgy_triage.runs.tokens import TokenList

ROOT = "/api"
MCP_PATH = f"{ROOT}/mcp"
LARGEST = 256 * 1024
"""Bytes of one request: the longest complaint is 2,000 characters."""
CALLER = "wfgy_caller"
"""Where the caller stands in a request's state."""
LOCAL = Actor("local", Role.OPERATOR)
"""Whoever asks from this very machine, where no tokens are in use."""
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_OPEN = re.compile(
    r"/config|/gradio_api/(?:info|queue/join|queue/data|heartbeat/[\w-]{1,64}|cancel|reset"
    r"|call/[a-z_]{1,40}(?:/[\w-]{1,64})?)|/mcp"
)
"""What there is under `/api`: what Gradio's client and a plain program need of it, and MCP. Nothing is uploaded."""

WhoAsks = Callable[[HTTPConnection], Actor]


class AccessError(TriageError):
    """Somebody is not let in; `status` is what HTTP calls it."""

    def __init__(self, message: str, hint: str, status: int) -> None:
        super().__init__(message, hint)
        self.status = status


def by_token(tokens: TokenList) -> WhoAsks:
    """Who holds the request's bearer token; where no tokens are in use, whoever asks from this machine."""

    def who(request: HTTPConnection) -> Actor:
        _same_site(request)
        if not tokens.required:
            return _from_here(request)
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise AccessError(
                "A token is needed here.", "Send it as the header 'Authorization: Bearer TOKEN'.", 401
            )
        caller = tokens.find(token.strip())
        if caller is None:
            raise AccessError("This token is not valid.", "Ask whoever runs this server for one.", 401)
        return caller

    return who


def _same_site(request: HTTPConnection) -> None:
    """Programs name no origin. A browser does, and then only this server's own pages may ask."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise AccessError(
            "Another site's page asked for this.", "Programs leave the header 'Origin' out.", 403
        )


def _from_here(request: HTTPConnection) -> Actor:
    """Without tokens only this machine is let in: not through a proxy, and not under a name that somebody made up."""
    name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    passed_on = any(header in request.headers for header in _FORWARDED)
    if passed_on or name not in _LOCAL_NAMES or not request.client or not is_local(request.client.host):
        raise AccessError(
            "Without tokens, programs are answered on this machine only.",
            "Set WFGY_TRIAGE_API_TOKENS to let others in with a token.",
            401,
        )
    return LOCAL


def is_local(host: str) -> bool:
    """Whether an interface or an address is this machine itself."""
    if host in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ProgramDoor:
    """Lets requests under `/api` in, each with its caller in its state; leaves all others alone.

    Args:
        app: the application inside.
        who: says who asks, or raises `AccessError`.
    """

    def __init__(self, app: ASGIApp, who: WhoAsks) -> None:
        self.app = app
        self.who = who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with what is wrong."""
        path = _path(scope)
        if path is None:
            await self.app(scope, receive, send)
            return
        try:
            caller = self.who(HTTPConnection(scope))
            if scope["type"] != "http" or not _OPEN.fullmatch(path):
                raise AccessError("There is nothing at this address.", "See docs/programs.md.", 404)
            body = await _body(Headers(scope=scope), receive)
        except AccessError as error:
            await _refuse(error, scope, send)
            return
        scope = {**scope, "state": {**scope.get("state", {}), CALLER: caller}}
        await self.app(scope, _replayed(body, receive), send)


def _path(scope: Scope) -> str | None:
    """The path below `/api`; None for requests that go elsewhere."""
    if scope["type"] not in ("http", "websocket"):
        return None
    path = str(scope["path"]).removeprefix(scope.get("root_path", ""))
    return path.removeprefix(ROOT) if path == ROOT or path.startswith(f"{ROOT}/") else None


async def _body(headers: Headers, receive: Receive) -> bytes:
    """Read the whole request: all that is asked here is short."""
    length = headers.get("content-length", "0")
    read = bytearray()
    if length.isdigit() and int(length) <= LARGEST:
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return bytes(read)
            read += message.get("body", b"")
            if len(read) > LARGEST:
                break
            if not message.get("more_body"):
                return bytes(read)
    raise AccessError("This request is too long.", f"At most {LARGEST // 1024} kB are read.", 413)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read already; afterwards what comes, which is the end of the connection."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(error: AccessError, scope: Scope, send: Send) -> None:
    if scope["type"] != "http":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"error": {"message": error.message, "hint": error.hint}}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
