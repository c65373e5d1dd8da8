"""A model server whose every answer is scripted: a real HTTP server on the loopback interface, in a thread."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from wfgy_triage.engines.base import Completion, GenerationRequest
from wfgy_triage.engines.openai_engine import ServedEngine
from wfgy_triage.engines.openai_loading import open_served
from wfgy_triage.server_settings import ServerSettings

Answer = Callable[[dict[str, Any]], Response]


def event(text: str = "", end: str | None = None, **more: Any) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'text': text, 'finish_reason': end}], **more})}\n\n"


def stream(*parts: str | bytes | type[Exception], content_type: str = "text/event-stream") -> Answer:
    """Sends the parts one by one; an exception among them breaks the connection there."""

    async def send() -> AsyncIterator[bytes]:
        for part in parts:
            await asyncio.sleep(0)
            if isinstance(part, type):
                raise part("the stream breaks here")
            yield part if isinstance(part, bytes) else part.encode()

    return lambda body: StreamingResponse(send(), media_type=content_type)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """What a server with the tests' own tokenizer counts: a token a byte, one for each mark; a template adds some."""
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        return len(prompt)
    texts = [prompt] if isinstance(prompt, str) else [m["content"] for m in body["messages"]]
    return sum(len(re.sub("</?s>", "x", t).encode()) for t in texts) + 5 * len(body.get("messages", ()))


def says(
    text: str, end: str = "stop", tokens: int | None = None, reads: int | None = None, **counted: Any
) -> Answer:
    """A healthy answer, a word at a time.

    Args:
        text: the answer.
        end: why it ends.
        tokens: what it says that the answer has; one a word.
        reads: the most tokens of a prompt that it reads; it cuts longer ones without a word.
        counted: further fields of its usage.
    """
    words = [w + " " for w in text.split(" ")]
    words[-1] = words[-1].rstrip(" ")

    def answer(body: dict[str, Any]) -> Response:
        read = prompt_tokens(body)
        usage = {
            "completion_tokens": tokens if tokens is not None else len(words),
            "prompt_tokens": read if reads is None else min(read, reads),
            **counted,
        }
        parts = (*(event(w) for w in words), event(end=end), event(usage=usage), "data: [DONE]\n\n")
        return stream(*parts)(body)

    return answer


def draws(seeds: bool = True) -> Answer:
    """Answers that are drawn where there is a temperature: by the seed of the request, or each time another one."""
    drawn = count()

    def answer(body: dict[str, Any]) -> Response:
        number = body["seed"] if seeds else next(drawn)
        return says(f"drawn {number}" if body["temperature"] else "the likeliest")(body)

    return answer


def status(code: int, headers: Mapping[str, str] | None = None, body: Any = None) -> Answer:
    return lambda request: JSONResponse(body if body is not None else {}, code, headers=dict(headers or {}))


def plain(text: str, content_type: str) -> Answer:
    return lambda body: Response(text, media_type=content_type)


def stalls() -> Answer:
    """Begins, and never goes on."""

    async def send() -> AsyncIterator[bytes]:
        yield event("It").encode()
        await asyncio.sleep(3600)

    return lambda body: StreamingResponse(send(), media_type="text/event-stream")


def reads_on(reading: threading.Event, left: threading.Event) -> Answer:
    """Sends nothing, as a server that is still reading the prompt; tells when it has begun and when the asker left."""

    class Reading(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            reading.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()

    return lambda body: Reading()


class Stub:
    """The server's script and what it was sent."""

    def __init__(self) -> None:
        self.reset()
        self.port = 0

    def reset(self) -> None:
        self.script: deque[Answer] = deque()
        self.by_prompt: dict[str, list[Answer]] = {}
        self.otherwise: Answer = says("fine thanks")
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.visits: list[str] = []
        self.models: Any = {"object": "list", "data": [{"id": "tiny", "object": "model"}]}
        self.loaded: Any = None
        self.key = ""
        self.encode: Callable[[str], Sequence[int]] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/model", self._model),
                Route("/v1/completions", self._answer, methods=["POST"]),
                Route("/v1/chat/completions", self._answer, methods=["POST"]),
                Route("/v1/token/encode", self._encode, methods=["POST"]),
                Route("/elsewhere", self._elsewhere, methods=["GET", "POST"]),
            ]
        )

    def _refused(self, request: Request) -> Response | None:
        self.visits.append(request.url.path)
        self.headers.append(dict(request.headers))
        sent = request.headers.get("authorization", "")
        if self.key and sent != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": f"The key {sent} is not known"}}, 401)
        return None

    async def _models(self, request: Request) -> Response:
        return self._refused(request) or JSONResponse(self.models)

    async def _model(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        return JSONResponse(self.loaded) if self.loaded else PlainTextResponse("Not Found", 404)

    async def _answer(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        body = await request.json()
        self.bodies.append({**body, "path": request.url.path})
        own = self.by_prompt.get(str(body.get("prompt")))
        if own:
            return (own.pop(0) if len(own) > 1 else own[0])(body)
        return (self.script.popleft() if self.script else self.otherwise)(body)

    async def _encode(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        if self.encode is None:
            return PlainTextResponse("Not Found", 404)
        ids = list(self.encode((await request.json())["text"]))
        return JSONResponse({"tokens": ids, "length": len(ids)})

    async def _elsewhere(self, request: Request) -> Response:
        self.visits.append(request.url.path)
        return JSONResponse({})


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    """The stub on a free port of the loopback interface."""
    server = uvicorn.Server(uvicorn.Config(stub.app(), host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the stub server did not start")
        thread.join(0.01)
    stub.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield stub
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)


def opened(stub: Stub, folder: Path, **settings: Any) -> ServedEngine:
    engine = open_served(
        ServerSettings(stub.url, **{"retries": 2, "concurrency": 2, **settings}),
        folder,
        side="exl2",
        mode="reproducible",
    )
    stub.bodies.clear()
    return engine


def ask(engine: ServedEngine, *texts: str, **more: Any) -> list[Completion]:
    requests = [GenerationRequest(t, engine.encode(t), 20, **more) for t in texts]
    return list(engine.generate(requests))


def request(engine: Any, text: str = "q", **more: Any) -> GenerationRequest:
    return GenerationRequest("q1", engine.encode(text), 8, **more)


def sent(stub: Stub, engine: Any, asked: GenerationRequest) -> dict[str, Any]:
    list(engine.generate([asked]))
    return stub.bodies[-1]
