"""What a request asks of its answer: read from its body and the policy. Pure; nothing here sends anything."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.errors import InputError
from wfgy_triage.guard.checks import Snippet
from wfgy_triage.guard.policy import BY_REQUEST, Policy, Route, Rule
from wfgy_triage.measure.citations import CITATION_ID

SNIPPET_FIELD = "wfgy_snippets"
"""Field of ours in a request's body; it is taken out before the request goes on."""
MAX_READ_BYTES = 2 << 20
"""A longer request goes on as it is and is not read: reading it would hold up the others."""

_MARK = re.compile(rf"^[ \t]*\[({CITATION_ID})\][ \t:]*", re.MULTILINE)
_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
_HINT = f'{SNIPPET_FIELD} is a list of {{"id": ..., "text": ...}}, with "section" and "target" if you like.'


@dataclass(frozen=True)
class Asked:
    """A request as the guard sees it.

    Attributes:
        route: `chat` or `completions`.
        body: what goes on to the server behind.
        model: as the request names it.
        rule: the policy's rule that counts.
        checked: whether the answer is to be judged.
        schema: what it has to fit; None when it need not be JSON.
        snippets: the passages that the model was given.
        cites: whether it has to cite them.
        question: the last message of the user, for ΔS.
        prompt_sha256: of the messages or the prompt; empty where the body could not be read.
        prompt_chars: their length.
    """

    route: Route
    body: bytes
    model: str = ""
    rule: Rule = BY_REQUEST
    checked: bool = False
    schema: Mapping[str, Any] | bool | None = None
    snippets: tuple[Snippet, ...] = ()
    cites: bool = False
    question: str = ""
    prompt_sha256: str = ""
    prompt_chars: int = 0


def read_request(route: Route, body: bytes, policy: Policy, schema_fields: Sequence[Sequence[str]]) -> Asked:
    """Read a request. One that is not a JSON object goes on unread: the server behind answers for it.

    Args:
        route: which of the two it came to.
        body: its bytes.
        policy: the admin's rules.
        schema_fields: where a request may name a schema.

    Raises:
        InputError: the field `wfgy_snippets` is malformed.
    """
    data = _object(body) if len(body) <= MAX_READ_BYTES else None
    if data is None:
        return Asked(route, body)
    own = data.pop(SNIPPET_FIELD, None)
    if own is not None:
        body = json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")
    model = _plain(data.get("model"), 128)
    rule = policy.rule_for(model, route)
    messages = data.get("messages")
    prompt = messages if messages is not None else data.get("prompt")
    written = json.dumps(prompt, ensure_ascii=False).encode("utf-8", "surrogatepass")
    schema = _schema(data, schema_fields)
    if schema is None:
        schema = rule.schema
    snippets = _own_snippets(own) if own is not None else _in_message(messages, rule)
    cites = bool(snippets) and rule.citations != "none"
    return Asked(
        route=route,
        body=body,
        model=model,
        rule=rule,
        checked=(schema is not None or cites) and rule.drawn(),
        schema=schema,
        snippets=snippets,
        cites=cites,
        question=_message(messages, "user", last=True),
        prompt_sha256=hashlib.sha256(written).hexdigest(),
        prompt_chars=len(written),
    )


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _schema(data: Mapping[str, Any], fields: Sequence[Sequence[str]]) -> Mapping[str, Any] | bool | None:
    for path in fields:
        found: Any = data
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, str):
            found = _object(found.encode("utf-8", "surrogatepass"))
        if isinstance(found, dict | bool):
            return found
    form = data.get("response_format")
    if isinstance(form, Mapping) and form.get("type") == "json_object":
        return _ANY_OBJECT
    return None


def _own_snippets(value: Any) -> tuple[Snippet, ...]:
    if isinstance(value, Mapping):
        value = [{"id": i, "text": text} for i, text in value.items()]
    if not isinstance(value, list):
        raise InputError(f"The field {SNIPPET_FIELD} is not a list.", _HINT)
    return tuple(_own_snippet(record, place) for place, record in enumerate(value, 1))


def _own_snippet(record: Any, place: int) -> Snippet:
    fields = record if isinstance(record, Mapping) else {}
    name, text, section = fields.get("id"), fields.get("text"), fields.get("section", "")
    if not isinstance(name, str) or not re.fullmatch(CITATION_ID, name):
        raise InputError(f"Passage {place} of {SNIPPET_FIELD} has no id that an answer could cite.", _HINT)
    if not isinstance(text, str) or not isinstance(section, str):
        raise InputError(f"Passage {place} of {SNIPPET_FIELD} has no text.", _HINT)
    return Snippet(name, text, section, fields.get("target") is True)


def _in_message(messages: Any, rule: Rule) -> tuple[Snippet, ...]:
    """Passages that stand in a message, each behind a mark like `[S1]` at the beginning of a line."""
    if rule.snippets.origin != "message":
        return ()
    text = _message(messages, rule.snippets.role, last=rule.snippets.which == "last")
    marks = list(_MARK.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return tuple(
        Snippet(mark[1], text[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True)
    )


def _message(messages: Any, role: str, *, last: bool) -> str:
    if not isinstance(messages, list):
        return ""
    found = [m for m in messages if isinstance(m, Mapping) and m.get("role") == role]
    return _text_of(found[-1 if last else 0].get("content")) if found else ""


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _plain(value: Any, longest: int) -> str:
    """A short text of a request as it may stand in a log: printable, nothing that a database refuses."""
    text = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else "?" for c in text[:longest])
