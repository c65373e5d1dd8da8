"""Reads Server-Sent Events from bytes that arrive in pieces of any size, as the HTML standard says.

Lines end with CR LF, LF or CR; an event ends with an empty line; what is unfinished when the stream ends is no event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_EVENT_BYTES = 1 << 20
"""Longest event that is read; one token's event has a few hundred bytes."""

_LINE_END = re.compile(rb"\r\n|\n|\r")


class SseTooLongError(ValueError):
    """An event is longer than `MAX_EVENT_BYTES`."""


@dataclass(frozen=True)
class SseEvent:
    """One event: its data (lines joined by LF), its type, and the last id that was given."""

    data: str
    event: str = "message"
    id: str = ""


class SseParser:
    """Give it bytes as they come; it gives back the events that are complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._started = False
        self._data: list[str] = []
        self._size = 0
        self._event = ""
        self._id = ""

    def feed(self, piece: bytes) -> list[SseEvent]:
        """Read the next bytes.

        Returns:
            The events that these bytes completed, in order.

        Raises:
            SseTooLongError: a line or an event is longer than the limit.
        """
        if self._after_cr and piece:
            piece = piece.removeprefix(b"\n")  # the other half of a CR LF
            self._after_cr = False
        if not piece:
            return []
        text = self._rest + piece
        self._after_cr = text.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(text)
        if len(self._rest) > MAX_EVENT_BYTES:
            raise SseTooLongError(f"a line of the stream is longer than {MAX_EVENT_BYTES} bytes")
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, raw: bytes) -> SseEvent | None:
        if not self._started:
            self._started = True
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw:
            return self._dispatch()
        name, _, value = raw.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._size += len(raw)
            if self._size > MAX_EVENT_BYTES:
                raise SseTooLongError(f"an event is longer than {MAX_EVENT_BYTES} bytes")
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> SseEvent | None:
        data, event = self._data, self._event
        self._data, self._event, self._size = [], "", 0
        return SseEvent("\n".join(data), event or "message", self._id) if data else None
