"""JSON Schemas from strangers: what is accepted, and a validator that cannot be made to hang or to call out.

Three dangers are shut out. References: only `#...` inside the schema itself, resolved in an empty registry,
so nothing is ever fetched. Patterns: matched by RE2, whose time is linear in the text, never by `re`. Blow-up
(nested `allOf`, recursive `$ref`, quadratic `uniqueItems`): every keyword evaluation is charged to a budget.
Formats are annotations, as the draft says: they are not checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from fractions import Fraction
from functools import lru_cache
from typing import Any

import re2  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from wfgy_triage.errors import InputError

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_SCHEMA_NODES = 2_000
MAX_PATTERN_CHARS = 256
MAX_STEPS = 50_000
"""Keyword evaluations allowed for one answer; an ordinary record needs fewer than a hundred."""

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_HINT = "Simplify the schema, or leave this question out."
# Keywords whose value is data, and keywords whose value maps free names to schemas.
_DATA = frozenset({"const", "enum", "default", "examples"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

# jsonschema's stubs know neither a switched-off format checker nor extended validators.
_Draft: Any = Draft202012Validator
_extend: Any = extend

_steps_left: ContextVar[int] = ContextVar("_steps_left", default=MAX_STEPS)


class _TooExpensive(Exception):  # noqa: N818 - control flow inside this module
    """The budget of one validation is spent."""


def check_schema_safe(schema: Mapping[str, Any] | bool) -> None:
    """Refuse a schema that is malformed, too large, or could reach outside itself.

    Args:
        schema: a JSON Schema, draft 2020-12.

    Raises:
        InputError: says which limit or rule is broken.
    """
    _guarded_validator(_canonical(schema))


def schema_errors(schema: Mapping[str, Any] | bool, value: Any) -> list[ValidationError]:
    """Every complaint about `value`, in the order of their paths; empty when it is valid.

    Raises:
        InputError: the schema is refused by `check_schema_safe`, or its evaluation is too expensive.
    """
    validator = _guarded_validator(_canonical(schema))
    token = _steps_left.set(MAX_STEPS)
    try:
        return sorted(validator.iter_errors(value), key=lambda e: [str(part) for part in e.absolute_path])
    except (_TooExpensive, RecursionError) as error:
        raise InputError("The schema is too expensive to evaluate.", _HINT) from error
    except Unresolvable as error:
        raise InputError("The schema has a reference that leads nowhere.", _HINT) from error
    finally:
        _steps_left.reset(token)


def _canonical(schema: Mapping[str, Any] | bool) -> str:
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The schema cannot be written as JSON: {error}", _HINT) from error
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SCHEMA_BYTES:
        raise InputError(f"The schema is larger than {MAX_SCHEMA_BYTES // 1024} KB.", _HINT)
    return text


@lru_cache(maxsize=256)
def _guarded_validator(schema_text: str) -> Any:
    schema = json.loads(schema_text)
    if not isinstance(schema, dict | bool):
        raise InputError("A schema must be a JSON object (or true or false).", _HINT)
    _check_size(schema)
    if isinstance(schema, dict) and str(schema.get("$schema", DRAFT)).rstrip("#") != DRAFT:
        raise InputError(
            f"The schema declares {str(schema['$schema'])[:100]!r}.", "Write it for JSON Schema 2020-12."
        )
    try:
        # Without a format checker: it would compile the patterns with `re`.
        _Draft.check_schema(schema, format_checker=None)
    except SchemaError as error:
        spot = ".".join(str(part) for part in error.absolute_path) or "its top"
        raise InputError(f"The schema is not valid at {spot}: {error.message[:200]}", _HINT) from error
    for keyword, value in _keywords(schema):
        _check_keyword(keyword, value)
    return _GuardedValidator(schema, registry=Registry())


def _check_size(schema: Any) -> None:
    nodes, level, depth = 0, [schema], 0
    while level:
        depth += 1
        nodes += len(level)
        if depth > MAX_SCHEMA_DEPTH:
            raise InputError(f"The schema is nested deeper than {MAX_SCHEMA_DEPTH} levels.", _HINT)
        if nodes > MAX_SCHEMA_NODES:
            raise InputError(f"The schema has more than {MAX_SCHEMA_NODES} parts.", _HINT)
        level = [child for node in level for child in _children(node)]


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, list) else []


def _keywords(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every keyword with its value, at every place where a schema can stand."""
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, list):
            pending.extend(node)
        elif isinstance(node, dict):
            for keyword, value in node.items():
                yield keyword, value
                if keyword in _NAMED and isinstance(value, dict):
                    pending.extend(value.values())
                elif keyword not in _DATA:
                    pending.append(value)


def _check_keyword(keyword: str, value: Any) -> None:
    if keyword in _REFERENCES and not str(value).startswith("#"):
        raise InputError(
            f"The schema refers to {str(value)[:100]!r}, outside itself.", "Put the definition under $defs."
        )
    if keyword == "pattern":
        _compile(value)
    elif keyword == "patternProperties":
        for pattern in value:
            _compile(pattern)
    elif keyword == "unevaluatedProperties":
        # jsonschema decides this keyword with `re` wherever patternProperties stand beside it.
        raise InputError("The keyword unevaluatedProperties is not supported.", "Use additionalProperties.")


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> Any:
    if len(pattern) > MAX_PATTERN_CHARS:
        raise InputError(f"A pattern is longer than {MAX_PATTERN_CHARS} characters.", _HINT)
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        reason = error.args[0] if error.args else "unknown"
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise InputError(
            f"The pattern {pattern[:80]!r} is not supported: {reason}.",
            "Look-around and back-references cannot be used.",
        ) from error


def _found(pattern: str, text: str) -> bool:
    # A lone surrogate cannot be passed to RE2; it stands for an unreadable character.
    return _compile(pattern).search(text.encode("utf-8", "replace").decode()) is not None


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _found(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for key, value in instance.items():
            if _found(pattern, key):
                yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, subschema: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extras = [key for key in instance if key not in named and not any(_found(p, key) for p in patterns)]
    if subschema is False and extras:
        yield ValidationError(f"additional properties: {', '.join(map(repr, extras))}")
    elif isinstance(subschema, dict):
        for key in extras:
            yield from validator.descend(instance[key], subschema, path=key)


def _multiple_of(validator: Any, step: float, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    # In decimals, as written: in binary 0.07 is no multiple of 0.01.
    if validator.is_type(instance, "number"):
        whole = (Fraction(repr(instance)) / Fraction(repr(step))).denominator == 1
        if not whole:
            yield ValidationError(f"{instance!r} is not a multiple of {step}")


def _charged(name: str, check: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
    def charged(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        quadratic = name == "uniqueItems" and isinstance(instance, list)
        left = _steps_left.get() - (1 + len(instance) ** 2 // 8 if quadratic else 1)
        if left < 0:
            raise _TooExpensive
        _steps_left.set(left)
        yield from check(validator, value, instance, schema) or ()

    return charged


_GuardedValidator: Any = _extend(
    _Draft,
    {
        name: _charged(name, check)
        for name, check in {
            **_Draft.VALIDATORS,
            "multipleOf": _multiple_of,
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
        }.items()
    },
)
