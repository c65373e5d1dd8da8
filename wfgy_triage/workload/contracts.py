"""Frames that state what an answer has to contain: the same chat messages, the contract first and, if wanted, last.

Solved examples stay as they are; they carry the last line too, so that the question looks like them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Messages = list[dict[str, str]]

PROMPT = "\n\n{prompt}"
"""Ends the text of a frame as people see it: the place of the task."""
CITATION_RULES = "\n".join(
    (
        "Contract:",
        "1. Answer with one sentence from the passages.",
        "2. Every sentence carries the number of its passage in brackets.",
        "3. Allowed numbers: {allowed}. No other number may be cited.",
        "4. An answer without a number is rejected.",
    )
)
CITATION_REMINDER = "End the sentence with one of {allowed}."
RECORD_RULES = "\n".join(
    (
        "Contract:",
        "1. Answer with one JSON object and nothing else.",
        "2. Required fields: quote, snippet_id, section_id.",
        "3. The quote is the sentence that answers the question, word for word.",
        "4. Allowed snippet_id: {allowed}.",
    )
)
RECORD_REMINDER = "Fields: quote, snippet_id, section_id."
JSON_RULES = "\n".join(
    (
        "Contract:",
        "1. Extract the record from the note.",
        "2. Answer with one JSON object and nothing else.",
        "3. Fields, each exactly once: {fields}.",
        "4. No other fields.",
    )
)
JSON_REMINDER = "Fields: {names}."


def framed(messages: Sequence[Mapping[str, str]], contract: str, reminder: str = "") -> Messages:
    """The messages with the contract in the system's place and the reminder behind every question."""
    found: Messages = [{"role": "system", "content": contract}]
    for message in messages:
        if message["role"] != "system":
            tail = f"\n{reminder}" if reminder and message["role"] == "user" else ""
            found.append({"role": message["role"], "content": message["content"] + tail})
    return found


def described(schema: Mapping[str, Any]) -> str:
    """The fields of a JSON Schema object in words: `name (text), address {street (text)}, tags (list of text)`.

    Fields that the schema describes in another way than by type, enum, properties or items are named only.
    """
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return ""
    return ", ".join(f"{name} {_kind(part)}".strip() for name, part in properties.items())


def _kind(part: object) -> str:
    if not isinstance(part, Mapping):
        return ""
    if isinstance(choices := part.get("enum"), list):
        return f"(one of: {', '.join(map(str, choices))})"
    if inner := described(part):
        return "{" + inner + "}"
    if part.get("type") == "array":
        items = _kind(part.get("items")).strip("()")
        return f"(list of {items})" if items else "(list)"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    kind = part.get("type")
    return f"({words[kind]})" if isinstance(kind, str) and kind in words else ""
