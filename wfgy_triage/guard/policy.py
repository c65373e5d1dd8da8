"""The admin's policy: which answers are checked, against what, and what happens to one that fails."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry

from wfgy_triage.catalog import FIXMAP
from wfgy_triage.errors import InputError
from wfgy_triage.fixmap_files import read_schema
from wfgy_triage.measure.json_validity import check_schema_safe

Mode = Literal["observe", "enforce"]
Route = Literal["chat", "completions"]
MAX_POLICY_BYTES = 1 << 20
_PARTS = 1_000_000


@dataclass(frozen=True)
class SnippetSource:
    """Where the passages are: `body` (the field `wfgy_snippets`), or a `message` with marks like `[S1]`."""

    origin: Literal["body", "message"] = "body"
    role: str = "user"
    which: Literal["first", "last"] = "last"


@dataclass(frozen=True)
class Rule:
    """What is asked of the answers of a model and a route.

    Attributes:
        id: its name in the log.
        model: of the request; `*` and `?` stand for anything.
        route: `any`, `chat` or `completions`.
        schema: what the answer has to fit where the request names none; None for no rule.
        citations: `inline` marks, `record` in JSON, or `none`.
        snippets: where the passages are.
        sample: share of the requests that are checked, in [0, 1].
        store_texts: keep the answers' texts.
        mode: overrides the server's.
        on_failure: of `enforce`: `refuse` at once, or `retry` once before.
    """

    id: str
    model: str = "*"
    route: str = "any"
    schema: Mapping[str, Any] | bool | None = None
    citations: Literal["none", "inline", "record"] = "inline"
    snippets: SnippetSource = field(default_factory=SnippetSource)
    sample: float = 1.0
    store_texts: bool = False
    mode: Mode | None = None
    on_failure: Literal["refuse", "retry"] = "refuse"

    def fits(self, model: str, route: Route) -> bool:
        """Whether it is meant for this model and route."""
        return self.route in ("any", route) and fnmatchcase(model, self.model)

    def drawn(self) -> bool:
        """Whether this request is one of those that are checked."""
        return self.sample >= 1 or secrets.randbelow(_PARTS) < self.sample * _PARTS


BY_REQUEST = Rule("by-request")
"""Without a rule: what the request itself asks for is checked."""


@dataclass(frozen=True)
class Policy:
    """The rules in their order; the first that fits counts."""

    id: str = "none"
    rules: tuple[Rule, ...] = ()

    def rule_for(self, model: str, route: Route) -> Rule:
        """The rule of a request."""
        return next((rule for rule in self.rules if rule.fits(model, route)), BY_REQUEST)


def load_policy(path: Path | None) -> Policy:
    """Read a policy file (YAML or JSON); None is the empty policy.

    Raises:
        InputError: unreadable, not as the schema says, or with a schema for answers that cannot be used.
    """
    if path is None:
        return Policy()
    data = _read(path, yaml.safe_load)
    validator: Any = Draft202012Validator(read_schema(FIXMAP, "guard_policy"), registry=Registry())
    fault = next(iter(sorted(validator.iter_errors(data), key=lambda e: -len(e.absolute_path))), None)
    if fault is not None:
        spot = ".".join(str(p) for p in fault.absolute_path) or "the file"
        raise InputError(
            f"The policy {path.name}: {spot}: {fault.message[:200]}", "docs/guard.md has the form."
        )
    rules = tuple(_rule(record, path) for record in data["rules"])
    if len({rule.id for rule in rules}) != len(rules):
        raise InputError(f"The policy {path.name} gives a rule's id twice.", "Name each rule differently.")
    return Policy(data["policy"], rules)


def _rule(record: Mapping[str, Any], path: Path) -> Rule:
    values = dict(record)
    source = values.pop("snippets", None)
    named = values.pop("schema_file", None)
    if named is not None:
        values["schema"] = _read(path.parent / named, json.loads)
    if values.get("schema") is not None:
        try:
            check_schema_safe(values["schema"])
        except InputError as error:
            raise InputError(
                f"The policy {path.name}, rule {record['id']}: {error.message}", error.hint
            ) from error
    if source is not None:
        values["snippets"] = SnippetSource(
            source["from"], source.get("role", "user"), source.get("which", "last")
        )
    return Rule(**values)


def _read(path: Path, parse: Any) -> Any:
    try:
        if path.stat().st_size > MAX_POLICY_BYTES:
            raise InputError(f"{path} is larger than {MAX_POLICY_BYTES >> 20} MB.", "Split it.")
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}", "docs/guard.md has the form.") from error
