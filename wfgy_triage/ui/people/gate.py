"""The door itself, around the whole application: nothing but a few public addresses is reached without a role.

A pure ASGI layer: it never buffers, so event streams keep flowing.
"""

from __future__ import annotations

import json
import logging
import re
from urllib.parse import quote

from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wfgy_triage.access import NOBODY, Role
from wfgy_triage.errors import TriageError
from wfgy_triage.runs.team import Mode
from wfgy_triage.ui.people.door import VISITOR_COOKIE, VISITOR_DAYS, Door, account_of, remember

FOR_ALL = re.compile(r"/healthz|/readyz|/metrics|/s/[^/]+|/templates/[^/]+|/texts/[^/]+|/favicon\.ico")
"""Addresses that nobody is asked at."""
SIGN_IN, SIGN_OUT, CALLBACK = "/sign-in", "/sign-out", "/login/callback"
_WITHOUT_ROLE = frozenset({SIGN_IN, SIGN_OUT})
_HUGGING_FACE = frozenset({"/login/huggingface", CALLBACK, "/logout"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE = frozenset({"same-origin", "none"})

_log = logging.getLogger(__name__)


class Gate:
    """Lets requests in with who sent them.

    Args:
        app: the application inside.
        door: tells who somebody is.
        elsewhere: beginnings of paths that have a door of their own; they get in as nobody.
    """

    def __init__(self, app: ASGIApp, door: Door, elsewhere: tuple[str, ...] = ()) -> None:
        self.app = app
        self.door = door
        self.elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path = str(scope["path"]).removeprefix(scope.get("root_path", "")) or "/"
        remember(scope, NOBODY)
        if FOR_ALL.fullmatch(path) or path.startswith(self.elsewhere):
            await self.app(scope, receive, send)
            return
        if _from_another_site(scope):
            await _answer(scope, send, 403, "Another site's page asked for this.")
            return
        try:
            actor, visitor = await run_sync(self.door.knock, HTTPConnection(scope))
        except TriageError as error:
            _log.error("nobody is let in: %s", error)
            await _answer(
                scope,
                send,
                503,
                "Nobody can be let in right now. Whoever runs this page finds why in its log.",
            )
            return
        remember(scope, actor)
        if actor.role is Role.NONE and not self._public(path):
            await self._send_away(scope, send, path)
            return
        if visitor:
            send = self._with_cookie(scope, send, visitor)
        before = account_of(HTTPConnection(scope))
        await self.app(scope, receive, send)
        if path == CALLBACK and self.door.desk.team.mode is Mode.HUGGING_FACE:
            await run_sync(self._write_down, before, account_of(HTTPConnection(scope)))

    def _public(self, path: str) -> bool:
        hugging_face = self.door.desk.team.mode is Mode.HUGGING_FACE
        return path in _WITHOUT_ROLE or (hugging_face and path in _HUGGING_FACE)

    async def _send_away(self, scope: Scope, send: Send, path: str) -> None:
        """A browser that wants a page is led to the sign-in; everything else is refused."""
        wants_page = "text/html" in Headers(scope=scope).get("accept", "")
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not wants_page:
            await _answer(scope, send, 401, "Sign in first.")
            return
        query = scope.get("query_string", b"").decode("latin-1")
        target = path + (f"?{query}" if query else "")
        # Relative, so that it holds under any root path.
        place = "../" * (path.count("/") - 1) + SIGN_IN.strip("/")
        place += f"?next={quote(target)}" if target != "/" else ""
        await _answer(scope, send, 303, "Sign in first.", {"location": place})

    def _with_cookie(self, scope: Scope, send: Send, visitor: str) -> Send:
        cookie = self.door.cookie(VISITOR_COOKIE, visitor, VISITOR_DAYS, scope["scheme"] == "https")

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", cookie)
            await send(message)

        return with_cookie

    def _write_down(self, before: str, name: str) -> None:
        if name and name != before:
            self.door.desk.arrived(self.door.desk.from_hugging_face(name))


def _from_another_site(scope: Scope) -> bool:
    """Whether a page of another site sends something that changes things: its visitor's cookies must not count.

    Browsers say so themselves, and no page can make them say otherwise; programs say nothing.
    """
    site = Headers(scope=scope).get("sec-fetch-site", "none")
    reads = scope["type"] == "http" and scope["method"] in _READING
    return not reads and site not in _OWN_SITE


async def _answer(
    scope: Scope, send: Send, status: int, text: str, headers: dict[str, str] | None = None
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"error": text}).encode()
    sent = {"content-type": "application/json", "cache-control": "no-store", **(headers or {})}
    raw = [(k.encode(), v.encode("latin-1")) for k, v in sent.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
