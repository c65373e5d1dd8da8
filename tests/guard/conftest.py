"""A scripted model server, and a guard in front of it, both over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.guard.stub import Script, Stub, running
from wfgy_triage.guard.server import GuardOptions, build_guard
from wfgy_triage.settings import Settings
from wfgy_triage.store.database import open_database
from wfgy_triage.store.guard import GuardedAnswer, GuardRepository

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
AS_JSON = {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}}


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "a secret question"}], **more}


@dataclass
class Line:
    """The guard, the server behind it, and the log."""

    url: str
    direct: str
    script: Script
    settings: Settings
    app: Any

    def post(self, body: Any, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
        sent = {"json": body} if isinstance(body, dict) else {"content": body}
        return httpx.post(f"{self.url}{path}", **sent, **more, timeout=20, trust_env=False)

    def stream(self, got: list[bytes], body: dict[str, Any]) -> httpx.Response:
        """Post, and put the answer's raw pieces into `got` as they come."""
        path = f"{self.url}/v1/chat/completions"
        with httpx.stream("POST", path, json=body, timeout=20, trust_env=False) as answer:
            for piece in answer.iter_raw():
                got.append(piece)
        return answer

    def rows(self, at_least: int = 1) -> tuple[GuardedAnswer, ...]:
        """What is logged, newest first, once there is so much of it."""
        database = open_database(self.settings.database_url)
        try:
            for _ in range(400):
                found = GuardRepository(database).latest(1_000)
                if len(found) >= at_least:
                    return found
                threading.Event().wait(0.05)
        finally:
            database.close()
        raise AssertionError(f"{len(found)} answers are logged")


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def guarded(settings: Settings, script: Script) -> Iterator[Callable[..., Line]]:
    """Starts a guard with these options in front of the scripted server."""
    with ExitStack() as stack:

        def start(**options: Any) -> Line:
            direct = stack.enter_context(running(Stub(script), server_header=False, date_header=False))
            app = build_guard(GuardOptions(upstream=direct, **options), settings)
            url = stack.enter_context(running(app, server_header=False, date_header=False))
            return Line(url, direct, script, settings, app)

        yield start
