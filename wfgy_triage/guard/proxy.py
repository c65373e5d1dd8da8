"""Passes requests on and answers back, byte for byte, and hands the desk a copy.

Only the admin's server is ever asked; redirects are passed on, not followed. A client that leaves ends the request
behind. Streams are forwarded piece by piece; a checked answer that is no stream is held until it is whole.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

from wfgy_triage.errors import InputError
from wfgy_triage.guard.asked import Asked, read_request
from wfgy_triage.guard.checks import Verdict
from wfgy_triage.guard.desk import Desk, Tape
from wfgy_triage.guard.headers import VERDICT, Headers, back, onward, value_of
from wfgy_triage.guard.judging import Judged
from wfgy_triage.guard.policy import Mode, Policy, Route

MAX_BODY = 32 << 20
_BODY_WAIT_S = 60.0
HELD_WAIT_S = 5.0
"""How long a held answer waits for its judgement."""
STREAM_WAIT_S = 3.0
"""How long a stream that has ended stays open for the comment behind it."""
_BLANK = (b"\n\n", b"\r\r", b"\r\n\r\n")

_SAID = {
    "upstream_unreachable": "The model server behind the guard cannot be reached.",
    "upstream_timeout": "The model server behind the guard did not answer in time.",
    "upstream_broke": "The model server behind the guard broke off its answer.",
}


@dataclass(frozen=True)
class Upstream:
    """The server behind: its address without `/v1`, and the client that asks it."""

    base: str
    client: httpx.AsyncClient


@dataclass(frozen=True)
class Conduct:
    """How requests are treated.

    Attributes:
        policy: the admin's rules.
        mode: of rules that name none.
        schema_fields: where a request may name a schema.
        max_body: longest request.
    """

    policy: Policy
    mode: Mode
    schema_fields: tuple[tuple[str, ...], ...]
    max_body: int = MAX_BODY


class _TooLargeError(Exception):
    """The request's body is longer than allowed."""


class _GoneError(Exception):
    """The client left before its request was whole."""


class Forward:
    """One path as an ASGI application. `route` None: nothing to judge (the list of models)."""

    def __init__(
        self, upstream: Upstream, desk: Desk, conduct: Conduct, path: str, route: Route | None
    ) -> None:
        self._upstream = upstream
        self._desk = desk
        self._conduct = conduct
        self._path = path
        self._route: Route | None = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; a client that leaves ends it, here and behind."""
        try:
            body = await asyncio.wait_for(_body(receive, self._conduct.max_body), _BODY_WAIT_S)
            asked = self._asked(body)
        except _GoneError:
            return
        except TimeoutError:
            return await _refuse(send, 408, "request_timeout", "The request did not arrive in time.")
        except _TooLargeError:
            said = f"A request may have {self._conduct.max_body:,} bytes."
            return await _refuse(send, 413, "request_too_large", said)
        except InputError as error:
            return await _refuse(send, 400, "wfgy_snippets", str(error))
        serving = asyncio.ensure_future(self._serve(scope, asked, send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            serving.cancel()
            await asyncio.wait({serving, leaving})
        if not serving.cancelled() and (fault := serving.exception()) is not None:
            raise fault

    def _asked(self, body: bytes) -> Asked | None:
        conduct = self._conduct
        if self._route is None:
            return None
        return read_request(self._route, body, conduct.policy, conduct.schema_fields)

    async def _serve(self, scope: Scope, asked: Asked | None, send: Send) -> None:
        tries = 2 if asked is not None and self._enforces(asked) and asked.rule.on_failure == "retry" else 1
        for left in reversed(range(tries)):
            tape = Tape()
            try:
                if await self._once(scope, asked, send, tape, last=left == 0):
                    return
            finally:
                if asked is not None and not tape.handed:
                    tape.trouble = tape.trouble or "client_left"
                    self._desk.hand_in(asked, tape)

    def _enforces(self, asked: Asked) -> bool:
        return asked.checked and (asked.rule.mode or self._conduct.mode) == "enforce"

    async def _once(self, scope: Scope, asked: Asked | None, send: Send, tape: Tape, last: bool) -> bool:
        """Ask once; False when the answer failed and may be asked for again."""
        try:
            response = await self._ask(scope, asked)
        except httpx.TransportError as error:
            timeout = isinstance(error, httpx.TimeoutException)
            tape.trouble = "upstream_timeout" if timeout else "upstream_unreachable"
            await _refuse(send, 504 if timeout else 502, tape.trouble, _SAID[tape.trouble])
            return True
        headers = response.headers.raw
        tape.status, tape.encoding = response.status_code, value_of(headers, b"content-encoding")
        tape.streaming = value_of(headers, b"content-type").lower().startswith("text/event-stream")
        try:
            if asked is None or not asked.checked or tape.streaming or response.status_code >= 400:
                await self._relay(response, asked, send, tape)
                return True
            return await self._held(response, asked, send, tape, last)
        finally:
            await response.aclose()

    async def _ask(self, scope: Scope, asked: Asked | None) -> httpx.Response:
        query = scope["query_string"].decode("latin-1")
        url = f"{self._upstream.base}{self._path}" + (f"?{query}" if query else "")
        # Built here and not by the client, which would add headers of its own.
        request = httpx.Request(
            scope["method"], url, headers=onward(scope["headers"]), content=asked.body if asked else None
        )
        return await self._upstream.client.send(request, stream=True)

    async def _relay(self, response: httpx.Response, asked: Asked | None, send: Send, tape: Tape) -> None:
        """Forward piece by piece, without waiting for anything."""
        await _start(send, response, [])
        try:
            async for piece in response.aiter_raw():
                tape.add(piece)
                await _body_part(send, piece)
        except httpx.TransportError:
            tape.trouble = "upstream_broke"
            return  # an answer that is not ended tells the client that it is not whole
        await _body_part(send, await self._comment(response, asked, tape), more=False)

    async def _comment(self, response: httpx.Response, asked: Asked | None, tape: Tape) -> bytes:
        """What stands behind a checked stream: a line that clients of event streams ignore."""
        if asked is None:
            return b""
        future = self._desk.hand_in(asked, tape)
        headers = response.headers
        room = not tape.encoding and "content-length" not in headers and tape.tail.endswith(_BLANK)
        if not (asked.checked and tape.streaming and room and response.status_code < 400):
            return b""
        judged = await self._desk.verdict(future, STREAM_WAIT_S)
        return b": " + VERDICT + b": " + _verdict(judged) + b"\n\n"

    async def _held(self, response: httpx.Response, asked: Asked, send: Send, tape: Tape, last: bool) -> bool:
        pieces: list[bytes] = []
        stream = response.aiter_raw()
        try:
            async for piece in stream:
                tape.add(piece)
                pieces.append(piece)
                if tape.too_long:
                    break
        except httpx.TransportError:
            tape.trouble = "upstream_broke"
            await _refuse(send, 502, tape.trouble, _SAID[tape.trouble])
            return True
        if tape.too_long:
            await self._overlong(response, stream, pieces, send, tape)
            return True
        judged = await self._desk.verdict(self._desk.hand_in(asked, tape), HELD_WAIT_S)
        if judged is not None and judged.worst.verdict == Verdict.FAILED and self._enforces(asked):
            if not last:
                return False
            await _refuse(send, 422, judged.worst.failure, judged.reason, kind="wfgy_guard_failed")
            return True
        await _start(send, response, [(VERDICT, _verdict(judged))])
        for piece in pieces:
            await _body_part(send, piece)
        await _body_part(send, b"", more=False)
        return True

    async def _overlong(
        self, response: httpx.Response, stream: Any, pieces: list[bytes], send: Send, tape: Tape
    ) -> None:
        """An answer too long to be held: what came goes out, and the rest as it comes."""
        await _start(send, response, [(VERDICT, b"unjudged;too_long")])
        try:
            for piece in pieces:
                await _body_part(send, piece)
            async for piece in stream:
                await _body_part(send, piece)
        except httpx.TransportError:
            tape.trouble = "upstream_broke"
            return
        await _body_part(send, b"", more=False)


def _verdict(judged: Judged | None) -> bytes:
    if judged is None:
        return b"unjudged;busy"
    worst = judged.worst
    return f"{worst.verdict};{worst.failure}".rstrip(";").encode()


async def _body(receive: Receive, longest: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > longest:
            raise _TooLargeError
        if not message.get("more_body", False):
            return b"".join(parts)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, response: httpx.Response, more: Headers) -> None:
    headers = [*back(response.headers.raw), *more]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})


async def _body_part(send: Send, piece: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": more})


async def _refuse(send: Send, status: int, code: str, said: str, kind: str = "wfgy_guard") -> None:
    """Answer for ourselves, in the form of OpenAI's errors."""
    body = json.dumps({"error": {"message": said, "type": kind, "param": None, "code": code}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await _body_part(send, body, more=False)
