"""A small language model trained to tell what a complaint is about, in numpy: SmolLM2-135M with low-rank changes.

It reads a complaint in two manners: `FORWARD`, as a language model reads, and `BOTH_WAYS`, where from a block on every
token sees those behind it too. Both go through the blocks together (`reader_blocks.py`).

The model is the demo's own FP16 folder, read from its safetensors file as it lies on disk. What training changed is in
`fixmap/matcher.safetensors`: for every linear layer two thin matrices, and the head. `tools/train_matcher` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import log_softmax
from tokenizers import Tokenizer

from wfgy_triage.engines.reader_blocks import Array, Blocks, Lane, Shape
from wfgy_triage.exl2.headers import read_array, read_header, read_json

BEFORE, AFTER = "A user wrote:\n", "\n\nWhat it is about:"
"""Around a text; the state of the last token is what the head reads."""
MOST_TOKENS = 200
"""Tokens of a text that are read."""
BATCH = 16
"""Texts read together: the weights are unpacked once for all of them."""


@dataclass(frozen=True)
class Manner:
    """How the model reads.

    Attributes:
        prefix: stands before the names of what training changed.
        both_ways: from this block on every token sees the whole text, and the blocks below it are as they were; None:
            no token sees what is behind it.
        mean: whether the head reads the mean of the states but for the first token's, which is far larger and says
            nothing; otherwise the last token's state.
    """

    prefix: str
    both_ways: int | None = None
    mean: bool = False


FORWARD, BOTH_WAYS = Manner("forward."), Manner("both_ways.", 10, True)


@dataclass(frozen=True)
class Training:
    """What training in a manner changed.

    Attributes:
        manner: in which it read, and is read.
        changes: `<layer>.a` (rank, in), `<layer>.b` (out, rank), `head.weight`, `head.bias`.
    """

    manner: Manner
    changes: Mapping[str, Array]

    @property
    def begins(self) -> int:
        """The first block that it changed."""
        return self.manner.both_ways or 0

    @property
    def lane(self) -> Lane:
        """How it goes through the blocks that it changed."""
        return Lane(self.changes, self.manner.both_ways is not None)

    def odds(self, states: Array, lengths: Sequence[int]) -> Array:
        """Natural-log shares of the classes, (rows, classes), from the normalized states (tokens, hidden) of rows."""
        ends = np.cumsum(lengths)
        read = states[ends - 1]
        if self.manner.mean:
            read = np.stack([states[e - n + 1 : e].mean(axis=0) for n, e in zip(lengths, ends, strict=True)])
        found: Array = log_softmax(read @ self.changes["head.weight"].T + self.changes["head.bias"], axis=1)
        return found


class Reader:
    """Reads texts and gives the odds of every class.

    Args:
        blocks: of the model.
        tokenizer: of the model.
        trainings: one for each manner in which it reads.
    """

    def __init__(self, blocks: Blocks, tokenizer: Tokenizer, trainings: Sequence[Training]) -> None:
        self._blocks, self._tokenizer, self._trainings = blocks, tokenizer, trainings

    def logits(self, texts: Sequence[str]) -> list[Array]:
        """Natural-log shares of the classes, in each manner: (n, classes) float32, in the order of the texts."""
        rows = [framed(self._tokenizer, text) for text in texts]
        parts = [self._read(rows[i : i + BATCH]) for i in range(0, len(rows), BATCH)]
        none = [np.zeros((0, len(t.changes["head.bias"])), np.float32) for t in self._trainings]
        return [np.concatenate(said) for said in zip(none, *parts, strict=True)]

    def _read(self, rows: Sequence[Sequence[int]]) -> list[Array]:
        """What is said in each manner of rows of tokens: (rows, classes)."""
        # `before`: as no training changed it, computed once for all that begin later; `behind`: those that have begun.
        lengths = [len(row) for row in rows]
        before, behind = self._blocks.embed(rows), dict[int, Array]()
        for layer in range(self._blocks.shape.layers):
            behind |= {n: before for n, training in enumerate(self._trainings) if training.begins == layer}
            unchanged = len(behind) < len(self._trainings)
            lanes = [self._trainings[n].lane for n in behind] + [Lane({}, False)] * unchanged
            states = np.stack([*behind.values(), *[before] * unchanged])
            states = self._blocks.through(layer, states, lengths, lanes)
            behind, before = dict(zip(behind, states, strict=False)), states[-1]
        read = [behind.get(n, before) for n in range(len(self._trainings))]
        return [t.odds(self._blocks.norm(s), lengths) for t, s in zip(self._trainings, read, strict=True)]


def framed(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text in its frame."""
    before, inner, after = (tokenizer.encode(t, add_special_tokens=False).ids for t in (BEFORE, text, AFTER))
    return [*before, *inner[:MOST_TOKENS], *after]


def build_reader(folder: Path, trainings: Sequence[Training]) -> Reader:
    """A reader of a folder's model; raises what reading raises.

    Its weights are left on disk until they are used.

    Args:
        folder: of the model.
        trainings: one for each manner in which it reads.
    """
    shape = Shape.of(read_json(folder / "config.json"))
    # Mapped from the file, so that several processes share the memory.
    weights = {n: read_array(n, meta) for n, meta in read_header(folder / "model.safetensors").items()}
    return Reader(Blocks(shape, weights), _tokenizer(folder / "tokenizer.json"), trainings)


def _tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises this very class
        raise ValueError(f"{path.name}: {error}") from error
