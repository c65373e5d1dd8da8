"""Reads the YAML files of `fixmap/` and checks them; every complaint names file and line.

Knows YAML, JSON Schema and line numbers, and nothing of what the records mean (`catalog.py` does).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry

from wfgy_triage.errors import PrerequisiteError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class FixmapFile:
    """A parsed file: its plain data, and the line (from 1) on which each key path begins."""

    name: str
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def where(self, path: KeyPath) -> str:
        """`fixmap/NAME line N` for the nearest enclosing node of `path` that has a line."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"fixmap/{self.name} line {self.lines.get(path, 1)}"

    def fault(self, path: KeyPath, message: str) -> PrerequisiteError:
        """The error for a fault at `path`."""
        return PrerequisiteError(f"{self.where(path)}: {message}", "Correct this file of the fix map.")


def read_fixmap_file(folder: Path, stem: str) -> FixmapFile:
    """Parse `folder/STEM.yaml` and validate it against `folder/schema/STEM.schema.json`.

    Raises:
        PrerequisiteError: unreadable, not YAML, a key given twice, or not as the schema says.
    """
    name = f"{stem}.yaml"
    try:
        root = yaml.compose((folder / name).read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(
            f"fixmap/{name} cannot be read: {error}", "Restore it from the repository."
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        raise PrerequisiteError(
            f"fixmap/{name} line {line}: not valid YAML ({error.problem}).",
            "Correct this file of the fix map.",
        ) from error
    lines: dict[KeyPath, int] = {}
    data = _plain(root, (), lines, name) if root is not None else {}
    parsed = FixmapFile(name, data if isinstance(data, dict) else {"": data}, lines)
    errors = sorted(_validator(folder, stem).iter_errors(data), key=_weight, reverse=True)
    if errors:
        raise parsed.fault(*_explain(errors[0]))
    return parsed


def read_schema(folder: Path, stem: str) -> dict[str, Any]:
    """The JSON Schema `folder/schema/STEM.schema.json`.

    Raises:
        PrerequisiteError: missing or not JSON.
    """
    path = folder / "schema" / f"{stem}.schema.json"
    try:
        schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PrerequisiteError(
            f"The schema fixmap/schema/{path.name} cannot be read: {error}",
            "Restore it from the repository.",
        ) from error
    return schema


def _validator(folder: Path, stem: str) -> Any:
    return Draft202012Validator(read_schema(folder, stem), registry=Registry())


def _weight(error: ValidationError) -> tuple[int, bool]:
    """The deepest complaint is the most specific; a misspelt key says more than the key then missing."""
    return len(error.absolute_path), error.validator == "additionalProperties"


def _explain(error: Any) -> tuple[KeyPath, str]:
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        unknown = next(key for key in error.instance if key not in error.schema["properties"])
        return (*path, unknown), f"the key {unknown!r} is not known here."
    spot = ".".join(str(part) for part in path) or "the file"
    text = error.message if len(error.message) <= 200 else error.message[:197] + "..."
    return path, f"{spot}: {text}"


def _plain(node: Any, path: KeyPath, lines: dict[KeyPath, int], name: str) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*path, index), lines, name) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in result:
                line = key_node.start_mark.line + 1
                raise PrerequisiteError(
                    f"fixmap/{name} line {line}: the key {key!r} is given twice.", "Keep one of them."
                )
            result[key] = _plain(value_node, (*path, key), lines, name)
            lines[(*path, key)] = key_node.start_mark.line + 1
        return result
    return _scalar(node, name)


def _scalar(node: Any, name: str) -> Any:
    constructor = yaml.constructor.SafeConstructor()
    try:
        return constructor.construct_object(node, deep=True)
    except (yaml.MarkedYAMLError, ValueError) as error:
        raise PrerequisiteError(
            f"fixmap/{name} line {node.start_mark.line + 1}: the value {node.value!r} cannot be read.",
            "Put it in quotes.",
        ) from error
