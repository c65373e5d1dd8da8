"""What a cut-off answer already rules out: can any continuation of it still be JSON, or fit the schema?

A runaway list is cut by the length limit, yet its seventh item has already broken a `maxItems` of 6. Only complaints
that more text cannot take back are counted; whenever that is not certain, the answer stays undecided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema.exceptions import ValidationError

from wfgy_triage.measure.schema_guard import schema_errors
from wfgy_triage.measure.strict_json import JsonRefused, parse_json

_CLOSERS = {"{": "}", "[": "]"}
_STARTS = tuple('{["-0123456789tfn')
"""How a JSON text can begin."""
_ALWAYS_LASTING = frozenset({"type", "additionalProperties", "maxItems", "maxProperties", "uniqueItems"})
"""Complaints that stay whatever is added to a container."""
_LASTING_FOR_SCALARS = frozenset(
    {"enum", "const", "pattern", "minLength", "maxLength"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
)
"""Complaints about a text or number that is complete."""
_CONDITIONAL = frozenset(
    {"if", "then", "else", "anyOf", "oneOf", "allOf", "not", "contains", "dependentSchemas"}
)
"""Parts of a schema whose outcome can turn as a container grows."""


@dataclass(frozen=True)
class PrefixVerdict:
    """What no continuation can change. `reason` is empty when nothing is settled yet."""

    never_parses: bool = False
    never_fits: bool = False
    reason: str = ""


def judge_prefix(text: str, schema: Mapping[str, Any] | bool) -> PrefixVerdict:
    """Judge an answer that was cut off.

    Args:
        text: the answer up to the cut.
        schema: the record's JSON Schema, already found safe.

    Raises:
        InputError: the schema is refused or too expensive.
    """
    start = text.lstrip(" \t\n\r")
    if not start.startswith(("{", "[")):
        return PrefixVerdict()
    whole = _close(start)
    if whole is None:
        return PrefixVerdict()
    try:
        value = parse_json(whole)
    except JsonRefused as error:
        return PrefixVerdict(True, True, f"already not JSON: {error}")
    lasting = [e for e in schema_errors(schema, value) if _lasts(e)]
    if not lasting:
        return PrefixVerdict()
    return PrefixVerdict(False, True, f"already outside the schema: {lasting[0].message[:160]}")


def could_go_on(text: str, schema: Mapping[str, Any] | bool) -> bool:
    """Whether more text could make an answer fit that does not fit yet; True wherever that is not certain.

    Args:
        text: what there is: no whole JSON value that fits.
        schema: as for `judge_prefix`.

    Raises:
        InputError: the schema is refused or too expensive.
    """
    start = text.lstrip(" \t\n\r")
    if not start:
        return True
    if not start.startswith(_STARTS) or _is_complete(start):
        return False
    verdict = judge_prefix(text, schema)
    return not (verdict.never_parses or verdict.never_fits)


def _is_complete(text: str) -> bool:
    """Whether every bracket that was opened has been closed again, at some place."""
    depth = 0
    for _, character in _outside_strings(text):
        depth += (character in _CLOSERS) - (character in "}]")
        if depth == 0 and character in "}]":
            return True
    return False


def _close(text: str) -> str | None:
    """The text up to its last complete element, open brackets closed; None when there is no such element."""
    stack: list[str] = []
    best: str | None = None
    for index, character in _outside_strings(text):
        if character in _CLOSERS:
            stack.append(_CLOSERS[character])
        elif character in "}]":
            if not stack or stack.pop() != character:
                return text  # brackets that do not match: the reader says so
            if not stack:
                return None  # the value is complete; what follows is not this function's business
            best = text[: index + 1] + "".join(reversed(stack))
        elif character == ",":
            best = text[:index] + "".join(reversed(stack))
    return best


def _outside_strings(text: str) -> Iterator[tuple[int, str]]:
    """Characters with their places, those of strings left out."""
    in_string = escaped = False
    for index, character in enumerate(text):
        if not in_string:
            in_string = character == '"'
            yield index, character
        elif escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            in_string = False


def _lasts(error: ValidationError) -> bool:
    if _CONDITIONAL & {str(part) for part in error.absolute_schema_path}:
        return False
    if error.validator in _ALWAYS_LASTING:
        return True
    return error.validator in _LASTING_FOR_SCALARS and not isinstance(error.instance, dict | list)
