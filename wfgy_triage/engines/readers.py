"""What reads a complaint, and how the answers become one.

A small language model (`reader.py`) tells best what a complaint is about. What is read from a sentence model's states
(`sentence_reader.py`) errs elsewhere, so together they err less than each. What training made of them, and what it
settled, is in one file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from scipy.special import log_softmax

from wfgy_triage.engines.reader import PREFIX, build_reader
from wfgy_triage.engines.sentence_files import model_folder, unreadable
from wfgy_triage.engines.sentence_reader import PREFIX as SENTENCES
from wfgy_triage.engines.sentence_reader import SentenceReader, SentenceStates, load_sentence_states
from wfgy_triage.errors import PrerequisiteError

Array = NDArray[np.float32]
READ_ONCE = "Every part is read once, so that what is missing is said now."
UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError, PrerequisiteError)
"""What reading a model's files raises, where they are missing or damaged."""


class Reads(Protocol):
    """What gives the odds of every class."""

    def logits(self, texts: Sequence[str]) -> Array:
        """Natural-log odds of the classes, up to a constant: (n, classes) float32, in the order of the texts."""
        ...


@dataclass(frozen=True)
class Readers:
    """All of them, each with a share in what is said.

    Attributes:
        parts: the language model and the sentence model.
        shares: of each, one together.
    """

    parts: tuple[Reads, ...]
    shares: tuple[float, ...]

    def each(self, texts: Sequence[str]) -> list[Array]:
        """What each says by itself."""
        return [part.logits(texts) for part in self.parts]

    def logits(self, texts: Sequence[str]) -> Array:
        """The weighted mean of the logarithms of what each gives every class: (n, classes) float32."""
        return blend(self.each(texts), self.shares)


def blend(logits: Sequence[Array], shares: Sequence[float]) -> Array:
    """The weighted mean of several readers' log-probabilities, from the logits (n, classes) of each."""
    weighted = [share * log_softmax(found, axis=1) for found, share in zip(logits, shares, strict=True)]
    found: Array = np.sum(weighted, axis=0)
    return found


@dataclass(frozen=True)
class Trained:
    """All readers and what their training settled.

    Attributes:
        reader: gives the logits.
        classes: what they are of, in their order.
        none_factor: the odds of `none` are multiplied by this.
    """

    reader: Readers
    classes: tuple[str, ...]
    none_factor: float


def load_readers(model: Path, changes: Path) -> Trained:
    """All readers. Weights stay in their files until they are used.

    Args:
        model: the folder of the language model.
        changes: the file of what training made.

    Raises:
        PrerequisiteError: a file is missing or damaged, or they do not belong together.
    """
    states = _sentence_states()
    try:
        with safe_open(changes, "np") as file:
            settled: Mapping[str, str] = file.metadata() or {}
            made = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        parts: tuple[Reads, ...] = (
            build_reader(model, _named(made, PREFIX)),
            SentenceReader(states, _named(made, SENTENCES)),
        )
        reader = Readers(parts, tuple(float(share) for share in json.loads(settled["shares"])))
        reader.logits([READ_ONCE])
        return Trained(reader, tuple(json.loads(settled["classes"])), float(settled["none_factor"]))
    except UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PrerequisiteError(
            f"The model that reads complaints cannot be loaded: {reason}",
            f"Remove {model} and run 'python -m wfgy_triage demo --free-text', or restore {changes.name} from the "
            "repository.",
        ) from error


def _sentence_states() -> SentenceStates:
    """The sentence model, read once, so that what is said of a damaged one names the right model."""
    folder = model_folder()
    try:
        states = load_sentence_states(folder)
        states.of([READ_ONCE])
    except UNREADABLE as error:
        raise unreadable(error) from error
    return states


def _named(made: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """What has the prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in made.items() if name.startswith(prefix)}
