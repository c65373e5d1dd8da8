"""An index that a user brings: a FAISS file, or the embeddings beside the passages. Data from outside: not trusted.

The file's header is read and held against the file's size here; the index itself is opened by faiss in a process of
its own, so that a broken file can end that process and nothing else. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import struct
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

MAX_INDEX_BYTES = 2**30
READ_SECONDS = 60
METRICS: dict[int, Literal["ip", "l2"]] = {0: "ip", 1: "l2"}
"""faiss.METRIC_INNER_PRODUCT and faiss.METRIC_L2."""
_HEADER = struct.Struct("<4siqqq?i")
"""Every index file begins so: kind, dimensions, vectors, two unused, trained, metric."""
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
        PrerequisiteError: faiss is not installed.
    """
    dimensions, vectors, measure = _check_header(path, passages)
    if find_spec("faiss") is None:
        raise PrerequisiteError(
            "Reading a FAISS index needs the package faiss-cpu, which is not installed.",
            "Install it (pip install -r requirements.txt), or give embeddings in the passages file.",
        )
    rows = _read_apart(path)
    if rows.shape != (vectors, dimensions) or not np.isfinite(rows).all():
        raise InputError(f"{path.name} does not hold the vectors that its header names.", "Write it again.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return GivenIndex(rows, measure, path.name, digest)


def _check_header(path: Path, passages: int) -> tuple[int, int, Literal["ip", "l2"]]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            raw = file.read(_HEADER.size)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
    if len(raw) < _HEADER.size or raw[:2] not in (b"Ix", b"Iw", b"IH", b"IN"):
        raise InputError(f"{path.name} is not a FAISS index.", "Write it with faiss.write_index.")
    _, dimensions, vectors, _, _, trained, metric = _HEADER.unpack(raw)
    if not 0 < dimensions <= MAX_DIMENSIONS or not 0 < vectors <= MAX_CHUNKS or size > MAX_INDEX_BYTES:
        raise InputError(
            f"{path.name} names {vectors:,} vectors of {dimensions:,} numbers in {size:,} bytes.",
            f"Up to {MAX_CHUNKS:,} vectors of {MAX_DIMENSIONS:,} numbers are read.",
        )
    if vectors != passages:
        raise InputError(
            f"{path.name} holds {vectors:,} vectors for {passages:,} passages: stale parts, or passages left out.",
            "Give the passages that the index was built from, in the same order.",
        )
    if not trained or metric not in METRICS:
        raise InputError(
            f"{path.name} is not trained, or compares by something else than inner product or L2.",
            "Give an index with METRIC_INNER_PRODUCT or METRIC_L2.",
        )
    return dimensions, vectors, METRICS[metric]


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
