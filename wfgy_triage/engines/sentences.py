"""Sentence embeddings: all-MiniLM-L6-v2, taken from an installed package so that it loads without a network.

`sentence_files.py` says where the files come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from wfgy_triage.engines.quiet import quiet_transformers
from wfgy_triage.engines.sentence_files import DIMENSIONS, MODEL_NAME, model_folder, model_version, unreadable

BATCH = 64


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
    folder = model_folder()
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
        raise unreadable(error) from error
    model.eval()
    return SentenceEncoder(MODEL_NAME, model_version(), int(model.max_seq_length or 0), model)
