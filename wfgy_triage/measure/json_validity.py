"""Sorts a model's answer into the classes of JSON failure.

An answer is judged as the program behind it would: the whole text must be one JSON value (white space around
it is allowed). Everything else has a class of its own, so that different faults are never added up blindly:

* `truncated`: the length limit fell before the JSON value was complete. Never counted as invalid, whatever
  the part looks like. An object or array that begins the answer and is complete is judged as usual even when
  the limit was reached later: no further token could repair what follows it.
* `trailing_text`, `leading_text`, `code_fence`: a complete object or array with other text around it
  (`leading_text` also when text follows). Not parse-valid; `recoverable` says whether cutting it out helps.
* `malformed`: cannot be read as JSON (also NaN, duplicate keys, excessive size or depth). `empty`: no text.
* `schema_mismatch`: parses, and breaks the schema. `valid`: parses and fits.

Drift (keys missing or added, types, enum values) is read from the schema's complaints and, where an expected
record is given, from the comparison with it; for JSON inside other text it describes that JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from jsonschema.exceptions import ValidationError

from wfgy_triage.measure.json_prefix import judge_prefix
from wfgy_triage.measure.json_structure import structural_positions
from wfgy_triage.measure.schema_guard import check_schema_safe, schema_errors
from wfgy_triage.measure.strict_json import EmbeddedJson, JsonRefused, find_json, parse_json

__all__ = ["JsonKind", "JsonOutcome", "check_schema_safe", "classify_json", "structural_positions"]

_MAX_PATHS = 20
_MAX_KEY_CHARS = 80


class JsonKind(StrEnum):
    """The classes; exactly one applies to an answer."""

    VALID = "valid"
    SCHEMA_MISMATCH = "schema_mismatch"
    TRAILING_TEXT = "trailing_text"
    LEADING_TEXT = "leading_text"
    CODE_FENCE = "code_fence"
    MALFORMED = "malformed"
    EMPTY = "empty"
    TRUNCATED = "truncated"


@dataclass(frozen=True)
class JsonOutcome:
    """What one answer is worth to a program that expects JSON.

    Attributes:
        kind: the class.
        parse_valid: the whole text is one JSON value; meaningless (False) when truncated.
        schema_valid: and it fits the schema; meaningless (False) when truncated.
        trailing_text: something follows the JSON value.
        truncated: the JSON value was cut off by the length limit.
        missing_keys: paths of keys that should be there, e.g. `address.city`.
        extra_keys: paths of keys that should not.
        type_drift: paths of values of another JSON type than wanted.
        enum_drift: paths of values outside their `enum` or `const`.
        value_matches: equal to the expected record; None when none is given or the answer is truncated.
        recoverable: not parse-valid, but the JSON inside fits the schema.
        never_parses: truncated, and no continuation would have been JSON.
        never_fits: truncated, and no continuation would have fitted the schema.
        detail: one short English sentence for the page.
    """

    kind: JsonKind
    parse_valid: bool
    schema_valid: bool
    trailing_text: bool
    truncated: bool
    missing_keys: tuple[str, ...]
    extra_keys: tuple[str, ...]
    type_drift: tuple[str, ...]
    enum_drift: tuple[str, ...]
    value_matches: bool | None
    detail: str
    recoverable: bool = False
    never_parses: bool = False
    never_fits: bool = False


def classify_json(
    text: str,
    schema: Mapping[str, Any] | bool,
    truncated: bool,
    expected: Mapping[str, Any] | None = None,
) -> JsonOutcome:
    """Classify one answer.

    Args:
        text: the answer as generated, special tokens removed.
        schema: the record's JSON Schema (draft 2020-12).
        truncated: generation ended at the token limit.
        expected: the right record, for content and key drift; None when unknown.

    Raises:
        InputError: the schema is refused or too expensive (never because of the answer).
    """
    check_schema_safe(schema)
    try:
        value = parse_json(text)
    except JsonRefused as error:
        return _not_json(text, schema, truncated, expected, str(error))
    if truncated and not isinstance(value, dict | list):
        return _cut_off(text, schema)
    drift = _Drift.of(value, schema, expected)
    kind = JsonKind.VALID if drift.schema_valid else JsonKind.SCHEMA_MISMATCH
    matches = None if expected is None else same_value(value, expected)
    return _outcome(kind, drift.sentence, drift, matches)


def same_value(left: Any, right: Any) -> bool:
    """JSON equality: numbers by value, booleans never equal to numbers, key order ignored."""
    if _json_type(left) != _json_type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same_value(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same_value, left, right))
    return bool(left == right)


def _not_json(
    text: str,
    schema: Mapping[str, Any] | bool,
    truncated: bool,
    expected: Mapping[str, Any] | None,
    reason: str,
) -> JsonOutcome:
    found = find_json(text)
    # Brackets inside a preamble may not be the answer yet, so a preamble that was cut off decides nothing.
    if truncated and (found is None or found.before):
        return _cut_off(text, schema)
    matches = None if expected is None else False
    if found is None:
        if not text.strip():
            return _outcome(JsonKind.EMPTY, "The answer is empty.", matches=matches)
        return _outcome(JsonKind.MALFORMED, f"Not JSON: {reason}.", matches=matches)
    drift = _Drift.of(found.value, schema, expected)
    kind, sentence = _surrounded(found)
    return _outcome(kind, f"{sentence} {drift.sentence}", drift, matches, found)


def _cut_off(text: str, schema: Mapping[str, Any] | bool) -> JsonOutcome:
    prefix = judge_prefix(text, schema)
    detail = "The answer was cut off by the length limit" + (f"; {prefix.reason}" if prefix.reason else "")
    outcome = _outcome(JsonKind.TRUNCATED, f"{detail}.")
    return replace(outcome, never_parses=prefix.never_parses, never_fits=prefix.never_fits)


def _surrounded(found: EmbeddedJson) -> tuple[JsonKind, str]:
    if found.fenced:
        return JsonKind.CODE_FENCE, "The JSON stands in a code block."
    if found.before:
        return JsonKind.LEADING_TEXT, "There is text before the JSON."
    return JsonKind.TRAILING_TEXT, "There is text after the JSON."


def _outcome(
    kind: JsonKind,
    detail: str,
    drift: _Drift | None = None,
    matches: bool | None = None,
    inside: EmbeddedJson | None = None,
) -> JsonOutcome:
    parsed = kind in (JsonKind.VALID, JsonKind.SCHEMA_MISMATCH)
    found = drift or _Drift()
    return JsonOutcome(
        kind=kind,
        parse_valid=parsed,
        schema_valid=kind is JsonKind.VALID,
        trailing_text=kind is JsonKind.TRAILING_TEXT or (inside is not None and bool(inside.after)),
        truncated=kind is JsonKind.TRUNCATED,
        missing_keys=_listed(found.missing),
        extra_keys=_listed(found.extra),
        type_drift=_listed(found.types),
        enum_drift=_listed(found.enums),
        value_matches=matches,
        detail=detail,
        recoverable=not parsed and drift is not None and drift.schema_valid,
    )


@dataclass
class _Drift:
    """How a value departs from its schema and from the expected record."""

    schema_valid: bool = True
    sentence: str = ""
    missing: set[str] = field(default_factory=set)
    extra: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    enums: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, value: Any, schema: Mapping[str, Any] | bool, expected: Mapping[str, Any] | None) -> _Drift:
        errors = schema_errors(schema, value)
        drift = cls(schema_valid=not errors)
        drift.sentence = _complaint(errors[0]) if errors else "It fits the schema."
        for error in errors:
            drift._add(error)
        if expected is not None:
            drift._compare(value, expected, ())
        return drift

    def _add(self, error: Any) -> None:
        path = tuple(error.absolute_path)
        if error.validator == "required":
            self.missing.update(
                _path((*path, key)) for key in error.validator_value if key not in error.instance
            )
        elif error.validator == "additionalProperties" and isinstance(error.instance, dict):
            self.extra.update(_path((*path, key)) for key in _extra_keys(error))
        elif error.validator == "type":
            self.types.add(_path(path))
        elif error.validator in ("enum", "const"):
            self.enums.add(_path(path))

    def _compare(self, value: Any, expected: Any, path: tuple[str | int, ...]) -> None:
        if _json_type(value) != _json_type(expected):
            self.types.add(_path(path))
        elif isinstance(expected, dict):
            self.missing.update(_path((*path, key)) for key in expected.keys() - value.keys())
            self.extra.update(_path((*path, key)) for key in value.keys() - expected.keys())
            for key in expected.keys() & value.keys():
                self._compare(value[key], expected[key], (*path, key))
        elif isinstance(expected, list):
            for index, (item, wanted) in enumerate(zip(value, expected, strict=False)):
                self._compare(item, wanted, (*path, index))


def _extra_keys(error: Any) -> Iterable[str]:
    known = error.schema.get("properties", {}) if isinstance(error.schema, Mapping) else {}
    return (key for key in error.instance if key not in known)


def _json_type(value: Any) -> str:
    """The JSON type; integers and other numbers are one type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list | tuple) else "object"


def _path(parts: tuple[str | int, ...]) -> str:
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part[:_MAX_KEY_CHARS].encode("utf-8", "replace").decode()
            text += f".{key}" if text else key
    return text or "the whole value"


def _listed(paths: set[str]) -> tuple[str, ...]:
    return tuple(sorted(paths)[:_MAX_PATHS])


def _complaint(error: ValidationError) -> str:
    path = _path(tuple(error.absolute_path))
    message = error.message[:160].encode("utf-8", "replace").decode()
    return f"The schema objects at {path}: {message}."
