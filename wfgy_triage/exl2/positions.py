"""The base of the rotary position encoding, and where exllamav2 looks for it in a config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIBRARY_THETA = 10000.0
"""What exllamav2 uses when config.json has no top-level rope_theta."""


def rope_theta(config: Mapping[str, Any]) -> float | None:
    """The base of the rotary encoding: top level in older configurations, in `rope_parameters` in newer ones."""
    top = number(config.get("rope_theta"))
    return nested_theta(config) if top is None else top


def nested_theta(config: Mapping[str, Any]) -> float | None:
    """The base in `rope_parameters`, where transformers looks first and exllamav2 does not look at all."""
    nested = config.get("rope_parameters")
    return number(nested.get("rope_theta")) if isinstance(nested, Mapping) else None


def number(value: Any) -> float | None:
    """A JSON number as a float; None for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
