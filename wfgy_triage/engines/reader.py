"""A small language model trained to tell what a complaint is about, in numpy: Gemma 3 270M with low-rank changes.

From its seventh block on every token sees the whole text, those behind it too, and the head reads the mean of the
states. The model is a folder that comes with the demo, read from its safetensors file as it lies on disk. What training
changed is in `fixmap/matcher.safetensors`: for every linear layer of these blocks two thin matrices, and the head.
`tools/train_matcher` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.special import log_softmax
from tokenizers import Tokenizer

from wfgy_triage.engines.reader_blocks import Array, Blocks, Shape
from wfgy_triage.exl2.headers import read_json
from wfgy_triage.exl2.tensor_file import read_array, read_header

PREFIX = "reader."
"""Before the names of what training changed in the file that holds what all readers need."""
BEFORE, AFTER = "User report: ", "\nSymptom:"
"""Around a text."""
MOST_TOKENS = 200
"""Tokens of a framed text that are read."""
WHOLE_FROM = 6
"""From this block on every token sees the whole text; the blocks below it are as they were."""
BATCH = 16
"""Texts read together: the weights are unpacked once for all of them."""


class Reader:
    """Reads texts and gives the odds of every class.

    Args:
        blocks: of the model, with what training changed.
        tokenizer: of the model.
        head: `head.weight` (classes, hidden) and `head.bias`.
    """

    def __init__(self, blocks: Blocks, tokenizer: Tokenizer, head: Mapping[str, Array]) -> None:
        self._blocks, self._tokenizer, self._head = blocks, tokenizer, head

    def logits(self, texts: Sequence[str]) -> Array:
        """Natural-log shares of the classes: (n, classes) float32, in the order of the texts."""
        rows = [framed(self._tokenizer, text) for text in texts]
        parts = [self._read(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]
        return np.concatenate([np.zeros((0, len(self._head["head.bias"])), np.float32), *parts])

    def _read(self, rows: Sequence[Sequence[int]]) -> Array:
        states, lengths = self._blocks.states(rows), [len(row) for row in rows]
        # Without the first token of each: its state is far larger than the others and says nothing.
        ends = np.cumsum(lengths)
        read = np.stack([states[e - n + 1 : e].mean(axis=0) for n, e in zip(lengths, ends, strict=True)])
        found: Array = log_softmax(read @ self._head["head.weight"].T + self._head["head.bias"], axis=1)
        return found


def framed(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text in its frame."""
    found: list[int] = tokenizer.encode(f"{BEFORE}{text}{AFTER}").ids[:MOST_TOKENS]
    return found


def build_reader(folder: Path, changes: Mapping[str, Array]) -> Reader:
    """A reader of a folder's model; raises what reading raises.

    Its weights are left on disk until they are used.

    Args:
        folder: of the model.
        changes: what training made: `<layer>.a` (rank, in), `<layer>.b` (out, rank), `head.weight`, `head.bias`.
    """
    shape = Shape.of(read_json(folder / "config.json"))
    # Mapped from the file, so that several processes share the memory.
    weights = {n: read_array(n, meta) for n, meta in read_header(folder / "model.safetensors").items()}
    return Reader(
        Blocks(shape, weights, changes, WHOLE_FROM), read_tokenizer(folder / "tokenizer.json"), changes
    )


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file.

    Raises:
        ValueError: it is missing or damaged.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises this very class
        raise ValueError(f"{path.name}: {error}") from error
