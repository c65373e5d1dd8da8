"""Sensitivities kept on disk: they depend on the FP16 weights and the calibration text alone, so siblings share them.

The inputs that GPTQ calibrates on are not kept: they depend on everything that was quantized before them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from wfgy_triage.exl2.allocation import Sensitivity
from wfgy_triage.exl2.headers import weights_fingerprint
from wfgy_triage.exl2.walker import LayerWalker

VERSION = 1
"""Raised when the estimate changes: older files are then not found."""

_log = logging.getLogger(__name__)


def sensitivities(
    walker: LayerWalker,
    tokens: torch.Tensor,
    fp16_dir: Path,
    folder: Path | None,
    before_row: Callable[[], None] | None = None,
) -> Mapping[str, Sensitivity]:
    """The walker's sensitivities, or those kept from the same weights and text.

    Args:
        walker: holds the FP16 weights, none replaced yet.
        tokens: calibration rows.
        fp16_dir: the folder that the walker runs.
        folder: where they are kept; None computes them anew and keeps nothing.
        before_row: see `LayerWalker.sensitivities`.
    """
    if folder is None:
        return walker.sensitivities(tokens, before_row)
    digest = hashlib.sha256(f"{VERSION}/{weights_fingerprint(fp16_dir)}/{tuple(tokens.shape)}".encode())
    digest.update(tokens.numpy().tobytes())
    path = folder / f"sensitivity-{digest.hexdigest()}.json"
    kept = _read(path)
    if kept is None:
        kept = walker.sensitivities(tokens, before_row)
        _write(path, kept)
    return kept


def _read(path: Path) -> Mapping[str, Sensitivity] | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {
            key: Sensitivity(float(cost), tuple(float(share) for share in energy))
            for key, (cost, energy) in stored.items()
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError):
        _log.warning("the kept statistics in %s are damaged and are computed again", path.name)
        return None


def _write(path: Path, found: Mapping[str, Sensitivity]) -> None:
    """Write beside and rename; a full disk costs the next run some time, not this one its result."""
    text = json.dumps({key: [value.cost, list(value.energy)] for key, value in found.items()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as part:
            part.write(text)
        os.replace(part.name, path)
    except OSError as error:
        _log.warning("statistics could not be kept in %s: %s", path.parent, error)
