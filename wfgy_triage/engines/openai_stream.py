"""One answer of a model server, read from its stream: text, how it ended, what it cost, and when words arrived."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx

from wfgy_triage.engines.base import FinishReason, Timing
from wfgy_triage.engines.openai_faults import LOOK, ServerFault, may_pass
from wfgy_triage.engines.text import first_stop
from wfgy_triage.sse import SseParser, SseTooLongError

DONE = "[DONE]"
_ENDS: Mapping[str, FinishReason] = {
    "stop": "stop", "eos": "stop", "eos_token": "stop", "stop_sequence": "stop", "length": "length",
    "max_tokens": "length",
}  # fmt: skip
"""What servers call the end of an answer. Anything else (a filter, an abort) is no answer that could be judged."""


@dataclass
class Answer:
    """What has been read so far.

    Attributes:
        text: the answer.
        ended: how it ended; None while it goes on.
        logprobs: natural-log probability of each token of the answer, as far as the server gives them.
        prompt_tokens: as the server counts them; None where it does not say.
        completion_tokens: the same for the answer.
        first: seconds from the request to the first text; None without any.
        last: the same for the last text.
    """

    text: str = ""
    ended: FinishReason | None = None
    logprobs: list[float] = field(default_factory=list)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first: float | None = None
    last: float | None = None

    @property
    def timing(self) -> Timing | None:
        """Time to the first text, and for each further token where the server has counted them."""
        if self.first is None or self.last is None:
            return None
        tokens = self.completion_tokens
        further = (self.last - self.first) / (tokens - 1) if tokens is not None and tokens > 1 else None
        return Timing(self.first, further)


async def read_answer(
    response: httpx.Response,
    began: float,
    stops: Sequence[str],
    quoted: Callable[[str], str],
) -> Answer:
    """Read a stream to its end, or to where a stop string appears.

    Comments and keep-alives are passed over, and a missing `[DONE]` does no harm.

    Args:
        response: a started response.
        began: `time.monotonic()` when the request was sent.
        stops: what ends the answer; it is cut off. Servers that ignore stop strings are stopped by hanging up.
        quoted: makes a server's own words fit to be repeated.

    Raises:
        ServerFault: it is no event stream, an event cannot be read, or it broke off before the answer was complete.
    """
    answer = Answer()
    async with aclosing(_events(response)) as events:
        async for data in events:
            if data.strip() == DONE:
                break
            if data.strip():
                _take(answer, _parsed(data), began, quoted)
            if (at := first_stop(answer.text, stops)) >= 0:
                answer.text, answer.ended = answer.text[:at], "stop_string"
                # What the server would still say (its counts) belongs to words that are cut off here.
                answer.completion_tokens, answer.logprobs = None, []
                return answer
    if answer.ended is None:
        raise ServerFault("The stream broke off before the answer was complete.", LOOK, passing=True)
    return answer


async def _events(response: httpx.Response) -> AsyncGenerator[str, None]:
    """The data of each event as it comes."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise ServerFault("The server does not stream: it sent another kind of content.", LOOK, whole=True)
    parser = SseParser()
    async for piece in response.aiter_bytes():
        try:
            events = parser.feed(piece)
        except SseTooLongError as error:
            raise ServerFault(f"The server sent a stream in which {error}.", LOOK, passing=True) from error
        for event in events:
            yield event.data


def _parsed(data: str) -> Mapping[str, Any]:
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ServerFault("The stream holds an event that is no JSON.", LOOK, passing=True) from error
    if not isinstance(chunk, dict):
        raise ServerFault("The stream holds an event of an unknown form.", LOOK, passing=True)
    return chunk


def _take(answer: Answer, chunk: Mapping[str, Any], began: float, quoted: Callable[[str], str]) -> None:
    """Add one event."""
    if chunk.get("error"):
        error = chunk["error"]
        said, code = (
            (error.get("message", error), error.get("code")) if isinstance(error, dict) else (error, None)
        )
        raise ServerFault(
            f"The server gave up on the answer. It says: {quoted(str(said))}",
            LOOK,
            # Some check a request only when the stream has begun: a refusal comes with a status in it.
            passing=not isinstance(code, int) or may_pass(code),
        )
    _take_usage(answer, chunk.get("usage"))
    choices = chunk.get("choices") or ()
    choice = choices[0] if isinstance(choices, list) and choices else None
    if choice is None:
        return
    if not isinstance(choice, dict):
        raise ServerFault("The stream holds an event of an unknown form.", LOOK, passing=True)
    delta = choice.get("delta")
    text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
    if isinstance(text, str) and text:
        now = time.monotonic() - began
        answer.first = now if answer.first is None else answer.first
        answer.last = now
        answer.text += text
    answer.logprobs += _logprobs(choice.get("logprobs"))
    reason = choice.get("finish_reason")
    if reason is not None:
        if reason not in _ENDS:
            raise ServerFault(f"The server ended the answer in another way: {quoted(str(reason))}.", LOOK)
        answer.ended = _ENDS[reason]


def _take_usage(answer: Answer, usage: Any) -> None:
    """Some servers count in every event, some in the last alone."""
    if not isinstance(usage, dict):
        return
    for name in ("prompt_tokens", "completion_tokens"):
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            setattr(answer, name, value)


def _logprobs(found: Any) -> list[float]:
    """The numbers in either form: lists beside each other (completions), or one record a token (chat)."""
    if not isinstance(found, dict):
        return []
    values = found.get("token_logprobs")
    if values is None and isinstance(found.get("content"), list):
        values = [entry.get("logprob") for entry in found["content"] if isinstance(entry, dict)]
    numbers = [v for v in values or () if isinstance(v, int | float) and not isinstance(v, bool)]
    return [float(v) for v in numbers if math.isfinite(v)]
