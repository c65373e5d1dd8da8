"""The texts of an answer from its recorded bytes: one JSON object, or a stream of events. Pure and bounded."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.sse import SseParser, SseTooLongError

MAX_BYTES = 8 << 20
"""Bytes of a stream that are read, packed or not; there are about 250 a token."""
MAX_OBJECT_BYTES = 2 << 20
"""Bytes of an answer that is no stream: it is read in one go, which nothing else can interrupt."""
_STEP = 64 << 10
MAX_CHOICES = 16
_DONE = "[DONE]"
_WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}


@dataclass(frozen=True)
class Choice:
    """One of the answers: its text (None where there is none, as with a tool call), and why it ended."""

    text: str | None
    finish: str = ""


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        choices: the answers; usually one.
        prompt_tokens: as the server says; None when it does not.
        completion_tokens: as the server says; None when it does not.
        complete: whether it came to its end.
        problem: why it could not be read (a class of failure); empty when it could.
    """

    choices: tuple[Choice, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    complete: bool = False
    problem: str = ""


def read_answer(pieces: Sequence[bytes], encoding: str, streaming: bool) -> Answer:
    """Read an answer.

    Args:
        pieces: its bytes as they came.
        encoding: of the response's header `content-encoding`.
        streaming: whether they are events.
    """
    raw = _unpacked(b"".join(pieces), encoding.strip().lower())
    if isinstance(raw, str):
        return Answer(problem=raw)
    return _from_events(raw) if streaming else _from_object(raw)


def _unpacked(raw: bytes, encoding: str) -> bytes | str:
    """The plain bytes, or why they cannot be had."""
    if encoding in ("", "identity"):
        return raw
    if encoding not in _WINDOW:
        return "unknown_encoding"
    unpack = zlib.decompressobj(_WINDOW[encoding])
    try:
        plain = unpack.decompress(raw, MAX_BYTES + 1)
    except zlib.error:
        return "unreadable_answer"
    return plain if len(plain) <= MAX_BYTES else "too_long"


def _from_object(raw: bytes) -> Answer:
    if len(raw) > MAX_OBJECT_BYTES:
        return Answer(complete=True, problem="too_long")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        return Answer(problem="unreadable_answer")
    listed = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        return Answer(problem="unreadable_answer")
    choices = tuple(_whole(choice) for choice in listed[:MAX_CHOICES] if isinstance(choice, Mapping))
    return Answer(choices, *_usage(data), complete=True)


def _whole(choice: Mapping[str, Any]) -> Choice:
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
    finish = choice.get("finish_reason")
    return Choice(text if isinstance(text, str) else None, finish if isinstance(finish, str) else "")


def _from_events(raw: bytes) -> Answer:
    parser, told = SseParser(), _Told()
    try:
        # In steps: other threads get their turn in between.
        for start in range(0, len(raw), _STEP):
            for event in parser.feed(raw[start : start + _STEP]):
                if event.data == _DONE:
                    told.done = True
                elif not told.add(event.data):
                    return Answer(problem="malformed_stream")
                elif told.broke_off:
                    return Answer((), *told.usage, problem="upstream_error")
    except SseTooLongError:
        return Answer(problem="too_long")
    return told.answer()


class _Told:
    """Puts the pieces of a stream together."""

    def __init__(self) -> None:
        self.texts: dict[int, list[str]] = {}
        self.finish: dict[int, str] = {}
        self.usage: tuple[int | None, int | None] = (None, None)
        self.done = self.broke_off = False

    def add(self, text: str) -> bool:
        """Read one event; False when it is not what an OpenAI-compatible server sends."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if not isinstance(data, dict):
            return False
        if isinstance(data.get("usage"), Mapping):
            self.usage = _usage(data)
        # The status has gone out long before: what stopped a server midway can only be told within the stream.
        self.broke_off = bool(data.get("error"))
        listed = data.get("choices")
        for choice in listed if isinstance(listed, list) else []:
            if isinstance(choice, Mapping):
                self._choice(choice)
        return True

    def _choice(self, choice: Mapping[str, Any]) -> None:
        index = choice.get("index")
        place = index if isinstance(index, int) else 0
        if not 0 <= place < MAX_CHOICES:
            return
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, Mapping) else choice.get("text")
        if isinstance(text, str):
            self.texts.setdefault(place, []).append(text)
        if isinstance(choice.get("finish_reason"), str):
            self.finish[place] = choice["finish_reason"]

    def answer(self) -> Answer:
        places = sorted(self.texts.keys() | self.finish.keys())
        choices = tuple(
            Choice("".join(self.texts[p]) if p in self.texts else None, self.finish.get(p, ""))
            for p in places
        )
        ended = self.done or (bool(places) and all(p in self.finish for p in places))
        return Answer(choices, *self.usage, complete=ended)


def _usage(data: Mapping[str, Any]) -> tuple[int | None, int | None]:
    usage = data.get("usage")
    if not isinstance(usage, Mapping):
        return None, None
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))


def _count(value: Any) -> int | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31
    return value if good else None
