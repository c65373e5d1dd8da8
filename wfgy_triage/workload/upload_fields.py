"""The rules for a single field of an uploaded row: is it there, is it text, is it too long?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from wfgy_triage.workload.upload_formats import Problems, Row

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
MAX_QUESTION, MAX_ANSWER, MAX_TEXT, MAX_LIST = 1_000, 300, 20_000, 8
"""Characters of a question (any wording), an answer, a text; entries of a list."""


class Fields:
    """Reads the fields of one row; what is wrong goes to `problems`, and `ok` turns false."""

    def __init__(self, row: Row, known: Sequence[str], problems: Problems) -> None:
        self._row, self._problems = row, problems
        self.ok = True
        if unknown := [k for k in row.fields if k not in known]:
            listed = ", ".join(repr(k[:40]) for k in unknown[:5])
            self.complain(f"unknown field {listed}. Known here: {', '.join(known)}.")

    def complain(self, text: str) -> None:
        """Note a problem of this row."""
        self.ok = False
        self._problems.add(self._row.file, self._row.line, text)

    def text(self, name: str, most: int, required: bool = True) -> str:
        """A text of at most `most` characters; empty when it is missing or wrong."""
        value = self._row.fields.get(name)
        if value is None or value == "":
            if required:
                self.complain(f"'{name}' is missing.")
            return ""
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        return self._checked(name, value, most)

    def texts(self, name: str, most: int) -> list[str]:
        """A list of texts, each of at most `most` characters; one text counts as a list of one."""
        value = self._row.fields.get(name)
        if value is None:
            return []
        entries = value if isinstance(value, list) else [value]
        if len(entries) > MAX_LIST:
            self.complain(f"'{name}' has {len(entries)} entries; at most {MAX_LIST} are read.")
            return []
        return [t for t in (self._checked(name, entry, most) for entry in entries) if t]

    def id(self, name: str, default: str = "") -> str:
        """An id: letters, digits and `._:-`."""
        value = self.text(name, 64, required=not default) or default
        if value and not ID.fullmatch(value):
            self.complain(f"'{name}' is {value[:64]!r}; ids have up to 64 letters, digits and . _ : -")
        return value

    def _checked(self, name: str, value: Any, most: int) -> str:
        if not isinstance(value, str) or not value.strip():
            self.complain(f"'{name}' must be a text.")
            return ""
        if len(value) > most:
            self.complain(f"'{name}' has {len(value):,} characters; at most {most:,} are read.")
            return ""
        return value.strip()
