"""What a part is given, and what it gives back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from wfgy_triage.engine_settings import EngineSettings

State = Literal["PASS", "FAIL", "NOT MEASURED"]
ON_CPU = "GPU_CHECK_ON_CPU"
"""Environment variable of a part's process that runs the library compiled for the CPU (`benchmarks/library_on_cpu`)."""
_LIBRARY, _TRANSFORMERS = ("cuda:0", "cpu") if os.environ.get(ON_CPU) else ("cuda", "cuda")
REAL = EngineSettings(device=_LIBRARY, backend="exllamav2")
"""The library on the EXL2 side, transformers on the FP16 side."""
SAME = EngineSettings(device=_LIBRARY, backend="exllamav2", baseline="exllamav2")
"""The library on both sides."""
REFERENCE = EngineSettings(device=_TRANSFORMERS, backend="reference")
"""Decoded weights in transformers' class."""


@dataclass(frozen=True)
class Bench:
    """What the parts work on.

    Attributes:
        fp16: the FP16 folder.
        exl2: EXL2 folders made from it.
        work: an empty folder for what a part makes.
        fast: small sizes and few repeats: a check, not a result.
    """

    fp16: Path
    exl2: tuple[Path, ...]
    work: Path
    fast: bool


@dataclass(frozen=True)
class Outcome:
    """What a part found.

    Attributes:
        state: `NOT MEASURED` where something it needs is not there.
        said: one sentence for the table.
        rows: what was measured, plain values.
    """

    state: State
    said: str
    rows: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def passed_if(good: bool, said: str, rows: Sequence[Mapping[str, Any]]) -> Outcome:
    """PASS or FAIL."""
    return Outcome("PASS" if good else "FAIL", said, tuple(rows))
