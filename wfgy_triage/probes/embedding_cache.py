"""Vectors kept between runs, one file for each model, layer and list of texts, named by a hash of what they depend on.

A file that is damaged or of another shape counts as absent. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Raised when what is embedded, or how, changes: older files are then not found."""
LIMIT_BYTES = 512 * 2**20
Array = NDArray[np.float32]

_log = logging.getLogger(__name__)


class EmbeddingCache:
    """Arrays by what they were computed from.

    Args:
        folder: where the files are; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, identity: Sequence[str], texts: Sequence[str], shape: tuple[int, ...]) -> Array | None:
        """The array kept under these names and texts, or None.

        Args:
            identity: everything else that the numbers depend on: model hash, engine version, layer, ...
            texts: what was embedded, in order.
            shape: that the array must have; -1 stands for any size.
        """
        path = self._path(identity, texts)
        return None if path is None else _read(path, shape)

    def put(self, identity: Sequence[str], texts: Sequence[str], array: Array) -> None:
        """Keep an array; a full disk costs the next run some time, not this one its result."""
        path = self._path(identity, texts)
        if path is None:
            return
        try:
            _write(path, array)
            _make_room(path.parent, keep=path)
        except OSError as error:
            _log.warning("embeddings could not be kept in %s: %s", path.parent, error)

    def _path(self, identity: Sequence[str], texts: Sequence[str]) -> Path | None:
        if self._folder is None:
            return None
        key = json.dumps([VERSION, list(identity), list(texts)])
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"


def _read(path: Path, shape: tuple[int, ...]) -> Array | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            array: Array = stored["vectors"]
        os.utime(path)  # what is used last is dropped last
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        _log.warning("the kept embeddings in %s are damaged and are computed again", path.name)
        return None
    fits = array.ndim == len(shape) and all(w in (-1, n) for w, n in zip(shape, array.shape, strict=True))
    return array if fits and array.dtype == np.float32 and np.isfinite(array).all() else None


def _write(path: Path, array: Array) -> None:
    """Write beside and rename, so that a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        try:
            np.savez(part, vectors=array)
            part.close()
            Path(part.name).replace(path)
        finally:
            Path(part.name).unlink(missing_ok=True)


def _make_room(folder: Path, keep: Path) -> None:
    total = 0
    for file in sorted(folder.glob("*.npz"), key=lambda p: p.stat().st_mtime, reverse=True):
        total += file.stat().st_size
        if total > LIMIT_BYTES and file != keep:
            file.unlink(missing_ok=True)
