"""A model server for tests: scripted answers over a real socket, and what it was asked."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn


@dataclass
class Script:
    """What the next answers are; tests change it."""

    answers: list[str] = field(default_factory=lambda: ['{"a": 1}'])
    scenario: str = "plain"
    finish: str = "stop"
    wait_s: float = 0.0
    seen: list[dict[str, Any]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    sent: list[bytes] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\r\n\r\n"


def whole(text: str, finish: str = "stop", chat: bool = True) -> bytes:
    content = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    choice = {"index": 0, "finish_reason": finish, **content}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return json.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def pieces(text: str, finish: str = "stop") -> list[bytes]:
    """A stream: one event every three characters, the end, the end mark."""
    parts = [text[i : i + 3] for i in range(0, len(text), 3)]
    deltas = [{"index": 0, "delta": {"content": p}, "finish_reason": None} for p in parts]
    last = {"index": 0, "delta": {}, "finish_reason": finish}
    return [event({"choices": [d]}) for d in [*deltas, last]] + [event(b"[DONE]")]


class Stub:
    """The ASGI application."""

    def __init__(self, script: Script) -> None:
        self.script = script

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.script.seen.append(
            {
                "path": scope["path"],
                "query": scope["query_string"],
                "headers": {k.decode(): v.decode() for k, v in scope["headers"]},
                "body": body,
            }
        )
        await getattr(self, f"_{self.script.scenario}")(scope, receive, send)

    def _answer(self) -> str:
        answers = self.script.answers
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def _plain(self, scope, receive, send) -> None:
        if scope["path"].endswith("models"):
            body = b'{"object":"list","data":[{"id":"m"}]}'
        else:
            body = whole(self._answer(), self.script.finish, "chat" in scope["path"])
        await self._send(send, 200, [(b"content-type", b"application/json"), (b"x-own", b"1")], [body])

    async def _gzip(self, scope, receive, send) -> None:
        body = gzip.compress(whole(self._answer()))
        headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
        await self._send(send, 200, headers, [body[:20], body[20:]])

    async def _stream(self, scope, receive, send) -> None:
        await self._send(
            send, 200, [(b"content-type", b"text/event-stream")], pieces(self._answer()), end=None
        )

    async def _bad_stream(self, scope, receive, send) -> None:
        parts = [event({"choices": []}), b"data: {not json\n\n", event(b"[DONE]")]
        await self._send(send, 200, [(b"content-type", b"text/event-stream")], parts)

    async def _limited(self, scope, receive, send) -> None:
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"7"), (b"x-ratelimit", b"0")]
        await self._send(send, 429, headers, [b'{"error": {"message": "slow down"}}'])

    async def _redirect(self, scope, receive, send) -> None:
        await self._send(send, 302, [(b"location", b"http://127.0.0.1:9/elsewhere")], [b""])

    async def _half(self, scope, receive, send) -> None:
        """Promises more than it sends, then breaks off."""
        headers = [(b"content-type", b"text/event-stream"), (b"content-length", b"100000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in pieces("abcdef")[:1]:
            self.script.sent.append(part)
            await send({"type": "http.response.body", "body": part, "more_body": True})

    async def _hang(self, scope, receive, send) -> None:
        """Sends one event, then nothing until the client leaves."""
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        await send({"type": "http.response.body", "body": pieces("abc")[0], "more_body": True})
        await self._until_left(receive)

    async def _silent(self, scope, receive, send) -> None:
        await self._until_left(receive)

    async def _until_left(self, receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.script.left.set()

    async def _send(self, send, status, headers, parts, end: bytes | None = None) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, part in enumerate(parts):
            self.script.sent.append(part)
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts) - 1})
            if self.script.wait_s:
                await asyncio.sleep(self.script.wait_s)


async def _lifespan(receive, send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


@contextmanager
def running(app: Callable[..., Any], **options: Any) -> Iterator[str]:
    """Serve an application on a thread; gives its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, timeout_graceful_shutdown=2, **options
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        threading.Event().wait(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(15)
        listener.close()
