"""Rows of a long benchmark, written one by one into the file of its results: a killed run goes on behind them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wfgy_triage.errors import InputError

Row = Mapping[str, Any]


class RowFile:
    """Rows under `<section>.rows` of a JSON file; without a file they are held for this run only.

    Args:
        path: the file; what else is in it stays.
        section: name of the benchmark.

    Raises:
        InputError: there is a file that does not hold results.
    """

    def __init__(self, path: Path | None, section: str) -> None:
        self._path, self._section = path, section
        self._content: dict[str, Any] = {}
        if path is not None and path.is_file():
            self._content = _read(path)
        found = self._content.get(section)
        self.rows: list[Row] = list(found.get("rows", ())) if isinstance(found, dict) else []

    def find(self, **facts: Any) -> Row | None:
        """The row with these values, if one is there."""
        return next((r for r in self.rows if all(r.get(k) == v for k, v in facts.items())), None)

    def add(self, row: Row) -> None:
        """Add one; it is on disk when this returns."""
        self.rows.append(row)
        if self._path is None:
            return
        self._content[self._section] = {"rows": self.rows}
        part = self._path.with_name(f"{self._path.name}.part")
        part.write_text(json.dumps(self._content, indent=2) + "\n", encoding="utf-8")
        os.replace(part, self._path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{path} does not hold results of benchmarks.", "Name another file, or remove it.")
    return found
