"""Tells the tokens that spell a JSON answer's structure from those that spell its values.

The rule, token by token over the text as it was generated:

* structure: braces, brackets, colons, commas, the quotes around any string, and the whole of a key name;
* content: the inside of value strings, numbers, `true`, `false`, `null`, and any text outside the outermost
  object or array;
* a mixed token (such as `5}` or `"Ann`) is content: the structural class holds no choice of value;
* white space outside strings decides nothing; a token of only that, or of no characters (part of a multi-byte
  character), takes the class of its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_PUNCTUATION = frozenset("{}[]:,")
_SPACE = frozenset(" \t\n\r")


def structural_positions(token_texts: Sequence[str]) -> list[bool]:
    """Mark the structural tokens of an answer.

    Args:
        token_texts: the tokens' pieces of text, in order; joined they are the answer.

    Returns:
        One flag per token: True for structure, False for content. Text that is not JSON is content; text that
        begins as JSON and breaks is followed as far as its brackets and quotes go.
    """
    scanner = _Scanner()
    flags = []
    for text in token_texts:
        marks = [scanner.read(character) for character in text]
        decisive = [mark for mark in marks if mark is not None]
        flags.append(all(decisive) if decisive else scanner.is_structure_here)
    return flags


@dataclass
class _Scanner:
    """Follows nesting and strings one character at a time."""

    stack: list[str] = field(default_factory=list)
    key_next: bool = False
    in_string: bool = False
    in_key: bool = False
    escaped: bool = False

    @property
    def is_structure_here(self) -> bool:
        """Whether a token that decides nothing counts as structure at this place."""
        return bool(self.stack) and (not self.in_string or self.in_key)

    def read(self, character: str) -> bool | None:
        """Advance over one character; whether it is structure, None for white space outside strings."""
        if self.in_string:
            return self._inside_string(character)
        if character in _SPACE:
            return None
        if character in "{[":
            self.stack.append(character)
            self.key_next = character == "{"
            return True
        if not self.stack:
            return False
        if character == '"':
            self.in_string = True
            self.in_key = self.key_next and self.stack[-1] == "{"
            return True
        if character in _PUNCTUATION:
            self._punctuation(character)
            return True
        # A bare word where a key belongs is a badly written key; elsewhere it is a literal.
        return self.key_next and self.stack[-1] == "{"

    def _inside_string(self, character: str) -> bool:
        if self.escaped:
            self.escaped = False
        elif character == "\\":
            self.escaped = True
        elif character == '"':
            self.in_string = False
            return True
        return self.in_key

    def _punctuation(self, character: str) -> None:
        if character == ":":
            self.key_next = False
        elif character == ",":
            self.key_next = self.stack[-1] == "{"
        else:
            self.stack.pop()
            self.key_next = False
