"""A visitor of the triage page without a browser: asks the server for exactly what the page's own script asks.

The page's events do not wait in a queue; each is one request with the values of the event's inputs, answered by the
new values of its outputs. A visitor keeps those values, holds the connection by which the server knows that a page is
open, and follows the page's timers.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx

_CONFIG = re.compile(r"window\.gradio_config = (\{.*?\});</script>", re.DOTALL)
_ASSET = re.compile(r'(?:src|href)="(\./[^"]+\.(?:js|css)[^"]*)"')


class Visitor:
    """One open page.

    Args:
        url: of the app.
        timeout_s: how long an answer may take.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout_s, headers={"accept": "text/html, */*"})
        self._hash = uuid.uuid4().hex
        self._ids: dict[str, int] = {}
        self._events: dict[tuple[int, str], Mapping[str, Any]] = {}
        self._root = -1
        self._presence: asyncio.Task[None] | None = None
        self.values: dict[int, Any] = {}
        self.timers: dict[int, tuple[bool, float]] = {}

    async def open(self) -> float:
        """Load the page with its files and its first event; return the seconds."""
        began = time.monotonic()
        answer = await self._http.get("/")
        answer.raise_for_status()
        found = _CONFIG.search(answer.text)
        if found is None:
            raise RuntimeError("the page has no configuration")
        self._learn(json.loads(found[1]))
        await asyncio.gather(*(self._http.get(a) for a in sorted(set(_ASSET.findall(answer.text)))))
        self._presence = asyncio.create_task(self._be_there())
        await self._send(self._root, "load")
        return time.monotonic() - began

    def _learn(self, config: Mapping[str, Any]) -> None:
        self._ids, self.values, self.timers = {}, {}, {}
        for component in config["components"]:
            properties = component.get("props", {})
            self.values[component["id"]] = properties.get("value")
            if properties.get("elem_id"):
                self._ids[properties["elem_id"]] = component["id"]
            if component["type"] == "timer":
                self.timers[component["id"]] = (properties.get("active", True), properties["value"])
        for event in config["dependencies"]:
            for target, name in event["targets"]:
                if event.get("backend_fn"):
                    self._events.setdefault((target, name), event)
        # The page itself is the only target of `load` that is no component.
        self._root = next(t for t, name in self._events if name == "load" and t not in self.values)

    def value(self, elem_id: str) -> Any:
        """What a component holds."""
        return self.values.get(self._ids[elem_id])

    async def does(self, elem_id: str, event: str, value: Any = None) -> float:
        """Set a component, let its event happen, take the answer in; return the seconds."""
        component = self._ids[elem_id]
        if value is not None:
            self.values[component] = value
        return await self._send(component, event)

    async def follow(self, times: list[float]) -> None:
        """Let the page's active timers tick for as long as there is one; add the seconds of every answer."""
        while active := {t: s for t, (on, s) in self.timers.items() if on}:
            await asyncio.sleep(min(active.values()))
            for timer in active:
                times.append(await self._send(timer, "tick"))

    async def _send(self, component: int, name: str) -> float:
        event = self._events[component, name]
        body = {
            "data": [self.values.get(i) for i in event["inputs"]],
            "fn_index": event["id"],
            "session_hash": self._hash,
            "trigger_id": component,
            "event_data": None,
        }
        began = time.monotonic()
        answer = await self._http.post("/gradio_api/run/predict", json=body)
        answer.raise_for_status()
        seconds = time.monotonic() - began
        before = dict(self.values)
        self._take(event["outputs"], answer.json()["data"])
        for changed in [c for c in event["outputs"] if self.values.get(c) != before.get(c)]:
            if (changed, "change") in self._events:
                await self._send(changed, "change")
        return seconds

    def _take(self, outputs: Sequence[int], data: Sequence[Any]) -> None:
        for component, new in zip(outputs, data, strict=True):
            if not isinstance(new, dict) or new.get("__type__") != "update":
                self.values[component] = new
                continue
            if component in self.timers:
                on, seconds = self.timers[component]
                self.timers[component] = (new.get("active", on), new.get("value") or seconds)
            elif "value" in new:
                self.values[component] = new["value"]

    async def _be_there(self) -> None:
        """Browsers keep this stream open; by it the server knows that a page went away."""
        with suppress(httpx.HTTPError):
            async with self._http.stream(
                "GET", f"/gradio_api/heartbeat/{self._hash}", timeout=None
            ) as stream:
                async for _ in stream.aiter_raw():
                    pass

    async def leave(self) -> None:
        """Close the page."""
        if self._presence is not None:
            self._presence.cancel()
            await asyncio.gather(self._presence, return_exceptions=True)
        await self._http.aclose()
