"""Vectors kept between runs: one file for each model, layer and list of texts, named by a hash of all that they depend on.

A file that is damaged or of another shape counts as absent. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
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

    def fetch(
        self, identity: Sequence[str], texts: Sequence[str], shape: tuple[int, ...], compute: Callable[[], Array]
    ) -> Array:
        """The array for these texts, computed only when it is not there.

        Args:
            identity: everything else that the numbers depend on: model hash, engine version, layer, ...
            texts: what is embedded, in order.
            shape: that the array must have; -1 stands for any size.
            compute: makes it.
        """
        if self._folder is None:
            return compute()
        key = json.dumps([VERSION, *identity, *texts], ensure_ascii=False)
        path = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"
        found = _read(path, shape)
        if found is None:
            found = compute()
            _write(path, found)
        return found


def _read(path: Path, shape: tuple[int, ...]) -> Array | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            array: Array = stored["vectors"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        _log.warning("the cached embeddings in %s are damaged and are computed again", path.name)
        return None
    fits = array.ndim == len(shape) and all(w in (-1, n) for w, n in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != np.float32 or not np.isfinite(array).all():
        return None
    os.utime(path)  # what is used last is dropped last
    return array


def _write(path: Path, array: Array) -> None:
    """Write beside and rename, so that a reader sees the whole file or none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            try:
                np.savez(part, vectors=array)
                part.close()
                Path(part.name).replace(path)
            finally:
                Path(part.name).unlink(missing_ok=True)
        _make_room(path.parent, keep=path)
    except OSError as error:
        # A full disk costs the next run some time, not this one its result.
        _log.warning("embeddings could not be kept in %s: %s", path.parent, error)


def _make_room(folder: Path, keep: Path) -> None:
    files = sorted(folder.glob("*.npz"), key=lambda p: p.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > LIMIT_BYTES and file != keep:
            file.unlink(missing_ok=True)
