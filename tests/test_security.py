"""The tables of attacks and of faults name tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from wfgy_triage.settings import REPO_ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def names_in(path: str) -> frozenset[str]:
    """Names of the test functions of a file."""
    tree = ast.parse((REPO_ROOT / path).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def rows_of(page: str, heading: str) -> list[str]:
    """The rows of the table whose first column is headed so."""
    _, found, table = (REPO_ROOT / "docs" / page).read_text("utf-8").partition(f"\n| {heading} |")
    assert found
    return [row for row in table.split("\n\n")[0].splitlines()[2:] if row]


@pytest.mark.parametrize(
    ("page", "heading", "least"), [("security.md", "attack", 20), ("load.md", "what happens", 9)]
)
def test_every_row_is_tried_by_tests_that_exist(page: str, heading: str, least: int) -> None:
    rows = rows_of(page, heading)
    assert len(rows) >= least
    for row in rows:
        named = NAMED.findall(row)
        assert named, row
        for path, test in named:
            assert test in names_in(path), f"{path}::{test}"
