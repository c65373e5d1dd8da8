"""The sentence model without torch: all-MiniLM-L6-v2 as numpy arrays, for a process that must stay small.

The same weights as `sentences.py` and the same numbers (tests compare them), in 90 MB instead of the 450 MB that torch
and transformers bring along. Texts of equally many word pieces are read together, so nothing is padded or masked.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy.special import erf, softmax
from tokenizers import Tokenizer

from wfgy_triage.engines.sentence_files import DIMENSIONS, model_folder, unreadable

TOKENS = 2048
"""Word pieces read at once; a few megabytes of intermediate values."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LightSentenceEncoder:
    """all-MiniLM-L6-v2 in numpy.

    Attributes:
        max_tokens: word pieces that are read; a longer text is cut at its end.
    """

    max_tokens: int
    _tokenizer: Tokenizer
    _weights: Mapping[str, Floats]
    _layers: int
    _heads: int
    _epsilon: float

    def encode(self, texts: Sequence[str]) -> Floats:
        """Embed texts.

        Args:
            texts: any number of texts; an empty text is a text like any other.

        Returns:
            (n, 384) float32 rows of unit length, in the order of `texts`; (0, 384) for no texts.
        """
        rows = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
        alike: defaultdict[int, list[int]] = defaultdict(list)
        ids = [e.ids for e in self._tokenizer.encode_batch(list(texts))]
        for i, pieces in enumerate(ids):
            alike[len(pieces)].append(i)
        for length, members in alike.items():
            step = max(1, TOKENS // length)
            for start in range(0, len(members), step):
                chosen = members[start : start + step]
                rows[chosen] = self._embed(np.array([ids[i] for i in chosen]))
        return rows

    def _embed(self, ids: NDArray[np.int64]) -> Floats:
        """(n, length) word pieces to (n, 384) unit rows: BERT, the mean over the pieces, unit length."""
        w = self._weights
        x = w["embeddings.word_embeddings.weight"][ids]
        x = x + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(self._layers):
            at = f"encoder.layer.{layer}"
            mixed = self._linear(self._attend(x, f"{at}.attention.self"), f"{at}.attention.output.dense")
            x = self._norm(x + mixed, f"{at}.attention.output.LayerNorm")
            wide = self._linear(x, f"{at}.intermediate.dense")
            wide *= 0.5 * (1.0 + erf(wide / np.float32(np.sqrt(2.0))))
            x = self._norm(x + self._linear(wide, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        mean = x.mean(axis=1)
        return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), dtype=np.float32)

    def _attend(self, x: Floats, at: str) -> Floats:
        n, length, width = x.shape
        query, key, value = (
            self._linear(x, f"{at}.{part}").reshape(n, length, self._heads, -1).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width / self._heads))
        return np.asarray((softmax(scores, axis=-1) @ value).transpose(0, 2, 1, 3).reshape(n, length, width))

    def _linear(self, x: Floats, at: str) -> Floats:
        return np.asarray(x @ self._weights[f"{at}.weight"].T + self._weights[f"{at}.bias"])

    def _norm(self, x: Floats, at: str) -> Floats:
        x = x - x.mean(axis=-1, keepdims=True)
        x /= np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        return np.asarray(x * self._weights[f"{at}.weight"] + self._weights[f"{at}.bias"])


def load_light_encoder() -> LightSentenceEncoder:
    """Load the sentence model from its installed package; well under a second, no network.

    Raises:
        PrerequisiteError: the package is not installed, or its files are not complete.
    """
    folder = model_folder()
    try:
        config = json.loads((folder / "config.json").read_bytes())
        longest = int(json.loads((folder / "sentence_bert_config.json").read_bytes())["max_seq_length"])
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        weights = load_file(folder / "model.safetensors")
        encoder = LightSentenceEncoder(
            longest,
            tokenizer,
            weights,
            int(config["num_hidden_layers"]),
            int(config["num_attention_heads"]),
            float(config["layer_norm_eps"]),
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise unreadable(error) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return encoder
