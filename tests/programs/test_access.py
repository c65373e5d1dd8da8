"""The door without a server: who is let in where no tokens are in use, and when nothing is served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.requests import HTTPConnection

from tests.loops import finished
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.runs.service import TriageService
from wfgy_triage.runs.tokens import TokenList
from wfgy_triage.settings import Settings
from wfgy_triage.ui.app import build_app
from wfgy_triage.ui.programs.access import LOCAL, AccessError, ProgramDoor, by_token


@pytest.fixture
def service(settings: Settings) -> Iterator[TriageService]:
    opened = TriageService(settings)
    yield opened
    opened.close()


def connection(address: str = "127.0.0.1", **headers: str) -> HTTPConnection:
    given = {"host": "localhost:7860", **{k.replace("_", "-"): v for k, v in headers.items()}}
    return HTTPConnection(
        {
            "type": "http",
            "path": "/api/config",
            "client": (address, 5000),
            "headers": [(k.encode(), v.encode()) for k, v in given.items()],
        }
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.9.9.9"])
def test_this_machine_needs_no_token_where_none_are_in_use(address: str):
    assert by_token(TokenList(""))(connection(address)) == LOCAL


@pytest.mark.parametrize(
    "request_",
    [
        connection("192.0.2.7"),
        connection(x_forwarded_for="192.0.2.7"),
        connection(forwarded="for=192.0.2.7"),
        connection(host="rebound.example.org"),
        connection(host="rebound.example.org:7860"),
        connection(origin="http://example.org"),
        connection(origin="null"),
    ],
)
def test_whoever_comes_from_elsewhere_is_not_let_in(request_: HTTPConnection):
    with pytest.raises(AccessError):
        by_token(TokenList(""))(request_)


def test_an_own_page_may_ask():
    assert by_token(TokenList(""))(connection(origin="http://localhost:7860")) == LOCAL


def test_an_empty_file_of_tokens_lets_nobody_in(tmp_path: Path):
    (tmp_path / "tokens.txt").write_text("# nobody yet\n")
    with pytest.raises(AccessError, match="A token is needed"):
        by_token(TokenList(str(tmp_path / "tokens.txt")))(connection())


@pytest.mark.parametrize("value", [None, "", "0"])
def test_nothing_is_served_unless_asked_for(
    settings: Settings, service: TriageService, monkeypatch: pytest.MonkeyPatch, value: str | None
):
    monkeypatch.delenv("WFGY_TRIAGE_API", raising=False)
    if value is not None:
        monkeypatch.setenv("WFGY_TRIAGE_API", value)
    client = TestClient(build_app(settings, service))
    assert client.get("/api/config").status_code == 404
    assert client.post("/api/mcp", json={}).status_code in (404, 405)


def test_a_server_that_others_reach_needs_tokens(
    settings: Settings, service: TriageService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WFGY_TRIAGE_API", "1")
    monkeypatch.delenv("WFGY_TRIAGE_API_TOKENS", raising=False)
    with pytest.raises(PrerequisiteError, match="there are no tokens"):
        build_app(replace(settings, host="0.0.0.0"), service)  # noqa: S104 - refused


def test_a_switch_that_says_neither_is_refused(
    settings: Settings, service: TriageService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WFGY_TRIAGE_API", "yes please")
    with pytest.raises(InputError, match="Set it to 1"):
        build_app(settings, service)


@pytest.mark.parametrize("length", [None, b"10"])
def test_a_body_is_bounded_whatever_it_says_of_its_length(length: bytes | None):
    """A request in parts, that says nothing of its length or lies about it."""
    sent: list[dict[str, object]] = []

    async def inside(scope, receive, send):
        raise AssertionError("nothing of it may come through")

    async def receive():
        return {"type": "http.request", "body": b"x" * 100_000, "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/mcp",
        "root_path": "",
        "headers": [(b"content-length", length)] if length else [],
    }
    finished(ProgramDoor(inside, lambda _: LOCAL)(scope, receive, send))
    assert sent[0]["status"] == 413


@pytest.mark.parametrize("root", ["", "/triage"])
def test_the_door_stands_below_the_root_path(root: str):
    passed: list[str] = []

    async def inside(scope, receive, send):
        passed.append(scope["path"])

    async def nothing(*args):
        return {"type": "http.request"}

    door = ProgramDoor(inside, by_token(TokenList("a viewer sha256:" + "0" * 64)))
    for path in ("/", "/runs", "/apis", "/api", "/api/config", "/api/gradio_api/queue/join"):
        scope = {"type": "http", "path": root + path, "root_path": root, "headers": []}
        finished(door(scope, nothing, nothing))
    assert passed == [root + p for p in ("/", "/runs", "/apis")]
