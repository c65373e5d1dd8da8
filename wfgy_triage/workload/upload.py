"""Question sets that users bring: what each row may hold, and the workload file that is made of it.

A set is of one kind: questions about sections of text, or JSON records with their schema. The result has the format of
the built-in files, so that probes read both with the same code. Nothing is taken silently: a row that cannot be used is
a problem with its line, and a set with problems is refused as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wfgy_triage.errors import InputError
from wfgy_triage.workload.upload_formats import MAX_ROWS, Problems, Row, UploadedFile, UploadError, read_rows
from wfgy_triage.workload.upload_questions import questions_file
from wfgy_triage.workload.upload_records import records_file

MAX_BYTES = 1_000_000
MAX_FILES = 50
SUFFIXES = (".jsonl", ".ndjson", ".csv", ".md", ".markdown")


@dataclass(frozen=True)
class Upload:
    """A question set that can be used.

    Attributes:
        kind: "questions" or "records".
        name: for people.
        content: the workload file.
        questions: how many questions it asks.
        passages: how many sections of text, or how many different schemas.
        notes: what a reader should know about it, one sentence each.
    """

    kind: str
    name: str
    content: Mapping[str, Any]
    questions: int
    passages: int
    notes: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """The file to store; equal sets give equal bytes."""
        return json.dumps(self.content, ensure_ascii=False, sort_keys=True, indent=1).encode()


def read_upload(files: Sequence[UploadedFile]) -> Upload:
    """Read one or more files as one question set.

    Raises:
        UploadError: with every problem found, by file and line.
        InputError: no file, too many, or too large.
    """
    if not files:
        raise InputError("No file was given.", f"Give a file of one of these kinds: {', '.join(SUFFIXES)}.")
    size = sum(len(f.data) for f in files)
    if len(files) > MAX_FILES or size > MAX_BYTES:
        raise InputError(
            f"The question set is too large: {len(files)} files, {size:,} bytes.",
            f"At most {MAX_FILES} files and {MAX_BYTES:,} bytes are read; use fewer questions.",
        )
    problems = Problems()
    rows = [row for file in files for row in read_rows(file, problems)]
    if len(rows) > MAX_ROWS:
        problems.found.append(f"{len(rows):,} rows in all files; at most {MAX_ROWS:,} are read.")
    # With far too many rows only that is said.
    if len(rows) <= MAX_ROWS:
        upload = _understood(_name(files), rows, problems)
        if upload is not None and not problems.found:
            return upload
    raise UploadError(problems.found)


def read_path(path: Path) -> Upload:
    """Read a file, or all readable files of a folder (not of folders in it), as one question set.

    Raises:
        InputError: nothing there, or not readable; `UploadError` for its content.
    """
    try:
        if path.is_dir():
            paths = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        else:
            paths = [path]
        # Sizes first: a huge file is not read to find out that it is one.
        size = sum(p.stat().st_size for p in paths)
        if size > MAX_BYTES:
            raise InputError(f"{path.name} has {size:,} bytes.", f"At most {MAX_BYTES:,} bytes are read.")
        files = [UploadedFile(p.name, p.read_bytes()) for p in paths]
    except OSError as error:
        raise InputError(
            f"The question set {path} cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    if not files:
        raise InputError(f"The folder {path} holds no question files.", f"Looked for {', '.join(SUFFIXES)}.")
    return read_upload(files)


def _name(files: Sequence[UploadedFile]) -> str:
    stem = re.sub(r"[^\w.-]+", "-", files[0].name.rpartition(".")[0]).strip("-")[:48] or "questions"
    return stem if len(files) == 1 else f"{stem}-and-{len(files) - 1}-more"


def _understood(name: str, rows: Sequence[Row], problems: Problems) -> Upload | None:
    records = [row for row in rows if "schema" in row.fields or "record" in row.fields]
    others = [row for row in rows if "schema" not in row.fields and "record" not in row.fields]
    if records and others:
        first = others[0]
        problems.add(
            first.file, first.line, "a question or text among JSON records; use one kind of row a set."
        )
        return None
    if not rows:
        if not problems.found:
            problems.found.append("There is no row in the set.")
        return None
    if records:
        content, notes = records_file(name, records, problems)
        return Upload("records", name, content, len(content["records"]), len(content["classes"]), notes)
    content, notes = questions_file(name, others, problems)
    return Upload("questions", name, content, len(content["questions"]), len(content["sections"]), notes)
