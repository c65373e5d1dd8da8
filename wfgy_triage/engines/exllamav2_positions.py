"""Position settings of a folder in exllamav2: as the library reads them, or for a baseline as its model was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wfgy_triage.engine_settings import Side
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.positions import (
    LIBRARY_SCALINGS,
    ORIGINAL_CONTEXT,
    LibraryScaling,
    applied,
    by_layer_type,
    library_scaling,
    nested_theta,
    rope_theta,
    rotated_share,
    scaled_apart,
    scaling,
)

_IN_TRANSFORMERS = "Let transformers run the FP16 side: leave `baseline` out of the pair's engine block."
UNSCALED = frozenset(kind for kind, scaled in LIBRARY_SCALINGS.items() if not scaled.fields) | {"dynamic"}
"""Kinds that move no position of a text within the model's context, beyond which `dynamic` begins."""


def place_positions(config: Any, folder: Path, side: Side) -> list[str]:
    """See to base, scaling and rotated share of the positions; returns what there is to say about them.

    Args:
        config: `ExLlamaV2Config` of the folder; changed for a baseline.
        folder: the model folder.
        side: a baseline is given what its model was trained with; the EXL2 side stays as the library reads it.

    Raises:
        PrerequisiteError: a baseline whose positions the library cannot compute, or of which that is not known.
    """
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if by_layer_type(data):
        return [_layer_types(folder, side)]
    notes = (
        _base(config, data, side),
        _scaling(config, data, folder, side),
        _share(config, data, side),
        scaled_apart(data, int(config.max_seq_len)) if config.alt_rope_method else "",
    )
    return [note for note in notes if note]


def _layer_types(folder: Path, side: Side) -> str:
    if side == "exl2":
        return (
            "This model has other position settings in its sliding layers than in its global ones. It is run as "
            "exllamav2 reads them; whether it was trained so is NOT MEASURED."
        )
    raise PrerequisiteError(
        f"{folder.name} has other position settings in its sliding layers than in its global ones, and whether "
        "exllamav2 takes both as they were trained is not known here.",
        _IN_TRANSFORMERS,
        cause="rope_mismatch",
    )


def _base(config: Any, data: Mapping[str, Any], side: str) -> str:
    # transformers, and so the baseline, looks into rope_parameters first; the library at the top level only.
    nested = nested_theta(data)
    trained = rope_theta(data) if nested is None else nested
    read = float(config.rotary_embedding_base)
    if trained is None or trained == read:
        return ""
    if side == "exl2":
        return (
            f"exllamav2 reads rope_theta {read:g} from this folder, and the model was trained with {trained:g}; it is "
            "run as the library reads it."
        )
    config.rotary_embedding_base = trained
    return f"rope_theta {trained:g} is taken from rope_parameters, where exllamav2 does not look ({read:g} without)."


def _scaling(config: Any, data: Mapping[str, Any], folder: Path, side: str) -> str:
    wanted, read = scaling(data), library_scaling(data)
    kind = str(wanted.get("type", "default"))
    if kind in UNSCALED or (kind in LIBRARY_SCALINGS and applied(wanted) == applied(read)):
        return ""
    if side == "exl2":
        named = read.get("type", "none") if applied(read) else "none"
        return (
            f"exllamav2 takes the position scaling {named} from this folder, and the model was trained with {kind}; it "
            "is run as the library reads it."
        )
    known = LIBRARY_SCALINGS.get(kind, LibraryScaling())
    fields = {**known.fields, **known.beside}
    # A model that keeps the length it was first trained on beside its other settings means that one.
    settings = {ORIGINAL_CONTEXT: data.get("max_position_embeddings"), **wanted}
    settings[ORIGINAL_CONTEXT] = data.get(ORIGINAL_CONTEXT) or settings[ORIGINAL_CONTEXT]
    lacking = [key for key in fields.values() if settings.get(key) is None]
    if not fields or lacking:
        why = f"its config.json lacks {', '.join(lacking)}" if lacking else "the library does not know it"
        raise PrerequisiteError(
            f"exllamav2 cannot run {folder.name} with the position scaling {kind} that the model was trained with: "
            f"{why}.",
            _IN_TRANSFORMERS,
            cause="rope_mismatch",
        )
    for field, key in fields.items():
        setattr(config, field, settings[key])
    if known.method is not None:
        config.alt_rope_method = known.method
    return f"The position scaling {kind} is taken from rope_parameters, where exllamav2 does not look."


def _share(config: Any, data: Mapping[str, Any], side: str) -> str:
    trained, read = rotated_share(data), float(config.partial_rotary_factor)
    if trained is None or trained == read:
        return ""
    if side == "exl2":
        return (
            f"exllamav2 rotates {read:g} of each head as this folder says at the top level, and the model was trained "
            f"with {trained:g}; it is run as the library reads it."
        )
    config.partial_rotary_factor = trained
    return f"partial_rotary_factor {trained:g} is taken from rope_parameters, where exllamav2 does not look."
