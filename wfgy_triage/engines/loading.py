"""Open a model folder, or a server that runs the model, as an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wfgy_triage.engine_settings import EngineSettings, Side
from wfgy_triage.engines.base import Engine, Mode
from wfgy_triage.engines.transformers_engine import TransformersEngine

DEFAULTS = EngineSettings()


def open_engine(
    folder: str | Path,
    *,
    side: Side,
    mode: Mode = "reproducible",
    share_with: Engine | None = None,
    settings: EngineSettings = DEFAULTS,
) -> Engine:
    """Open one side of a pair.

    Args:
        folder: the model folder.
        side: "fp16" for an ordinary transformers folder, "exl2" for an EXL2 or GPTQ one.
        mode: "reproducible" (fp32) or "fast" (bf16 where the processor has it); exllamav2 has one way of its own.
        share_with: an open engine of the same model, whose equal tensors are then held once, and whose tokenizer
            writes the prompts for a server.
        settings: what computes, and where.

    Raises:
        PrerequisiteError: the folder cannot be loaded, or what is to run it is not there; says why and what to do.
    """
    path = Path(folder)
    server = settings.server_of(side)
    if server is not None:
        from wfgy_triage.engines.openai_loading import open_served

        return open_served(server, path if side == "fp16" else None, side=side, mode=mode, twin=share_with)
    device = settings.device_of(side)
    if settings.uses_library(side):
        from wfgy_triage.engines.exllamav2_loading import open_exllamav2

        return open_exllamav2(path, side=side, mode=mode, settings=replace(settings, device=device))
    if side == "fp16":
        from wfgy_triage.engines.fp16 import open_fp16

        return open_fp16(path, mode=mode, device=device)
    from wfgy_triage.engines.exl2_reference import open_exl2_reference

    twin = share_with if isinstance(share_with, TransformersEngine) else None
    return open_exl2_reference(path, mode=mode, share_with=twin, device=device, cache=settings.cache)
