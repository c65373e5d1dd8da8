"""The rotary position encoding in a config.json: what the model was trained with, and what exllamav2 reads of it.

transformers 5 saves base, scaling and rotated share in `rope_parameters`; exllamav2 looks for each at the top level.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIBRARY_THETA = 10000.0
"""What exllamav2 uses when config.json has no top-level rope_theta."""
LIBRARY_SHARE = 1.0
"""What exllamav2 uses when config.json has no top-level partial_rotary_factor."""
_LONG = ("long_factor", "short_factor")
LIBRARY_SCALINGS: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "mrope": (),
    "linear": ("factor",),
    "su": _LONG,
    "longrope": _LONG,
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Kinds of scaling that exllamav2 applies to text, and what it reads of each; it ignores any other without a word."""
ORIGINAL_CONTEXT = "original_max_position_embeddings"


def rope_theta(config: Mapping[str, Any]) -> float | None:
    """The base of the rotary encoding: top level in older configurations, in `rope_parameters` in newer ones."""
    top = number(config.get("rope_theta"))
    return nested_theta(config) if top is None else top


def nested_theta(config: Mapping[str, Any]) -> float | None:
    """The base in `rope_parameters`, where transformers looks first and exllamav2 does not look at all."""
    return number(_nested(config).get("rope_theta"))


def rotated_share(config: Mapping[str, Any]) -> float | None:
    """The share of each head that is rotated, wherever it is stated; None where it is not."""
    top = number(config.get("partial_rotary_factor"))
    return number(_nested(config).get("partial_rotary_factor")) if top is None else top


def library_share(config: Mapping[str, Any]) -> float:
    """The share of each head that exllamav2 rotates."""
    top = number(config.get("partial_rotary_factor"))
    return LIBRARY_SHARE if top is None else top


def scaling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The scaling in one form, empty for none; older configurations have `rope_scaling`, newer `rope_parameters`."""
    blocks = [config.get(key) for key in ("rope_scaling", "rope_parameters")]
    found = [b for b in blocks if isinstance(b, Mapping)]
    kinds = [b.get("rope_type") or b.get("type") for b in found]
    kind = next((k for k in kinds if k), "default")
    settings = {k: v for block in reversed(found) for k, v in block.items()}
    for name in ("rope_theta", "rope_type", "type", "partial_rotary_factor"):
        settings.pop(name, None)
    return {} if kind == "default" else {"type": kind, **settings}


def library_scaling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The scaling that exllamav2 reads: that of the top-level `rope_scaling` alone."""
    return scaling({"rope_scaling": config.get("rope_scaling")})


def applied(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What exllamav2 applies of a scaling: the kind and the settings that it looks at; empty for none.

    Args:
        settings: as `scaling` gives them.
    """
    kind = str(settings.get("type", "default"))
    used = LIBRARY_SCALINGS.get(kind)
    return {"type": kind, **{key: settings.get(key) for key in used}} if used else {}


def top_level(config: Mapping[str, Any]) -> dict[str, Any]:
    """The position settings of a configuration as exllamav2 looks for them; what is not stated is left out."""
    kind = scaling(config)
    found: dict[str, Any] = {
        "rope_theta": rope_theta(config),
        "partial_rotary_factor": rotated_share(config),
        "rope_scaling": {"rope_type" if k == "type" else k: v for k, v in kind.items()} or None,
    }
    if kind.get("type") in ("su", "longrope"):
        found[ORIGINAL_CONTEXT] = config.get(ORIGINAL_CONTEXT) or kind.get(ORIGINAL_CONTEXT)
    return {key: value for key, value in found.items() if value is not None}


def number(value: Any) -> float | None:
    """A JSON number as a float; None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _nested(config: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = config.get("rope_parameters")
    return nested if isinstance(nested, Mapping) else {}
