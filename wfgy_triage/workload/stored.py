"""Question sets of users, kept under the home folder by content (`workloads/<sha256>.json`) and never changed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.workload.upload import Upload

BUILTIN = "builtin"
"""The id of the question sets that come with the program."""
KINDS = {
    "json_breaks": "records",
    "citations_missing": "questions",
    "wrong_snippet": "questions",
    "acceptance_gate": "questions",
    "sixty_seconds": "questions",
}
"""Symptom to the kind of question set that its probe reads. Others make their own questions."""
_KIND_WORDS = {"records": "JSON records", "questions": "questions about texts"}
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredWorkload:
    """A stored question set; `id` is the hash of its file."""

    id: str
    kind: str
    name: str
    questions: int
    path: Path


def store_upload(home: Path, upload: Upload) -> StoredWorkload:
    """Keep a question set and return it; the same content again is the same file.

    Raises:
        PrerequisiteError: the folder cannot be written.
    """
    raw = upload.to_bytes()
    found = hashlib.sha256(raw).hexdigest()
    path = _path(home, found)
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Beside its place and then renamed: nobody reads half a file.
            with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
                part.write(raw)
            os.replace(part.name, path)
    except OSError as error:
        raise PrerequisiteError(
            f"The question set cannot be kept in {path.parent}: {error.strerror or error}.",
            "Check that the folder can be written and the disk is not full.",
        ) from error
    return StoredWorkload(found, upload.kind, upload.name, upload.questions, path)


def stored_workload(home: Path, workload_id: str) -> StoredWorkload:
    """Look up a stored question set.

    Raises:
        InputError: there is none with this id.
        PrerequisiteError: its file was changed since it was stored.
    """
    if not _ID.fullmatch(workload_id) or not _path(home, workload_id).is_file():
        raise InputError(
            f"There is no question set with the id {workload_id[:64]!r}.",
            "Give the file again; without one, the built-in questions are asked.",
        )
    path = _path(home, workload_id)
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != workload_id:
        raise PrerequisiteError(
            f"The stored question set {path.name} was changed or is damaged.", "Give the file again."
        )
    data = json.loads(raw)
    questions = len(data["questions" if data["kind"] == "questions" else "records"])
    return StoredWorkload(workload_id, data["kind"], data["id"], questions, path)


def workload_path(home: Path, symptom: str, workload_id: str) -> Path | None:
    """The file of the question set that a run asks; None for the built-in one.

    Raises:
        InputError: there is no such set, or it is of a kind that this symptom's probe does not read.
        PrerequisiteError: its file was changed.
    """
    if workload_id == BUILTIN:
        return None
    found = stored_workload(home, workload_id)
    wanted = KINDS.get(symptom)
    if wanted is None:
        raise InputError(
            "This symptom is measured with the program's own questions only.", "Leave the question set out."
        )
    if found.kind != wanted:
        raise InputError(
            f"The question set “{found.name}” holds {_KIND_WORDS[found.kind]}, "
            f"but this symptom needs {_KIND_WORDS[wanted]}.",
            "Choose another question set, or another symptom.",
        )
    return found.path


def _path(home: Path, workload_id: str) -> Path:
    return home / "workloads" / f"{workload_id}.json"
