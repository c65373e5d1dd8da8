"""JSON records to extract: notes in classes of difficulty, each class with a schema and solved examples.

There are two built-in sets. The hard one is for models that the standard one no longer troubles.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.settings import REPO_ROOT

JSON_RECORDS = REPO_ROOT / "assets" / "workloads" / "json_records.json"
HARD_RECORDS = JSON_RECORDS.with_name("json_records_hard.json")
RECORD_LEVELS: Mapping[str, Path] = {"standard": JSON_RECORDS, "hard": HARD_RECORDS}
"""The files of the built-in sets by level."""
HARD_MARK = "#hard"
"""Ends the id of every hard question; no id of a user's set can hold it."""
INSTRUCTION = "Extract the record from the note. Answer with one JSON object and nothing else."


@dataclass(frozen=True)
class Example:
    """A solved question shown in the prompt."""

    text: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class RecordClass:
    """One difficulty class: its JSON Schema and the few-shot examples of its prompt.

    `rules` say in words what examples cannot show whole (forms of values, closed vocabularies); empty where they do.
    """

    name: str
    schema: Mapping[str, Any]
    examples: tuple[Example, ...]
    rules: str = ""

    @property
    def told(self) -> str:
        """What the prompt says of the schema beside solved examples; without any, all of it has to be told."""
        if self.examples:
            return self.rules
        return f"It has to fit this JSON Schema: {json.dumps(self.schema)}"


@dataclass(frozen=True)
class RecordQuestion:
    """A note and the record that it states."""

    id: str
    record_class: str
    text: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class JsonWorkload:
    """Questions in an order in which the first N are balanced over the classes.

    `sha256` is over the bytes of the file, so a result names exactly what was asked.
    """

    id: str
    sha256: str
    classes: Mapping[str, RecordClass]
    questions: tuple[RecordQuestion, ...]

    def messages(self, question: RecordQuestion) -> list[dict[str, str]]:
        """Chat messages for one question: instruction, solved examples as turns, the note.

        Everything before the last message is the same for all questions of a class, so engines can compute it once.
        """
        found = self.classes[question.record_class]
        turns = [{"role": "system", "content": f"{INSTRUCTION} {found.told}".rstrip()}]
        for example in found.examples:
            turns.append({"role": "user", "content": f"Note: {example.text}"})
            turns.append({"role": "assistant", "content": json.dumps(example.record)})
        turns.append({"role": "user", "content": f"Note: {question.text}"})
        return turns

    def gold_text(self, question: RecordQuestion) -> str:
        """The right answer, written as in the prompt's examples."""
        return json.dumps(question.record)


@cache
def load_json_workload(path: Path = JSON_RECORDS) -> JsonWorkload:
    """Load a file of JSON record questions; the built-in one by default.

    Raises:
        PrerequisiteError: when the file is missing or damaged.
    """
    try:
        raw = path.read_bytes()
        data = json.loads(raw)
        classes = {
            name: RecordClass(
                name,
                c["schema"],
                tuple(Example(e["text"], e["record"]) for e in c["examples"]),
                c.get("rules", ""),
            )
            for name, c in data["classes"].items()
        }
        questions = tuple(
            RecordQuestion(r["id"], r["class"], r["text"], r["record"]) for r in data["records"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PrerequisiteError(
            f"The question file {path.name} cannot be read: {error!r}.",
            "Restore it from the repository (assets/workloads).",
        ) from error
    return JsonWorkload(data["id"], hashlib.sha256(raw).hexdigest(), classes, questions)
