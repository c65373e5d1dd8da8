"""What the quantizer asks of a running model: the inputs of every linear, in order, and where errors hurt.

The adapter that runs a real model lives with the engines; this module holds the protocol and the text.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.allocation import Sensitivity

EVALUATION_CHARACTERS = 60_000
"""The start of `wiki.utf8` that is kept for evaluation and never calibrated on."""

_WIKI_START = 200_000
ROW_TOKENS = 512
_STANDARD_ROWS = {"c4": 5, "wiki": 5, "code": 2, "technical": 2, "tiny": 1, "multilingual": 1}


class Visit(Protocol):
    """Called once for each linear, in the order in which the model uses them."""

    def __call__(self, key: str, weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Return the weight to go on with.

        Args:
            key: module name, e.g. `model.layers.0.self_attn.q_proj`.
            weight: (out_features, in_features).
            inputs: float32 (tokens, in_features), computed with all weights returned so far; linears that share
                an input are given the same tensor object.
        """
        ...


class LayerWalker(Protocol):
    """Runs calibration tokens through a model, layer by layer."""

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of `text` without special tokens."""
        ...

    def sensitivities(
        self, rows: torch.Tensor, before_row: Callable[[], None] | None = None
    ) -> Mapping[str, Sensitivity]:
        """Where errors hurt, by linear; for a linear that is left out the defaults count.

        Args:
            rows: calibration tokens.
            before_row: called before each row that is computed; what it raises ends the work.
        """
        ...

    def walk(self, rows: torch.Tensor, visit: Visit) -> None:
        """Run token rows (rows, tokens) through embedding, blocks, final norm and head, calling `visit`."""
        ...


@dataclass(frozen=True)
class Passage:
    """A stretch of calibration text and how many rows of tokens to take from its start."""

    text: str
    rows: int


def standard_calibration() -> tuple[Passage, ...]:
    """Return the library's calibration mix, scaled down, found without importing the library.

    Raises:
        PrerequisiteError: when the exllamav2 package is not installed or lacks its text files.
    """
    folder = _standard_folder()
    passages = []
    for name, rows in _STANDARD_ROWS.items():
        text = _read_text(folder / f"{name}.utf8")
        passages.append(Passage(text[_WIKI_START:] if name == "wiki" else text, rows))
    return tuple(passages)


def evaluation_text() -> str:
    """Return text that the standard calibration never sees: the start of `wiki.utf8`."""
    return _read_text(_standard_folder() / "wiki.utf8")[:EVALUATION_CHARACTERS]


def calibration_passages(files: Iterable[Path], rows: int = 16) -> tuple[Passage, ...]:
    """Return the user's text files as calibration, an equal share of the rows from each.

    Raises:
        PrerequisiteError: when a file cannot be read as UTF-8.
    """
    paths = list(files)
    share = max(1, rows // max(1, len(paths)))
    return tuple(Passage(_read_text(path), share) for path in paths)


def calibration_tokens(walker: LayerWalker, files: Iterable[Path] | None = None) -> torch.Tensor:
    """Rows of calibration tokens, int64 of shape (rows, `ROW_TOKENS`).

    Args:
        walker: knows the tokenizer.
        files: UTF-8 text; the library's standard mix without them.

    Raises:
        PrerequisiteError: missing or too little text.
    """
    chosen = list(files or ())
    return token_rows(calibration_passages(chosen) if chosen else standard_calibration(), walker.encode)


def some_rows(rows: torch.Tensor, limit: int | None) -> torch.Tensor:
    """At most `limit` rows, taken evenly from all; every row without a limit."""
    if limit is None or limit >= len(rows):
        return rows
    return rows[torch.linspace(0, len(rows) - 1, max(1, limit)).round().long()]


def token_rows(
    passages: Sequence[Passage], encode: Callable[[str], Sequence[int]], tokens: int = ROW_TOKENS
) -> torch.Tensor:
    """Cut each passage into its rows of equal length.

    Returns:
        int64 of shape (rows, tokens).

    Raises:
        PrerequisiteError: when all texts together do not fill a single row.
    """
    rows: list[list[int]] = []
    for passage in passages:
        # Six characters a token is more than any tokenizer here averages; encoding the rest would be waste.
        ids = list(encode(passage.text[: passage.rows * tokens * 6]))
        rows += [ids[i * tokens : (i + 1) * tokens] for i in range(min(passage.rows, len(ids) // tokens))]
    if not rows:
        raise PrerequisiteError(
            f"The calibration text is shorter than {tokens} tokens.",
            "Give more text, several pages at least.",
        )
    return torch.tensor(rows, dtype=torch.int64)


def _standard_folder() -> Path:
    spec = importlib.util.find_spec("exllamav2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "conversion" / "standard_cal_data"
        if folder.is_dir():
            return folder
    raise PrerequisiteError(
        "The standard calibration text is not installed.",
        "Install the exllamav2 package (its Python wheel is enough), or give your own text files.",
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PrerequisiteError(
            f"The calibration file {path.name} cannot be read as UTF-8 text.",
            "Check the path and its encoding.",
        ) from error
