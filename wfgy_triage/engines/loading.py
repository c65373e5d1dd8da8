"""Open a model folder as an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from wfgy_triage.engines.base import Engine, Mode
from wfgy_triage.engines.transformers_engine import TransformersEngine

Side = Literal["fp16", "exl2"]


def open_engine(
    folder: str | Path,
    *,
    side: Side,
    mode: Mode = "reproducible",
    share_with: Engine | None = None,
    device: str = "cpu",
) -> Engine:
    """Open one side of a pair.

    Args:
        folder: the model folder.
        side: "fp16" for an ordinary transformers folder, "exl2" for an EXL2 or GPTQ one.
        mode: "reproducible" (fp32) or "fast" (bf16 where the processor has it).
        share_with: an open engine of the same model, whose equal tensors are then held once.
        device: a torch device, "cpu" or "cuda".

    Raises:
        PrerequisiteError: the folder cannot be loaded; says why and what to do.
    """
    path = Path(folder)
    if side == "fp16":
        from wfgy_triage.engines.fp16 import open_fp16

        return open_fp16(path, mode=mode, device=device)
    from wfgy_triage.engines.exl2_reference import open_exl2_reference

    twin = share_with if isinstance(share_with, TransformersEngine) else None
    return open_exl2_reference(path, mode=mode, share_with=twin, device=device)
