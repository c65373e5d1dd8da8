"""Engines and a sentence model whose vectors are words: what resembles what is known beforehand."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.probes.desk import Bench
from tests.probes.fakes import ScriptedEngine
from wfgy_triage.engines.sentence_files import DIMENSIONS
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.wrong_snippet import WrongSnippet

HIDDEN = 256
LAYERS = 2
WORDS = re.compile(r"\w+")


def bag(text: str, width: int, salt: str = "") -> np.ndarray:
    """Sum of a random direction for each distinct word."""
    rows = [
        np.random.default_rng(zlib.crc32((salt + w).encode())).standard_normal(width)
        for w in sorted(set(WORDS.findall(text.casefold())))
    ]
    return np.sum(rows, axis=0)


class WordEngine(ScriptedEngine):
    """Layer 1 holds the words; layers 0 and 2 only how long the text is.

    Args:
        name: part of the engine's identity.
        salt: another salt gives vectors in another basis: retrieval as good, but not with the other's index.
        noise: standard deviation of what is added to each text's vector.
    """

    def __init__(self, name: str, salt: str = "", noise: float = 0.0) -> None:
        super().__init__({})
        self.info = type(self.info)(**{**vars(self.info), "engine_version": name, "layers": LAYERS})
        self.salt, self.noise = salt, noise
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str], layers: Sequence[int]) -> np.ndarray:
        self.embedded += texts
        out = np.zeros((len(layers), len(texts), HIDDEN), np.float32)
        for place, layer in enumerate(layers):
            for row, text in enumerate(texts):
                noise = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(HIDDEN) * self.noise
                words = bag(text, HIDDEN, self.salt) if layer == 1 else np.full(HIDDEN, float(len(text)))
                out[place, row] = words + noise
        return out


class WordEncoder:
    """Stands in for the sentence model."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += 1
        rows = np.stack([bag(t, DIMENSIONS) for t in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Desk(Bench):
    """Passages searched with engines that embed words."""

    def __init__(
        self,
        exl2: WordEngine,
        cache: Path | None = None,
        questions: int = 48,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.encoder = WordEncoder()
        engines = WordEngine("fp16"), exl2, WordEngine("fast", noise=0.001)
        settings = ProbeSettings(questions=questions, options=options or {})
        super().__init__(WrongSnippet(lambda: self.encoder), *engines, settings)
        self.cache = cache
        self.models = {"fp16": "a" * 64, "exl2": f"{exl2.salt}{exl2.noise}"} if cache else {}
