"""An index that a user brings: a FAISS file, or the embeddings beside the passages. Data from outside: not trusted.

Indexes of whole vectors are read here without faiss (`plain_index.py`); only those are taken from visitors of the page.
Other kinds, from the command line, are opened by faiss in a process of its own, so that a broken file can end that
process and nothing else. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.workload.chunks import MAX_CHUNKS, MAX_DIMENSIONS, ChunkSet
from wfgy_triage.workload.plain_index import HEADER, PLAIN_KINDS, read_plain

MAX_INDEX_BYTES = 2**30
READ_SECONDS = 60
METRICS: dict[int, Literal["ip", "l2"]] = {0: "ip", 1: "l2"}
"""faiss.METRIC_INNER_PRODUCT and faiss.METRIC_L2."""
_CHILD = """
import sys, faiss, numpy
index = faiss.read_index(sys.argv[1])
inner = faiss.downcast_index(index.index) if hasattr(index, "id_map") else index
if hasattr(inner, "make_direct_map"):
    inner.make_direct_map()
rows = inner.reconstruct_n(0, inner.ntotal)
numpy.save(sys.argv[2], rows, allow_pickle=False)
"""


@dataclass(frozen=True)
class GivenIndex:
    """Vectors as stored, row i for passage i.

    Attributes:
        vectors: (passages, dimensions).
        measure: how the index compares: `ip` or `l2`.
        source: what it came from, in words.
        sha256: of the index file; empty for vectors that came with the passages (their file's hash covers them).
    """

    vectors: NDArray[np.float32]
    measure: Literal["ip", "l2"]
    source: str
    sha256: str = ""


def given_vectors(chunks: ChunkSet) -> GivenIndex | None:
    """The embeddings beside a user's passages, searched by inner product; None without any."""
    if chunks.chunks[0].vector is None:
        return None
    rows = np.array([chunk.vector for chunk in chunks.chunks], np.float32)
    return GivenIndex(rows, "ip", f"embeddings in {chunks.id}")


def load_index(path: Path, passages: int) -> GivenIndex:
    """Read a FAISS index that holds one vector for each passage, in their order.

    Raises:
        InputError: the file is not an index, is damaged, or does not fit the passages.
        PrerequisiteError: only faiss can read this kind, and it is not installed.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = _check_header(file.read(HEADER.size), size, path.name, passages)
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    rows = read_plain(raw, path.name)
    if rows is None:
        rows = _read_by_faiss(path)
    return _given(rows, head, raw, path.name)


def plain_index(raw: bytes, name: str, passages: int) -> GivenIndex:
    """As `load_index`, for a file of somebody who is not trusted: faiss is never asked.

    Raises:
        InputError: also for a kind of index that only faiss can read.
    """
    head = _check_header(raw[: HEADER.size], len(raw), name, passages)
    rows = read_plain(raw, name)
    if rows is None:
        raise InputError(
            f"{name} is a kind of index that only faiss itself can read; it is not opened here.",
            f"Kinds that are read: {PLAIN_KINDS}. To make one: flat = faiss.IndexFlatIP(index.d) (or IndexFlatL2), "
            "flat.add(index.reconstruct_n(0, index.ntotal)), faiss.write_index(flat, 'flat.faiss').",
        )
    return _given(rows, head, raw, name)


_Head = tuple[int, int, Literal["ip", "l2"]]
"""Dimensions, vectors, how they are compared."""


def _given(rows: NDArray[np.float32], head: _Head, raw: bytes, name: str) -> GivenIndex:
    dimensions, vectors, measure = head
    if rows.shape != (vectors, dimensions) or not np.isfinite(rows).all():
        raise InputError(f"{name} does not hold the vectors that its header names.", "Write it again.")
    return GivenIndex(rows, measure, name, hashlib.sha256(raw).hexdigest())


def _check_header(raw: bytes, size: int, name: str, passages: int) -> _Head:
    if len(raw) < HEADER.size or raw[:2] not in (b"Ix", b"Iw", b"IH", b"IN"):
        raise InputError(f"{name} is not a FAISS index.", "Write it with faiss.write_index.")
    _, dimensions, vectors, _, _, trained, metric = HEADER.unpack(raw)
    if not 0 < dimensions <= MAX_DIMENSIONS or not 0 < vectors <= MAX_CHUNKS or size > MAX_INDEX_BYTES:
        raise InputError(
            f"{name} names {vectors:,} vectors of {dimensions:,} numbers in {size:,} bytes.",
            f"Up to {MAX_CHUNKS:,} vectors of {MAX_DIMENSIONS:,} numbers are read.",
        )
    if vectors != passages:
        raise InputError(
            f"{name} holds {vectors:,} vectors for {passages:,} passages: stale parts, or passages left out.",
            "Give the passages that the index was built from, in the same order.",
        )
    if not trained or metric not in METRICS:
        raise InputError(
            f"{name} is not trained, or compares by something else than inner product or L2.",
            "Give an index with METRIC_INNER_PRODUCT or METRIC_L2.",
        )
    return dimensions, vectors, METRICS[metric]


def _read_by_faiss(path: Path) -> NDArray[np.float32]:
    if find_spec("faiss") is None:
        raise PrerequisiteError(
            "Reading this kind of FAISS index needs the package faiss-cpu, which is not installed.",
            "Install it (pip install -r requirements.txt), or give embeddings in the passages file.",
        )
    return _read_apart(path)


def _read_apart(path: Path) -> NDArray[np.float32]:
    """Let faiss read the file in another process and hand the vectors over as a plain array."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.npy"
        command = [sys.executable, "-I", "-c", _CHILD, str(path.resolve()), str(out)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=READ_SECONDS, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f"{path.name} could not be read within {READ_SECONDS} s.", "Write it again."
            ) from error
        if done.returncode or not out.is_file():
            reason = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it ended the reader"])[
                -1
            ]
            raise InputError(
                f"faiss cannot read the vectors of {path.name}: {reason[:300]}",
                "Indexes that keep whole vectors work (Flat, IVF-Flat, HNSW-Flat, ID map over them).",
            )
        rows: NDArray[np.float32] = np.load(out, allow_pickle=False)
        return rows
