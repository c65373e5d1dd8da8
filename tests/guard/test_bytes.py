"""Bytes out are bytes in, whatever the pieces: the guard as an application, without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.guard.conftest import AS_JSON
from tests.loops import finished
from wfgy_triage.guard.checks import Guard
from wfgy_triage.guard.desk import Desk
from wfgy_triage.guard.policy import Policy
from wfgy_triage.guard.proxy import Conduct, Forward, Upstream
from wfgy_triage.guard.watched import load_watched

KINDS = st.sampled_from([b"application/json", b"text/event-stream", b"application/octet-stream"])
PIECES = st.lists(
    st.one_of(st.binary(max_size=40), st.sampled_from([b"data: {}\n\n", b"data: [DONE]\n\n"])), max_size=12
)


class Pieces(httpx.AsyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await asyncio.sleep(0)
            yield piece


class Behind(httpx.AsyncBaseTransport):
    def __init__(self, kind: bytes, pieces: list[bytes], status: int) -> None:
        self._answer = kind, pieces, status
        self.bodies: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(await request.aread())
        kind, pieces, status = self._answer
        return httpx.Response(status, headers=[(b"content-type", kind)], stream=Pieces(pieces))


async def through(behind: Behind, body: list[bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    rows: list[object] = []
    desk = Desk(rows.extend, Guard(), "none")
    conduct = Conduct(Policy(), "observe", load_watched().schema_fields)
    async with httpx.AsyncClient(transport=behind) as client:
        app = Forward(Upstream("http://behind", client), desk, conduct, "/v1/chat/completions", "chat")
        messages = [{"type": "http.request", "body": b, "more_body": True} for b in body]
        messages.append({"type": "http.request", "body": b"", "more_body": False})
        sent: list[dict] = []

        async def receive():
            return messages.pop(0) if messages else await asyncio.Event().wait()

        async def send(message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "query_string": b"", "headers": [(b"x-a", b"1")]}
        await app(scope, receive, send)
    await desk.close()
    assert len(rows) >= 1
    return b"".join(m.get("body", b"") for m in sent), dict(sent[0]["headers"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(KINDS, PIECES, st.booleans(), st.sampled_from([200, 201, 400, 503]), st.binary(max_size=60), st.data())
def test_bytes_out_are_bytes_in(kind, pieces, checked, status, junk, data):
    asked = json.dumps({"model": "m", "response_format": AS_JSON}).encode() if checked else junk
    cut = data.draw(st.integers(0, len(asked)))
    behind = Behind(kind, pieces, status)
    out, headers = finished(through(behind, [asked[:cut], asked[cut:]]))
    whole = b"".join(pieces)
    assert out[: len(whole)] == whole
    added = out[len(whole) :]
    may_add = checked and kind == b"text/event-stream" and status < 400 and whole.endswith(b"\n\n")
    assert added == b"" or (may_add and added.startswith(b": x-wfgy-guard: ") and added.endswith(b"\n\n"))
    assert headers[b"content-type"] == kind
    assert behind.bodies == [asked]
