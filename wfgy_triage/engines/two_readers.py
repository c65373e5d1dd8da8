"""The two models that read a complaint, and how their answers become one.

A small language model (`reader.py`) tells best what a complaint is about; what is read from a sentence model's states
(`sentence_reader.py`) errs elsewhere, so the two together err less than either. What training made of both, and what it
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

from wfgy_triage.engines.reader import build_reader
from wfgy_triage.engines.sentence_files import model_folder
from wfgy_triage.engines.sentence_reader import PREFIX, SentenceReader, load_sentence_states
from wfgy_triage.errors import PrerequisiteError

Array = NDArray[np.float32]


class Reads(Protocol):
    """What gives the odds of every class."""

    def logits(self, texts: Sequence[str]) -> Array:
        """Natural-log odds of the classes, up to a constant: (n, classes) float32, in the order of the texts."""
        ...


@dataclass(frozen=True)
class TwoReaders:
    """Both, each with a share in what is said.

    Attributes:
        first: the language model.
        second: the sentence model.
        share: of the second, from 0 to 1.
    """

    first: Reads
    second: Reads
    share: float

    def logits(self, texts: Sequence[str]) -> Array:
        """The weighted mean of the logarithms of what each gives every class: (n, classes) float32."""
        return blend(self.first.logits(texts), self.second.logits(texts), self.share)


def blend(first: Array, second: Array, share: float) -> Array:
    """The weighted mean of two readers' log-probabilities, from logits (n, classes), with the second one's share."""
    found: Array = (1 - share) * log_softmax(first, axis=1) + share * log_softmax(second, axis=1)
    return found


@dataclass(frozen=True)
class Trained:
    """Both readers and what their training settled.

    Attributes:
        reader: gives the logits.
        classes: what they are of, in their order.
        none_factor: the odds of `none` are multiplied by this.
    """

    reader: TwoReaders
    classes: tuple[str, ...]
    none_factor: float


def load_readers(model: Path, changes: Path) -> Trained:
    """Both readers. Weights stay in their files until they are used.

    Args:
        model: the folder of the language model.
        changes: the file of what training changed in both.

    Raises:
        PrerequisiteError: a file is missing or damaged, or they do not belong together.
    """
    sentences = model_folder()
    try:
        with safe_open(changes, "np") as file:
            settled: Mapping[str, str] = file.metadata() or {}
            made = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        second = {n.removeprefix(PREFIX): made.pop(n) for n in list(made) if n.startswith(PREFIX)}
        reader = TwoReaders(
            build_reader(model, made),
            SentenceReader(load_sentence_states(sentences), second),
            float(settled["share"]),
        )
        reader.logits(["Every part is read once, so that what is missing is said now."])
        return Trained(reader, tuple(json.loads(settled["classes"])), float(settled["none_factor"]))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        SafetensorError,
        PrerequisiteError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PrerequisiteError(
            f"The model that reads complaints cannot be loaded: {reason}",
            f"Prepare it with 'python -m wfgy_triage demo', and restore {changes.name} from the repository.",
        ) from error
