"""Exact changes as text to copy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wfgy_triage.doctor.finding import Patch


def json_patch(target: str, values: Mapping[str, Any]) -> Patch | None:
    """Values to set in a JSON file, by dotted key; None where there is nothing to set."""
    if not values:
        return None
    return Patch(target, dict(values), json.dumps(_nested(values), indent=2, ensure_ascii=False))


def server_patch(values: Mapping[str, Any]) -> Patch:
    """Arguments to give to the library when it generates."""
    return Patch("server", dict(values), ", ".join(f"{k}={v!r}" for k, v in values.items()))


def environment_patch(*lines: str) -> Patch:
    """Variables to set before the server starts, each as `NAME=value`."""
    return Patch("environment", dict(line.split("=", 1) for line in lines), "\n".join(lines))


def pin_patch(line: str) -> Patch:
    """A line for requirements.txt."""
    return Patch("requirements.txt", {}, line)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for dotted, value in values.items():
        *parents, leaf = dotted.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree
