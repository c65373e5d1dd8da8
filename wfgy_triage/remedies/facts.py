"""What is known of the deployment that a patch is written for: folders, and values it has now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Facts:
    """Names and current values; None where they are not known.

    Attributes:
        fp16: the FP16 model's folder.
        exl2: the EXL2 model's folder.
        bpw: bits per weight that the EXL2 model was made with, as its config.json says.
        head_bits: bits of its output head.
        config: its config.json.
        generation_config: its generation_config.json.
    """

    fp16: str
    exl2: str
    bpw: float | None = None
    head_bits: int | None = None
    config: Mapping[str, Any] | None = None
    generation_config: Mapping[str, Any] | None = None


def facts_of(fp16: Path, exl2: Path) -> Facts:
    """What the two folders tell. A file that is missing or damaged leaves its values unknown."""
    config = _object(exl2 / "config.json")
    made = (config or {}).get("quantization_config")
    made = made if isinstance(made, dict) else {}
    bits, head = made.get("bits"), made.get("head_bits")
    return Facts(
        str(fp16),
        str(exl2),
        float(bits) if isinstance(bits, int | float) else None,
        head if isinstance(head, int) else None,
        config,
        _object(exl2 / "generation_config.json"),
    )


def _object(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
