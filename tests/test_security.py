"""The table of attacks names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache

from wfgy_triage.settings import REPO_ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def names_in(path: str) -> frozenset[str]:
    """Names of the test functions of a file."""
    tree = ast.parse((REPO_ROOT / path).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_attack_is_tried_by_tests_that_exist() -> None:
    rows = [
        r for r in (REPO_ROOT / "docs/security.md").read_text("utf-8").splitlines() if r.startswith("| ")
    ][1:]
    assert len(rows) >= 20
    for row in rows:
        named = NAMED.findall(row)
        assert named, row
        for path, test in named:
            assert test in names_in(path), f"{path}::{test}"
