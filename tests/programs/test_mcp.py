"""Agents over MCP: the official client against a served app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.browser.scripted import ScriptedWorker
from tests.loops import finished
from tests.programs.conftest import CALLS, Door, bearer
from wfgy_triage.catalog import validate_result
from wfgy_triage.result import State
from wfgy_triage.store.records import RunStatus


def agent(
    door: Door, token: str, talk: Callable[[Client], Awaitable[Any]], statuses: list[int] | None = None
) -> Any:
    """What comes out of a talk with the server; what HTTP called each answer goes into `statuses`."""

    async def note(response: httpx2.Response) -> None:
        if statuses is not None:
            statuses.append(response.status_code)

    async def connected() -> Any:
        async with (
            httpx2.AsyncClient(headers=bearer(token), timeout=60, event_hooks={"response": [note]}) as http,
            Client(streamable_http_client(door.mcp, http_client=http)) as client,
        ):
            return await talk(client)

    return finished(connected())


def said(answer: Any) -> str:
    """The words of an answer."""
    return " ".join(part.text for part in answer.content)


def test_exactly_the_calls_are_tools(door: Door):
    tools = agent(door, door.viewer, lambda c: c.list_tools()).tools
    assert [t.name for t in tools] == CALLS
    for tool in tools:
        assert tool.description
        assert not {"request", "caller"} & set(tool.input_schema["properties"])
    start = next(t for t in tools if t.name == "start_probe")
    assert start.input_schema["required"] == ["symptom", "pair"]


def test_a_probe_from_complaint_to_result(door: Door, worker: ScriptedWorker):
    async def talk(client: Client) -> dict[str, Any]:
        found = await client.call_tool("match_complaint", {"text": "my JSON breaks"})
        symptom = found.structured_content["symptom"]
        listed = await client.call_tool("list_symptoms", {})
        assert symptom in said(listed)
        pairs = await client.call_tool("list_pairs", {})
        assert "demo" in said(pairs)
        begun = await client.call_tool("start_probe", {"symptom": symptom, "pair": "demo", "questions": 20})
        run_id = begun.structured_content["run_id"]
        worker.lease(run_id)
        worker.answers(run_id, 4, ("fp16",))
        going = await client.call_tool("get_result", {"run_id": run_id})
        assert going.structured_content["stage"]["done"] == 4
        worker.finish(run_id, State.INCONCLUSIVE)
        ended = await client.call_tool("get_result", {"run_id": run_id})
        return ended.structured_content

    ended = agent(door, door.operator, talk)
    assert (ended["status"], ended["state"]) == ("done", "INCONCLUSIVE")
    validate_result(ended["result"])


def test_a_run_is_cancelled(door: Door, worker: ScriptedWorker):
    async def talk(client: Client) -> Any:
        begun = await client.call_tool("start_probe", {"symptom": "json_breaks", "pair": "demo"})
        return await client.call_tool("cancel_run", {"run_id": begun.structured_content["run_id"]})

    assert agent(door, door.operator, talk).structured_content["status"] == "cancelled"


@pytest.mark.parametrize(
    ("tool", "given", "words"),
    [
        ("get_result", {"run_id": "0000000000"}, "There is no session"),
        ("cancel_run", {"run_id": "../x"}, "not the id of a session"),
        ("start_probe", {"symptom": "json_breaks", "pair": "/etc"}, "Registered pairs: demo"),
        ("start_probe", {"symptom": "json_breaks", "pair": "demo", "questions": 500}, "between 1 and 200"),
        ("match_complaint", {"text": "word " * 1000}, "5,000 characters"),
        ("no_such_tool", {}, "no_such_tool"),
    ],
)
def test_what_cannot_be_asked_is_said(door: Door, tool: str, given: dict[str, Any], words: str):
    answer = agent(door, door.operator, lambda c: c.call_tool(tool, given))
    assert answer.is_error
    assert words in said(answer)
    assert "Traceback" not in said(answer)


def test_a_viewer_starts_nothing(door: Door, worker: ScriptedWorker):
    asks = {"symptom": "json_breaks", "pair": "demo"}
    answer = agent(door, door.viewer, lambda c: c.call_tool("start_probe", asks))
    assert answer.is_error
    assert "may read" in said(answer)
    assert worker.runs.count(status=RunStatus.QUEUED) == 0


def test_a_wrong_token_is_not_let_in(door: Door):
    statuses: list[int] = []
    with pytest.raises(BaseExceptionGroup):
        agent(door, "wfgy_wrong", lambda c: c.list_tools(), statuses)
    assert set(statuses) == {401}
