"""Setting a value in somebody's JSON: order, indentation and every other character stay.

The standard parser says whether the text is JSON and where each value ends; the text is cut there. The result is
parsed again and compared with what was wanted.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.errors import InputError
from wfgy_triage.remedies.edits.edit import Edit, fault, line_of, newline_of, wrapped

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class _Value:
    """A value at `text[start:end]`; `members` of an object, None for anything else."""

    start: int
    end: int
    members: tuple[_Member, ...] | None = None


@dataclass(frozen=True)
class _Member:
    """A key at `text[start:end]` and its value."""

    name: str
    start: int
    end: int
    value: _Value


def edit_json(text: str, edits: Sequence[Edit]) -> str:
    """The text with every edit made, one after the other.

    Args:
        text: a JSON object; without a byte order mark.
        edits: the values to set; None removes a key.

    Raises:
        InputError: not JSON, a root that is no object, or a key given twice; names the line.
    """
    for edit in edits:
        root = _parse(text)
        wanted = merged(json.loads(text), [edit])
        if json.dumps(json.loads(text)) == json.dumps(wanted):
            continue
        text = _edited(text, root, edit)
        if json.dumps(json.loads(text)) != json.dumps(wanted):  # a guard; no known text leads here
            raise fault(
                line_of(text, root.start),
                f"{'.'.join(edit.path)} cannot be set here without changing something else.",
                f"Set it by hand: {json.dumps(wrapped(edit.path, edit.value))}",
            )
    return text


def merged(data: dict[str, Any], edits: Sequence[Edit]) -> dict[str, Any]:
    """Plain data with every edit made; None removes a key, and what stands in the way of a path gives way."""
    data = copy.deepcopy(data)
    for edit in edits:
        *parents, leaf = edit.path
        node, above = data, []
        for name in parents:
            above.append((node, name))
            inner = node.get(name)
            node = inner if isinstance(inner, dict) else {}
        if edit.value is None:
            node.pop(leaf, None)
            continue
        node[leaf] = edit.value
        for parent, name in reversed(above):
            parent[name] = node
            node = parent
    return data


def dumped(data: Any) -> str:
    """Plain data as a file of its own."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _edited(text: str, root: _Value, edit: Edit) -> str:
    node = root
    for depth, name in enumerate(edit.path):
        rest = edit.path[depth + 1 :]
        members = node.members or ()
        position = next((i for i, m in enumerate(members) if m.name == name), None)
        if position is None:
            return _insert(text, root, node, name, wrapped(rest, edit.value))
        value = members[position].value
        if not rest and edit.value is None:
            return _remove(text, node, position)
        if not rest or value.members is None:
            new = _written(text, root, value.start, wrapped(rest, edit.value))
            return text[: value.start] + new + text[value.end :]
        node = value
    raise AssertionError("a path without keys")


def _insert(text: str, root: _Value, node: _Value, name: str, value: Any) -> str:
    members = node.members or ()
    if not members:
        newline, margin, step = newline_of(text), _margin(text, node.start), _step(text, root)
        inner = newline + margin + step if step else ""
        outer = newline + margin if step else ""
        colon = ": "
        spot, before, after = node.start + 1, inner, outer
        end = node.end - 1
    else:
        first, spot = members[0], members[-1].value.end
        colon, end, after = text[first.end : first.value.start], spot, ""
        gap = text[node.start + 1 : first.start]
        if len(members) > 1:
            gap = text[text.index(",", first.value.end) + 1 : members[1].start]
        before = "," + gap
    lead = text[:spot] + before + json.dumps(name, ensure_ascii=text.isascii()) + colon
    return lead + _written(lead, root, len(lead), value, _step(text, root), text) + after + text[end:]


def _remove(text: str, node: _Value, position: int) -> str:
    members = node.members or ()
    member = members[position]
    if position + 1 < len(members):
        return text[: member.start] + text[members[position + 1].start :]
    if position:
        return text[: members[position - 1].value.end] + text[member.value.end :]
    return text[: member.start] + text[_after_space(text, member.value.end) :]


def _written(
    text: str, root: _Value, spot: int, value: Any, step: str | None = None, whole: str | None = None
) -> str:
    """A value as text at a position, indented as the file is."""
    whole = text if whole is None else whole
    step = _step(whole, root) if step is None else step
    plain = json.dumps(value, indent=step or None, ensure_ascii=whole.isascii())
    return plain.replace("\n", newline_of(whole) + _margin(text, spot))


def _margin(text: str, spot: int) -> str:
    """The white space at the start of a position's line."""
    line = text[text.rfind("\n", 0, spot) + 1 : spot]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _step(text: str, root: _Value) -> str:
    """How the file indents; nothing when it is written on one line."""
    if not root.members:
        return "  "
    before = text[root.start + 1 : root.members[0].start]
    return before.rpartition("\n")[2] if "\n" in before else ""


def _after_space(text: str, index: int) -> int:
    match = _SPACE.match(text, index)
    return match.end() if match else index


def _parse(text: str) -> _Value:
    hint = "The file has to be one JSON object; comments and commas before a closing bracket are not allowed."
    try:
        data = json.loads(text)
        root = _scan(text, _after_space(text, 0))
    except json.JSONDecodeError as error:
        raise fault(error.lineno, f"not valid JSON ({error.msg}).", hint) from error
    except RecursionError as error:
        raise InputError("The JSON file is nested too deeply.", hint) from error
    if not isinstance(data, dict):
        raise fault(line_of(text, root.start), "the file is not a JSON object ({…}).", hint)
    return root


def _scan(text: str, start: int) -> _Value:
    """Where a value of valid JSON, and every object in it, has its parts."""
    if text[start] not in "{[":
        return _Value(start, _DECODER.raw_decode(text, start)[1])
    members: list[_Member] = []
    index = _after_space(text, start + 1)
    while text[index] not in "}]":
        begin = index
        if text[start] == "{":
            name, end = _DECODER.raw_decode(text, begin)
            if any(m.name == name for m in members):
                raise fault(line_of(text, begin), f"the key {name!r} is given twice.", "Keep one of them.")
            value = _scan(text, _after_space(text, _after_space(text, end) + 1))
            members.append(_Member(name, begin, end, value))
        else:
            value = _scan(text, begin)
        index = _after_space(text, value.end)
        if text[index] == ",":
            index = _after_space(text, index + 1)
    return _Value(start, index + 1, tuple(members) if text[start] == "{" else None)
