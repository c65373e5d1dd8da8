"""Which headers pass: all but those that belong to one connection (RFC 9110, section 7.6.1)."""

from __future__ import annotations

from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

VERDICT = b"x-wfgy-guard"

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OF_REQUEST = frozenset({b"host", b"content-length", b"expect"})


def onward(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of a request for the server behind; host and length are set anew."""
    return [(k, v) for k, v in _end_to_end(headers) if k.lower() not in _OF_REQUEST]


def back(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of a response for the client. A verdict that the server behind claims is not passed."""
    return [(k.lower(), v) for k, v in _end_to_end(headers) if k.lower() != VERDICT]


def value_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    """The value of a header; empty without it."""
    return next((v.decode("latin-1") for k, v in headers if k.lower() == name), "")


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    pairs = list(headers)
    named = {
        part.strip().lower()
        for key, value in pairs
        if key.lower() == b"connection"
        for part in value.split(b",")
    }
    dropped = _HOP_BY_HOP | named
    return [(k, v) for k, v in pairs if k.lower() not in dropped]
