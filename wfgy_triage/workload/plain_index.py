"""Reads FAISS files that hold whole vectors one after the other, without faiss.

faiss trusts the lengths in a file; one that is made to break its reader may do anything that the reader's process may.
Here every length is held against the bytes that are there before anything is read, and nothing but arrays of numbers is
made of them. Known: Flat with inner product or L2, HNSW over Flat, and an ID map over either. The layout is that of
`faiss/impl/index_write.cpp`, versions 1.7 to 1.13.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from wfgy_triage.errors import InputError

HEADER = struct.Struct("<4siqqq?i")
"""Every index begins so: kind, dimensions, vectors, two unused, trained, metric."""
PLAIN_KINDS = "Flat, HNSW-Flat, and an ID map over them"
_FLAT = (b"IxFI", b"IxF2")
_ID_MAP = (b"IxMp", b"IxM2")
_HNSW = b"IHNf"
_LENGTH = struct.Struct("<Q")
_GRAPH_ITEMS = (8, 4, 4, 8, 4)
"""Bytes an item of the graph's five arrays: probabilities, neighbours a level, levels, offsets, neighbours."""
_GRAPH_NUMBERS = 5 * 4
"""Behind them: entry point, highest level, three settings of the search."""
_DEEPEST = 3


def read_plain(raw: bytes, name: str) -> NDArray[np.float32] | None:
    """The vectors of an index file, in the order in which they were added.

    Args:
        raw: the whole file.
        name: what an error calls it.

    Returns:
        (vectors, dimensions), or None for a kind of index that is not known here.

    Raises:
        InputError: the lengths in the file do not fit the file.
    """
    reader = _Reader(raw, name)
    rows = reader.index(_DEEPEST)
    if rows is not None and reader.left:
        raise reader.damaged()
    return rows


class _Reader:
    """A place in a file that only moves forward, and never past its end."""

    def __init__(self, raw: bytes, name: str) -> None:
        self._raw, self._name, self._at = memoryview(raw), name, 0

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return len(self._raw) - self._at

    def damaged(self) -> InputError:
        """The error for lengths that do not fit."""
        return InputError(
            f"{self._name} is damaged: its lengths do not fit its size.",
            "Write it again with faiss.write_index.",
        )

    def index(self, deepest: int) -> NDArray[np.float32] | None:
        """One index, with those inside it."""
        kind, dimensions, vectors, _, _, _, metric = HEADER.unpack(self._take(HEADER.size))
        if metric not in (0, 1) or deepest == 0:  # another metric has a number more in its header
            return None
        if kind in _FLAT:
            values = self._array(4)
            if dimensions <= 0 or vectors <= 0 or len(values) != 4 * dimensions * vectors:
                raise self.damaged()
            return np.frombuffer(values, "<f4").reshape(vectors, dimensions).astype(np.float32)
        if kind in _ID_MAP:
            rows = self.index(deepest - 1)
            if rows is not None and len(self._array(8)) != 8 * len(rows):
                raise self.damaged()
            return rows
        if kind == _HNSW:
            for size in _GRAPH_ITEMS:
                self._array(size)
            self._take(_GRAPH_NUMBERS)
            return self.index(deepest - 1)
        return None

    def _array(self, item: int) -> memoryview:
        """An array as faiss writes it: how many items, then the items."""
        (count,) = _LENGTH.unpack(self._take(_LENGTH.size))
        return self._take(count * item)

    def _take(self, size: int) -> memoryview:
        if size > self.left:
            raise self.damaged()
        self._at += size
        return self._raw[self._at - size : self._at]
