"""Requests to a model server: key, time limits, further tries, and what each kind of failure means in words.

The key is read from the environment here, goes into one header, and is taken out of every text that is quoted. No
redirect is followed, no proxy or password file of the machine is used, and no answer is read beyond a limit.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from wfgy_triage.engines.openai_faults import (
    LOOK,
    UNREACHABLE,
    ServerFault,
    no_connection,
    refusal,
    server_words,
    timed_out,
)
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.server_settings import ServerSettings, refused_host

MOST_BYTES = 8 * 2**20
"""Of one answer, errors included."""
CONNECT_S = 10.0
FIRST_WAIT_S, MOST_WAIT_S, MOST_ASKED_S = 0.5, 8.0, 60.0
"""Wait before a second try, which doubles up to the second number; the longest wait that a server may ask for."""
QUOTED = 200
"""Characters of a server's own words that a message repeats."""
pause = asyncio.sleep
"""What waits between two tries."""
_KEY = re.compile(r"[\x21-\x7e]{1,4096}")
_T = TypeVar("_T")


def read_key(server: ServerSettings) -> str:
    """The key from the variable that the settings name; empty where they name none.

    Raises:
        PrerequisiteError: the variable is not set, or holds what cannot be a key (which is not repeated).
    """
    if not server.key:
        return ""
    key = os.environ.get(server.key, "").strip()
    if not key:
        raise PrerequisiteError(
            f"The environment variable {server.key} is not set; it should hold the key of the model server.",
            f"Set {server.key} for the process that measures, then start again.",
            UNREACHABLE,
        )
    if not _KEY.fullmatch(key):
        raise PrerequisiteError(
            f"What the environment variable {server.key} holds cannot be a key: it has spaces or other characters"
            " that no header can carry.",
            f"Set {server.key} to the key alone.",
            UNREACHABLE,
        )
    return key


class _CheckedStream(httpx.AsyncByteStream):
    """Bytes of an answer: at most so many, and valid UTF-8."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        decoder, total = codecs.getincrementaldecoder("utf-8")("strict"), 0
        async for part in self._stream:
            total += len(part)
            if total > MOST_BYTES:
                raise ServerFault(f"The server sent more than {MOST_BYTES // 2**20} MB for one answer.")
            try:
                decoder.decode(part)
            except UnicodeDecodeError as error:
                raise ServerFault("The server sent text that is not valid UTF-8.", passing=True) from error
            yield part

    async def aclose(self) -> None:
        """Close the connection's side."""
        await self._stream.aclose()


async def _check_stream(response: httpx.Response) -> None:
    response.encoding = "utf-8"  # whatever the header says: event streams and JSON are
    if isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _CheckedStream(response.stream)


class ServerClient:
    """A server for the time of one event loop; use as `async with`.

    Args:
        server: where and how to ask.
        key: from `read_key`.
    """

    def __init__(self, server: ServerSettings, key: str) -> None:
        self._server, self._key = server, key
        self.put_off = 0
        """How often something was asked again because the server was not ready or did not answer."""
        headers = {"Accept-Encoding": "identity"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(server.timeout, connect=min(CONNECT_S, server.timeout), pool=None),
            limits=httpx.Limits(max_connections=server.concurrency),
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),
            event_hooks={"response": [_check_stream]},
        )

    async def __aenter__(self) -> ServerClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()

    async def check_address(self) -> None:
        """Refuse a host name that stands for a link-local or metadata address.

        Raises:
            ServerFault: it does, or it stands for no address at all.
        """
        url = httpx.URL(self._server.url)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(url.host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            hint = "Check `url:` in the pairs file and the network."
            raise ServerFault(
                "The server's name stands for no address.", hint, passing=True, whole=True
            ) from error
        if not self._server.link_local and any(refused_host(str(entry[4][0])) for entry in found):
            raise ServerFault(
                "The server's name stands for a link-local or cloud metadata address.",
                "If a model server really listens there, add `link_local: true` to its block.",
                whole=True,
            )

    async def get_json(self, path: str) -> Any:
        """A JSON document; see `open`."""
        async with self.open("GET", path) as response:
            return await _json(response)

    async def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """The same in answer to a document."""
        async with self.open("POST", path, body) as response:
            return await _json(response)

    @asynccontextmanager
    async def open(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """A response with status 200, its body still to be read; errors while it is read are turned as well.

        Args:
            method: of HTTP.
            path: behind the base address; one that begins with `/` is taken from the server's root.
            body: sent as JSON.

        Raises:
            ServerFault: with what went wrong.
        """
        base = httpx.URL(self._server.url + "/")
        try:
            async with self._http.stream(method, base.join(path), json=body) as response:
                if response.status_code != 200:
                    said = self.quoted(server_words(await _beginning(response)))
                    raise refusal(response, said, self._server.key)
                yield response
        except httpx.TimeoutException as error:
            raise timed_out(error, self._server.timeout) from error
        except httpx.ConnectError as error:
            raise no_connection(error) from error
        except httpx.HTTPError as error:
            raise ServerFault("The connection to the server broke.", LOOK, passing=True) from error

    async def patiently(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Try until it works, as often as the settings allow, waiting as the server asks or longer each time.

        Raises:
            ServerFault: the last one.
        """
        tries = 0
        while True:
            try:
                async with asyncio.timeout(self._server.longest):
                    return await attempt()
            except TimeoutError:
                fault = ServerFault(
                    f"An answer took longer than {self._server.longest:g} seconds.",
                    "Raise `longest:` in the server's block if the model is that slow.",
                )
            except ServerFault as error:
                fault = error
            if not fault.passing or tries == self._server.retries:
                raise fault
            wait = min(FIRST_WAIT_S * 2**tries, MOST_WAIT_S) if fault.wait is None else fault.wait
            if wait > MOST_ASKED_S:
                hint = f"That is longer than {MOST_ASKED_S:g} seconds; start again later."
                raise ServerFault(f"The server asks to wait {wait:.0f} seconds.", hint, whole=True) from fault
            tries += 1
            self.put_off += 1
            await pause(wait)

    def quoted(self, text: str) -> str:
        """Some of a server's own words, on one line and without the key."""
        plain = text.replace(self._key, "[key]") if self._key else text
        return " ".join("".join(c if c.isprintable() else " " for c in plain[: 4 * QUOTED]).split())[:QUOTED]


async def _beginning(response: httpx.Response) -> str:
    """The first part of an error's body."""
    found = ""
    async for part in response.aiter_text():
        found += part
        if len(found) > 16 * QUOTED:
            break
    return found


async def _json(response: httpx.Response) -> Any:
    try:
        return json.loads(await response.aread())
    except (ValueError, RecursionError) as error:
        raise ServerFault("The server sent something that is no JSON.", LOOK, passing=True) from error
