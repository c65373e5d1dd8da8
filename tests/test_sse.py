"""Server-Sent Events: the standard's own examples, and any cutting of the bytes gives the same events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.sse import MAX_EVENT_BYTES, SseEvent, SseParser, SseTooLongError

LINES = st.sampled_from(
    ["data: a", "data:b", "data", ": note", "event: e", "id: 7", "x: y", "", "", "data:  \u00e9\u20ac"]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def whole(raw: bytes) -> list[SseEvent]:
    return SseParser().feed(raw)


def test_the_examples_of_the_standard():
    assert whole(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [SseEvent("YHOO\n+2\n10")]
    stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"
    assert whole(stream) == [SseEvent("first event", id="1"), SseEvent("second event", id="")]
    assert whole(b"data\n\ndata\ndata\n\ndata:") == [SseEvent(""), SseEvent("\n")]
    assert whole(b"data:test\n\ndata: test\n\n") == [SseEvent("test"), SseEvent("test")]


def test_a_byte_order_mark_and_event_names():
    assert whole(b"\xef\xbb\xbfevent: add\r\ndata: 1\r\n\r\n") == [SseEvent("1", "add")]


@given(st.lists(st.tuples(LINES, ENDS), max_size=25), st.data())
def test_any_cutting_gives_the_same_events(lines, data):
    raw = "".join(a + b for a, b in lines).encode()
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=12))
    edges = [0, *sorted(cuts), len(raw)]
    parser, got = SseParser(), []
    for start, end in zip(edges, edges[1:], strict=False):
        got += parser.feed(raw[start:end])
    assert got == whole(raw)
    assert got == by_the_rules(raw.decode())


def by_the_rules(text: str) -> list[SseEvent]:
    """The standard's algorithm, line by line over the whole text."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    events, data, name, last = [], [], "", ""
    for line in lines:
        if not line:
            if data:
                events.append(SseEvent("\n".join(data), name or "message", last))
            data, name = [], ""
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id":
                last = value
    return events


def test_endless_lines_and_events_are_bounded():
    with pytest.raises(SseTooLongError):
        SseParser().feed(b"data: " + b"x" * (MAX_EVENT_BYTES + 1))
    with pytest.raises(SseTooLongError):
        SseParser().feed((b"data: " + b"x" * 100_000 + b"\n") * 20)
