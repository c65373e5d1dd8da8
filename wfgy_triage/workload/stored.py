"""Question sets and passages of users, kept under the home folder by content and never changed.

`workloads/<sha256>.json` is a question set, or names passages (`<sha256>.jsonl`) and their index (`<sha256>.faiss`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.workload.passages import PASSAGES, PassageSet
from wfgy_triage.workload.upload import Upload

BUILTIN = "builtin"
"""The id of the question sets that come with the program."""
KINDS = {
    "json_breaks": ("records",),
    "citations_missing": ("questions",),
    "wrong_snippet": ("questions", PASSAGES),
    "acceptance_gate": ("questions",),
    "sixty_seconds": ("questions",),
}
"""Symptom to the kinds of sets that its probe reads. Others make their own questions."""
KIND_WORDS = {"records": "JSON records", "questions": "questions about texts", PASSAGES: "passages to search"}
MOST_KEPT_BYTES = 2 * 2**30
"""Of all passages and indexes together: visitors may not fill the disk."""
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredWorkload:
    """A stored set; `id` is the hash of its file. `passages`, `vectors`: of passages, how many and whose vectors."""

    id: str
    kind: str
    name: str
    questions: int
    path: Path
    passages: int = 0
    vectors: str = ""


def store_upload(home: Path, upload: Upload) -> StoredWorkload:
    """Keep a question set and return it; the same content again is the same file.

    Raises:
        PrerequisiteError: the folder cannot be written.
    """
    return stored_workload(home, _keep(home, upload.to_bytes(), ".json"))


def store_passages(home: Path, passages: PassageSet) -> StoredWorkload:
    """Keep passages with their index and return the set; the same content again is the same files.

    Raises:
        PrerequisiteError: the folder cannot be written, or holds as much as it may.
    """
    parts = [(passages.raw, ".jsonl")]
    parts += [(passages.index_raw, ".faiss")] if passages.index_raw is not None else []
    folder = home / "workloads"
    kept = sum(f.stat().st_size for f in folder.glob("*") if f.suffix in (".jsonl", ".faiss"))
    if kept + sum(len(raw) for raw, _ in parts) > MOST_KEPT_BYTES:
        raise PrerequisiteError(
            "The space for visitors' passages on this machine is used up.",
            f"Whoever runs it can delete old .jsonl and .faiss files in {folder.name} of the program's home folder.",
        )
    for raw, suffix in parts:
        _keep(home, raw, suffix)
    return stored_workload(home, _keep(home, passages.manifest(), ".json"))


def _keep(home: Path, raw: bytes, suffix: str) -> str:
    """Write a file under the hash of its content, and return the hash. A damaged one of that name is written anew."""
    found = hashlib.sha256(raw).hexdigest()
    path = _path(home, found).with_suffix(suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _holds(path, found):
            # As young as a new one: what is old and named by no session is deleted (`runs/retention.py`).
            with suppress(OSError):
                os.utime(path)
        else:
            _write(path, raw)
    except OSError as error:
        raise PrerequisiteError(
            f"The question set cannot be kept in {path.parent}: {error.strerror or error}.",
            "Check that the folder can be written and the disk is not full.",
        ) from error
    return found


def _holds(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest


def _write(path: Path, raw: bytes) -> None:
    """Beside its place and then renamed, so that nobody reads half a file; nothing is left where the disk is full."""
    with ExitStack() as undo:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            undo.callback(Path(part.name).unlink, missing_ok=True)
            part.write(raw)
        os.replace(part.name, path)


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
    kind, name = data["kind"], data["id"]
    if kind == PASSAGES:
        return StoredWorkload(
            workload_id, kind, name, data["questions"], path, data["passages"], data["vectors"]
        )
    return StoredWorkload(workload_id, kind, name, len(data[kind]), path)


def workload_path(home: Path, symptom: str, workload_id: str) -> Path | None:
    """The file of the question set that a run asks; None for the built-in one.

    Raises:
        InputError: there is no such set, or it is of a kind that this symptom's probe does not read.
        PrerequisiteError: its file was changed.
    """
    if workload_id == BUILTIN:
        return None
    found = stored_workload(home, workload_id)
    wanted = KINDS.get(symptom, ())
    if not wanted:
        raise InputError(
            "This symptom is measured with the program's own questions only.", "Leave the question set out."
        )
    if found.kind not in wanted:
        raise InputError(
            f"The question set “{found.name}” holds {KIND_WORDS[found.kind]}, "
            f"but this symptom needs {needs(symptom)}.",
            "Choose another question set, or another symptom.",
        )
    return found.path


def needs(symptom: str) -> str:
    """What a symptom's probe reads, in words; "none" where it reads nothing of users."""
    return " or ".join(KIND_WORDS[kind] for kind in KINDS.get(symptom, ())) or "none"


def _path(home: Path, workload_id: str) -> Path:
    return home / "workloads" / f"{workload_id}.json"
