"""The text corpus that citation, retrieval and acceptance questions share: sections, questions, gold answers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.settings import REPO_ROOT

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
CORPUS = REPO_ROOT / "assets" / "workloads" / "corpus.json"


@dataclass(frozen=True)
class Section:
    """One section of the corpus.

    Attributes:
        id: unique in the corpus.
        title: heading.
        text: plain text; evidence spans are exact parts of it.
        distractor_of: the section whose words this one shares while it states other facts; None for a section
            in its own right.
    """

    id: str
    title: str
    text: str
    distractor_of: str | None = None


@dataclass(frozen=True)
class Question:
    """A question that one section answers.

    Attributes:
        id: unique in the corpus.
        paraphrases: wordings of the same question; the first is the one that is asked by default.
        answer: the short right answer.
        aliases: other writings that are as right.
        section: id of the section that holds the answer.
        evidence: exact spans of that section's text which state the answer.
    """

    id: str
    paraphrases: tuple[str, ...]
    answer: str
    aliases: tuple[str, ...]
    section: str
    evidence: tuple[str, ...]

    @property
    def text(self) -> str:
        """The default wording."""
        return self.paraphrases[0]


@dataclass(frozen=True)
class Corpus:
    """Sections by id in file order, and questions of which the first N are spread over the sections.

    `sha256` is over the bytes of the file, so a result names exactly what was asked.
    """

    id: str
    sha256: str
    sections: Mapping[str, Section]
    questions: tuple[Question, ...]

    def distractors(self, section: str) -> tuple[Section, ...]:
        """Sections written to be mistaken for this one."""
        return tuple(s for s in self.sections.values() if s.distractor_of == section)


def read_corpus(raw: bytes) -> Corpus:
    """Corpus from the bytes of a corpus file.

    Raises:
        ValueError, KeyError, TypeError: when the file does not have the corpus format.
    """
    data = json.loads(raw)
    sections = {
        s["id"]: Section(s["id"], s["title"], s["text"], s["distractor_of"]) for s in data["sections"]
    }
    questions = tuple(_question(q) for q in data["questions"])
    return Corpus(data["id"], hashlib.sha256(raw).hexdigest(), MappingProxyType(sections), questions)


@cache
def load_corpus(path: Path = CORPUS) -> Corpus:
    """Load a corpus file; the built-in one by default.

    Raises:
        PrerequisiteError: when the file is missing or damaged.
    """
    try:
        return read_corpus(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PrerequisiteError(
            f"The question file {path.name} cannot be read: {error!r}.",
            "Restore it from the repository (assets/workloads).",
        ) from error


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def _question(data: Mapping[str, Any]) -> Question:
    return Question(
        data["id"],
        tuple(data["paraphrases"]),
        data["answer"],
        tuple(data["aliases"]),
        data["section"],
        tuple(data["evidence"]),
    )
