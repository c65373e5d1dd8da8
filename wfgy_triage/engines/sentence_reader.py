"""A sentence model whose states small networks read, to tell what a complaint is about: all-MiniLM-L6-v2, in numpy.

One of those that read a complaint (`readers.py`). The model is the installed package's own file, read as it lies
on disk, and stays as it is; the networks are in `fixmap/matcher.safetensors`. `tools/train_matcher` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf, log_softmax, softmax
from tokenizers import Tokenizer

from wfgy_triage.engines.reader import read_tokenizer
from wfgy_triage.exl2.headers import read_json
from wfgy_triage.exl2.tensor_file import read_array, read_header

PREFIX = "sentences."
"""Before the names of the networks in the file that holds what all readers need."""
BLOCKS = (4, 6)
"""Behind these blocks the mean of a text's states is taken: what the middle holds says more than the end alone."""
MOST_PIECES = 200
"""Word pieces of a text that are read, with the two that frame it."""
BATCH = 16
"""Texts read together."""
Array = NDArray[np.float32]


@dataclass(frozen=True)
class SentenceShape:
    """Sizes of the model, from its config.json."""

    heads: int
    epsilon: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> SentenceShape:
        """Read config.json."""
        return cls(
            heads=int(config["num_attention_heads"]),
            epsilon=float(config["layer_norm_eps"]),
        )


class SentenceStates:
    """The model, up to the states that are read.

    Args:
        shape: sizes of the model.
        weights: its tensors by name, left on disk until they are used.
        tokenizer: of the model; see `sentence_tokenizer`.
    """

    def __init__(
        self, shape: SentenceShape, weights: Mapping[str, NDArray[Any]], tokenizer: Tokenizer
    ) -> None:
        self._shape, self._weights, self._tokenizer = shape, weights, tokenizer

    def of(self, texts: Sequence[str]) -> Array:
        """The mean states behind each of `BLOCKS`, each of unit length: (n, blocks * hidden) float32."""
        rows = [found.ids for found in self._tokenizer.encode_batch(list(texts))]
        parts = [self._read(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]
        width = len(BLOCKS) * self._weights["embeddings.LayerNorm.weight"].shape[0]
        return np.concatenate([np.zeros((0, width), np.float32), *parts])

    def _read(self, rows: Sequence[Sequence[int]]) -> Array:
        """Rows lie behind each other, unpadded."""
        ends = np.cumsum([len(row) for row in rows]).tolist()
        begins = [0, *ends[:-1]]
        places = np.concatenate([np.arange(len(row)) for row in rows])
        states = self._weights["embeddings.word_embeddings.weight"][[i for row in rows for i in row]]
        states = states + self._weights["embeddings.position_embeddings.weight"][places]
        states = states + self._weights["embeddings.token_type_embeddings.weight"][0]
        states = self._norm(states, "embeddings.LayerNorm")
        found = []
        for layer in range(max(BLOCKS)):
            name = f"encoder.layer.{layer}."
            mixed = self._attend(f"{name}attention.self.", states, begins, ends)
            mixed = self._linear(f"{name}attention.output.dense", mixed)
            states = self._norm(states + mixed, f"{name}attention.output.LayerNorm")
            wide = _gelu(self._linear(f"{name}intermediate.dense", states))
            states = self._norm(states + self._linear(f"{name}output.dense", wide), f"{name}output.LayerNorm")
            if layer + 1 in BLOCKS:
                means = np.stack([states[b:e].mean(axis=0) for b, e in zip(begins, ends, strict=True)])
                found.append(means / np.linalg.norm(means, axis=1, keepdims=True))
        return np.concatenate(found, axis=1)

    def _attend(self, name: str, states: Array, begins: Sequence[int], ends: Sequence[int]) -> Array:
        query, key, value = (
            self._linear(f"{name}{part}", states)
            .reshape(len(states), self._shape.heads, -1)
            .transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scale = np.float32(math.sqrt(query.shape[-1]))
        mixed = []
        for b, e in zip(begins, ends, strict=True):
            scores = query[:, b:e] @ key[:, b:e].transpose(0, 2, 1) / scale
            mixed.append((softmax(scores, axis=-1) @ value[:, b:e]).transpose(1, 0, 2).reshape(e - b, -1))
        return np.concatenate(mixed)

    def _linear(self, name: str, inputs: Array) -> Array:
        found: Array = inputs @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return found

    def _norm(self, states: Array, name: str) -> Array:
        centred = states - states.mean(axis=-1, keepdims=True)
        centred /= np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(self._shape.epsilon))
        found: Array = centred * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return found


class SentenceReader:
    """Networks of one hidden layer on the states of a text; what they say is averaged.

    Args:
        states: gives the states.
        networks: by number and part: `<n>.inner.weight` (hidden, states), `<n>.outer.weight` (classes, hidden), and
            the `bias` of both.
    """

    def __init__(self, states: SentenceStates, networks: Mapping[str, Array]) -> None:
        self._states, self._networks = states, networks
        self._numbers = sorted({name.partition(".")[0] for name in networks})
        if not networks:
            raise ValueError("it has no networks for the sentence model")

    def logits(self, texts: Sequence[str]) -> Array:
        """Natural-log odds of the classes: (n, classes) float32, in the order of the texts."""
        states = self._states.of(texts)
        found: Array = np.mean([log_softmax(self._said(n, states), axis=1) for n in self._numbers], axis=0)
        return found

    def _said(self, number: str, states: Array) -> Array:
        for part in ("inner", "outer"):
            weight, bias = (self._networks[f"{number}.{part}.{kind}"] for kind in ("weight", "bias"))
            states = states @ weight.T + bias
            states = _gelu(states) if part == "inner" else states
        return states


def _gelu(inputs: Array) -> Array:
    found: Array = inputs * (0.5 * (1 + erf(inputs / np.float32(math.sqrt(2)))))
    return found


def sentence_tokenizer(folder: Path) -> Tokenizer:
    """The model's tokenizer: texts are cut at their end, and nothing is padded."""
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST_PIECES)
    return tokenizer


def load_sentence_states(folder: Path) -> SentenceStates:
    """The model of a folder; raises what reading its files raises."""
    shape = SentenceShape.of(read_json(folder / "config.json"))
    weights = {n: read_array(n, meta) for n, meta in read_header(folder / "model.safetensors").items()}
    return SentenceStates(shape, weights, sentence_tokenizer(folder))
