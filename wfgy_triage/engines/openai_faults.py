"""What can go wrong with a request to a model server, and what each failure means in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

UNREACHABLE = "server_unreachable"
"""The fix map's cause."""
LOOK = "Look into the server's own log. What was measured before is kept."


class ServerFault(Exception):  # noqa: N818 - what happened, on its way to a TriageError
    """One request that failed.

    Args:
        message: what happened.
        hint: what to do about it.
        passing: another try may help.
        whole: it concerns the server, not the one request, so that others would fail alike.
        wait: seconds that the server asks to wait.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        passing: bool = False,
        whole: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.hint, self.passing, self.whole, self.wait = message, hint, passing, whole, wait


def timed_out(error: httpx.TimeoutException, limit: float) -> ServerFault:
    """No connection, or no byte for `limit` seconds."""
    if isinstance(error, httpx.ConnectTimeout):
        return no_connection(error)
    return ServerFault(
        f"The server sent nothing for {limit:g} seconds.",
        "Raise `timeout:` in the server's block if it is only slow.",
        passing=True,
    )


def no_connection(error: Exception) -> ServerFault:
    """Nobody listens, or not with a certificate that is accepted."""
    if "CERTIFICATE" in str(error).upper():
        hint = "Check its certificate and date."
        return ServerFault("The server's certificate is not accepted.", hint, whole=True)
    return ServerFault(
        "The server does not answer: no connection could be made.",
        "Start it, or check `url:` in the pairs file.",
        passing=True,
        whole=True,
    )


def refusal(response: httpx.Response, said: str, key: str) -> ServerFault:
    """What a status other than 200 means.

    Args:
        response: its status and headers.
        said: the server's own words, fit to be repeated.
        key: name of the variable that holds the key; empty without one.
    """
    status, told = response.status_code, f" It says: {said}" if said else ""
    if response.is_redirect:
        hint = "Redirects are not followed, so that the key goes nowhere else. Put the final address into `url:`."
        return ServerFault(f"The server redirects to another address (status {status}).", hint, whole=True)
    if status in (401, 403):
        hint = (
            f"Check the environment variable {key}: it must hold a key that this server accepts."
            if key
            else "Name an environment variable in `key:` of the server's block, and put the key into it."
        )
        return ServerFault(f"The server refuses the key (status {status}).{told}", hint, whole=True)
    if status == 404:
        hint = (
            "Check `url:`, which usually ends with /v1, and `model:`. A server that has no completion endpoint needs"
            " `endpoint: chat`."
        )
        message = f"The server does not know this address or model (status 404).{told}"
        return ServerFault(message, hint, whole=True)
    if status in (400, 413, 422):
        hint = (
            "Another try would be refused alike. Compare `token_ids`, `endpoint`, `schema` and `context` of the"
            " server's block with what this server takes."
        )
        return ServerFault(f"The server refuses the request (status {status}).{told}", hint)
    passing = may_pass(status)
    message = f"The server answered with status {status}.{told}"
    return ServerFault(message, LOOK, passing=passing, wait=_asked_wait(response) if passing else None)


def may_pass(status: int) -> bool:
    """Whether another try may help after this status, of an answer or named in a stream."""
    return status in (408, 409, 425, 429) or status >= 500


def _asked_wait(response: httpx.Response) -> float | None:
    """Seconds that a `Retry-After` header asks for; None without one that can be read."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:6])
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def server_words(text: str) -> str:
    """The message of an error body as servers write it: `{"error": {"message"}}`, `{"detail"}`, or plain text.

    `detail` is a text, or a list with a record for each field that is wrong.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail"):
        if isinstance(data, dict) and name in data:
            data = data[name]
    if isinstance(data, list) and all(isinstance(e, dict) and isinstance(e.get("msg"), str) for e in data):
        return "; ".join(dict.fromkeys(_field_words(entry) for entry in data))
    return data if isinstance(data, str) else json.dumps(data)


def _field_words(entry: Mapping[str, Any]) -> str:
    """What is wrong with one field of a request, without what was sent in it."""
    place = entry.get("loc")
    names = [str(p) for p in place if p != "body"] if isinstance(place, list) else []
    return f"{names[0]}: {entry['msg']}" if names else str(entry["msg"])
