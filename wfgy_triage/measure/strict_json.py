"""Reads JSON that a model wrote, strictly and within limits.

RFC 8259 as `json` implements it, minus what it tolerates: NaN and Infinity, numbers that overflow to
infinity, duplicate keys. Also finds a JSON value that stands inside other text. Knows nothing of schemas.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

MAX_CHARS = 32_768
"""Longest text that is read. An answer of 1,024 tokens has about 5,000."""
MAX_DEPTH = 64
"""Deepest nesting that is accepted."""
_MAX_STARTS = 64
"""How many opening brackets are tried when looking for JSON inside prose."""

_WHITESPACE = " \t\n\r"
_FENCE = re.compile(r"```[A-Za-z0-9_-]{0,20}[ \t]*\r?\n(.*?)```", re.DOTALL)
_OPEN_FENCE = re.compile(r"```[A-Za-z0-9_-]{0,20}$")


class JsonRefused(ValueError):
    """The text is not acceptable JSON; the message says why."""


@dataclass(frozen=True)
class EmbeddedJson:
    """A JSON value found inside other text; `before` and `after` surround it (white space stripped)."""

    value: Any
    before: str
    after: str
    fenced: bool


def parse_json(text: str, longest: int = MAX_CHARS) -> Any:
    """Parse the whole text, of at most `longest` characters, as one JSON value; white space around it is allowed.

    Raises:
        JsonRefused: not JSON, or beyond the limits of this module.
    """
    if len(text) > longest:
        raise JsonRefused(f"longer than {longest} characters")
    value, end = _decode(text, _skip_space(text, 0))
    if _skip_space(text, end) != len(text):
        raise JsonRefused(f"text after the JSON value, at character {end + 1}")
    return value


def find_json(text: str) -> EmbeddedJson | None:
    """Find an object or array inside a code fence or between other text; None when there is none.

    A closed fence is looked at first; otherwise the first bracket from which a whole value can be read
    counts, unless an earlier one is still open: then it is a part of something broken, not a value.
    """
    if len(text) > MAX_CHARS:
        return None
    fence = _FENCE.search(text)
    if fence is not None:
        try:
            value = parse_json(fence.group(1))
        except JsonRefused:
            value = None
        if isinstance(value, dict | list):
            return EmbeddedJson(value, text[: fence.start()].strip(), text[fence.end() :].strip(), True)
    starts = [match.start() for match in re.finditer(r"[{\[]", text)]
    for start in starts[:_MAX_STARTS]:
        if any(text.count(a, 0, start) != text.count(b, 0, start) for a, b in ("{}", "[]")):
            continue
        try:
            value, end = _decode(text, start)
        except JsonRefused:
            continue
        before, after = text[:start].strip(), text[end:].strip()
        return EmbeddedJson(value, before, after, _OPEN_FENCE.search(before) is not None)
    return None


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in _WHITESPACE:
        position += 1
    return position


def _decode(text: str, start: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise JsonRefused(f"{error.msg.removesuffix(' at')} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise JsonRefused(f"nested deeper than {MAX_DEPTH} levels") from error
    except JsonRefused:
        raise
    except ValueError as error:  # an integer with more digits than Python converts
        raise JsonRefused("a number with too many digits") from error
    if _deeper_than(value, MAX_DEPTH):
        raise JsonRefused(f"nested deeper than {MAX_DEPTH} levels")
    return value, end


def _deeper_than(value: Any, limit: int) -> bool:
    """Whether containers are nested more than `limit` deep (level by level: the stack cannot overflow)."""
    level = [value]
    for _ in range(limit + 1):
        children: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                children.extend(item.values())
            elif isinstance(item, list):
                children.extend(item)
        level = [item for item in children if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise JsonRefused("a key is given twice in one object")
    return result


def _no_constant(name: str) -> Any:
    raise JsonRefused(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonRefused(f"the number {text[:40]} is too large")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite)
