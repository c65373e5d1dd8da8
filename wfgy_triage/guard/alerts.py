"""Who is told when a rate leaves its gate or comes back: the log, in one line, and a webhook of the admin's."""

from __future__ import annotations

import json
import logging
import queue
import threading
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

import httpx

from wfgy_triage.errors import InputError
from wfgy_triage.guard.states import LEFT, GateState
from wfgy_triage.store.guard import GuardEvent

TRIES = 6
FIRST_PAUSE_S = 1.0
_WAITING = 100
_TIMEOUT_S = 10.0

_log = logging.getLogger("wfgy_triage.guard.alert")


class Alerts(Protocol):
    """Told of every change."""

    def tell(self, event: GuardEvent, state: GateState) -> None:
        """A gate was left, or came back. Must return at once."""


def event_of(state: GateState, change: str) -> GuardEvent:
    """The change as it is stored."""
    interval = state.judgement.interval
    low, high = interval.bounds if interval else (0.0, 1.0)
    return GuardEvent(
        datetime.now(UTC), state.watch.gate.id, change, state.value or 0.0, low, high, state.answers
    )


def payload_of(event: GuardEvent, state: GateState) -> dict[str, Any]:
    """The change as a webhook gets it: numbers and names of the fix map, no text of an answer."""
    gate = state.watch.gate
    word = "left" if event.change == LEFT else "is back within"
    return {
        "text": f"{state.watch.label}: {event.value:.1%} of the last {event.answers} answers; the rate {word} its "
        f"gate ({gate.op} {gate.value:g}).",
        "event": event.change,
        "at": event.at.isoformat(timespec="seconds"),
        "gate": gate.id,
        "metric": gate.metric,
        "op": gate.op,
        "bound": gate.value,
        "value": round(event.value, 6),
        "interval": [round(event.low, 6), round(event.high, 6)],
        "answers": event.answers,
        "symptom": state.watch.symptom,
        "source": gate.source,
    }


class LogAlerts:
    """One structured line a change."""

    def tell(self, event: GuardEvent, state: GateState) -> None:
        """Write the line."""
        _log.warning("guard-alert %s", json.dumps(payload_of(event, state), ensure_ascii=False))


def asked_address(url: str) -> SplitResult | None:
    """The parts of an http or https address; None for what the client that asks would not take as one."""
    try:
        httpx.URL(url)
        parts = urlsplit(url)
        asked = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and " " not in url
    # A port that is none, brackets that are not closed, signs that no address has.
    except (httpx.InvalidURL, ValueError):
        return None
    return parts if asked else None


def checked_webhook(url: str) -> str:
    """The admin's address for alerts.

    Raises:
        InputError: not http or https, no address that can be asked, or with a user name in it.
    """
    parts = asked_address(url)
    if parts is None or "@" in parts.netloc:
        raise InputError("The webhook is not an http or https address.", "For example https://host/path.")
    return url


class WebhookAlerts:
    """Writes the line, and posts the change as JSON; a failed post is tried again with doubling pauses.

    Args:
        url: of `checked_webhook`.
        transport: for tests.
        first_pause_s: before the second try.
    """

    def __init__(
        self, url: str, transport: httpx.BaseTransport | None = None, first_pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self._url = url
        self._pause = first_pause_s
        self._client = httpx.Client(
            timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False, transport=transport
        )
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(_WAITING)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guard-webhook", daemon=True)
        self._thread.start()

    def tell(self, event: GuardEvent, state: GateState) -> None:
        """Write the line and hand the post over."""
        LogAlerts().tell(event, state)
        try:
            self._queue.put_nowait(payload_of(event, state))
        except queue.Full:
            _log.warning("the webhook does not answer; this change is not posted")

    def stop(self, wait_s: float = 5.0) -> None:
        """Post what waits, once, and end."""
        self._ending.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(wait_s)

    def _run(self) -> None:
        with self._client:
            while (payload := self._queue.get()) is not None:
                self._post(payload)

    def _post(self, payload: dict[str, Any]) -> None:
        pause = self._pause
        for attempt in range(TRIES):
            try:
                answer = self._client.post(self._url, json=payload)
                if answer.is_success:
                    return
                why = f"status {answer.status_code}"
            except httpx.HTTPError as error:
                why = type(error).__name__
            if attempt == TRIES - 1 or self._ending.wait(pause):
                break
            pause *= 2
        _log.warning("the webhook did not take an alert (%s)", why)
