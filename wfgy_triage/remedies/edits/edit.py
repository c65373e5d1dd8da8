"""What is to be changed in a text, and how a text that cannot be changed is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.errors import InputError


@dataclass(frozen=True)
class Edit:
    """One value of a nested file.

    Attributes:
        path: the keys that lead to it, from the root.
        value: what it is to be; None in a JSON file removes the key.
        at_least: only a smaller number that is already there is changed.
    """

    path: tuple[str, ...]
    value: Any
    at_least: bool = False


def fault(line: int, message: str, hint: str = "") -> InputError:
    """The error for a place in a user's text; lines count from 1."""
    return InputError(f"Line {line}: {message}", hint or "Correct the file there and try again.")


def line_of(text: str, index: int) -> int:
    """The line, from 1, in which a position lies."""
    return text.count("\n", 0, index) + 1


def newline_of(text: str) -> str:
    """The line ending that a text uses."""
    return "\r\n" if "\r\n" in text else "\n"


def nested(edits: Iterable[Edit]) -> dict[str, Any]:
    """The values as a nested mapping, without those that only matter where a value is already there."""
    tree: dict[str, Any] = {}
    for edit in edits:
        if not edit.at_least:
            node = tree
            for name in edit.path[:-1]:
                node = node.setdefault(name, {})
            node[edit.path[-1]] = edit.value
    return tree


def wrapped(path: Sequence[str], value: Any) -> Any:
    """A value inside the keys that lead to it."""
    for name in reversed(path):
        value = {name: value}
    return value
