"""Passages and an index that a visitor of the page brings: read, checked, and kept as one set.

A set is a small file that names the two by their content; `stored.py` puts all three into one folder. Everything is
checked when it is taken, and held against its hash whenever it is read again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.workload.chunks import ChunkSet, parse_chunks
from wfgy_triage.workload.index_file import GivenIndex, given_vectors, plain_index
from wfgy_triage.workload.upload_formats import UploadedFile

PASSAGES = "passages"
"""The kind of a set, beside those of question sets."""
MAX_UPLOAD_BYTES = 32 * 2**20
"""Of one file. An index of 5,000 passages has 7.7 MB with 384 numbers a vector and 30.7 MB with 1,536; 2,000 passages
of 4,096 numbers have 32.8 MB, which just fits."""
_LONGEST_NAME = 64


@dataclass(frozen=True)
class PassageSet:
    """A set that can be used.

    Attributes:
        name: of the passages file.
        chunks: the passages and what is asked about them.
        raw: the passages file.
        given: the vectors that came with it; None without any.
        index_raw: the index file; None without one.
    """

    name: str
    chunks: ChunkSet
    raw: bytes
    given: GivenIndex | None
    index_raw: bytes | None = None

    @property
    def vectors(self) -> str:
        """Where the vectors come from, in words; empty without any."""
        return self.given.source if self.given is not None else ""

    def manifest(self) -> bytes:
        """The file that names the set; equal sets give equal bytes."""
        content = {
            "kind": PASSAGES,
            "id": self.name,
            "passages": len(self.chunks.chunks),
            "questions": len(self.chunks.queries),
            "vectors": self.vectors,
            "chunks_sha256": hashlib.sha256(self.raw).hexdigest(),
            "index_sha256": hashlib.sha256(self.index_raw).hexdigest()
            if self.index_raw is not None
            else None,
        }
        return json.dumps(content, ensure_ascii=False, sort_keys=True, indent=1).encode()


@dataclass(frozen=True)
class KeptPassages:
    """A kept set, not read yet."""

    folder: Path
    content: dict[str, Any]

    @property
    def chunks_path(self) -> Path:
        """The passages."""
        return self.folder / f"{self.content['chunks_sha256']}.jsonl"

    @property
    def index_path(self) -> Path | None:
        """The index, where there is one."""
        found = self.content["index_sha256"]
        return self.folder / f"{found}.faiss" if found else None

    def raw_passages(self) -> bytes:
        """The passages file; PrerequisiteError when it was changed or is gone."""
        return _unchanged(self.chunks_path)

    def load(self) -> tuple[ChunkSet, GivenIndex | None]:
        """The passages, and the vectors that came with them.

        Raises:
            PrerequisiteError: a file was changed since it was stored, or is gone.
        """
        chunks = parse_chunks(self.raw_passages(), self.content["id"])
        if self.index_path is None:
            return chunks, given_vectors(chunks)
        raw = _unchanged(self.index_path)
        return chunks, plain_index(raw, self.content["vectors"], len(chunks.chunks))


def read_passages(file: UploadedFile, index: UploadedFile | None = None) -> PassageSet:
    """Read passages, and an index of them, from somebody who is not trusted.

    Args:
        file: one JSON object a line.
        index: a FAISS file with one vector for each passage, in their order.

    Raises:
        InputError: a file cannot be used; names the line where there is one.
    """
    name = _short(file.name)
    _check_size(file)
    chunks = parse_chunks(file.data, name)
    if index is None:
        return PassageSet(name, chunks, file.data, given_vectors(chunks))
    _check_size(index)
    given = plain_index(index.data, _short(index.name), len(chunks.chunks))
    return PassageSet(name, chunks, file.data, given, index.data)


def kept_passages(manifest: Path) -> KeptPassages | None:
    """The kept set that a file of `stored.py` names; None where it is a question set."""
    content = json.loads(manifest.read_bytes())
    return KeptPassages(manifest.parent, content) if content.get("kind") == PASSAGES else None


def _check_size(file: UploadedFile) -> None:
    if len(file.data) > MAX_UPLOAD_BYTES:
        raise InputError(
            f"{_short(file.name)} has {len(file.data):,} bytes.",
            f"Up to {MAX_UPLOAD_BYTES:,} are read here; give fewer passages, or use the command line.",
        )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _unchanged(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError:
        raw = b""
    if hashlib.sha256(raw).hexdigest() != path.stem:
        raise PrerequisiteError(
            f"The kept file {path.name} was changed, is damaged or is gone.", "Give the passages again."
        )
    return raw
