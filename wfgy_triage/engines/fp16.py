"""Open an ordinary transformers folder: the baseline side of a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from wfgy_triage.engines.base import Mode
from wfgy_triage.engines.prepare import (
    LOAD_ERRORS,
    build_engine,
    compute_dtype,
    first_line,
    on_device,
    own_weights,
    prepare_model,
    refusing_unsupported,
)
from wfgy_triage.engines.quiet import quiet_transformers
from wfgy_triage.engines.transformers_engine import TransformersEngine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.headers import check_folder_safe, folder_tensors


def open_fp16(folder: Path, *, mode: Mode = "reproducible", device: str = "cpu") -> TransformersEngine:
    """Load a folder of safetensors with transformers; no code of the folder is ever run.

    Args:
        folder: config.json, tokenizer and safetensors, weights not quantized.
        mode: see `Mode`.
        device: a torch device.

    Raises:
        PrerequisiteError: the folder is unsafe, broken, quantized, or of an architecture that is not supported; or
            the device has no room for it, or is not there.
    """
    check_folder_safe(folder)
    folder_tensors(folder)
    return on_device(lambda: _load(folder, mode, torch.device(device)), f"{folder.name} cannot be loaded")


def _load(folder: Path, mode: Mode, device: torch.device) -> TransformersEngine:
    dtype = compute_dtype(mode, device)
    try:
        with quiet_transformers():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                trust_remote_code=False,
                use_safetensors=True,
                dtype="auto",
                local_files_only=True,
                output_loading_info=True,
                # Refused below, by name.
                ignore_mismatched_sizes=True,
            )
    except LOAD_ERRORS as error:
        raise PrerequisiteError(
            f"transformers cannot load {folder.name}: {first_line(error)}",
            "It must be a causal language model of a class that transformers ships, in safetensors.",
        ) from error
    _check_report(report, folder)
    with refusing_unsupported(model):
        prepare_model(model, own_weights, dtype, device)
        return build_engine(model, folder, engine="transformers", mode=mode, dtype=dtype, device=device)


def _check_report(report: dict[str, Any], folder: Path) -> None:
    """Refuse a folder whose tensors are not exactly those of the model: transformers would invent the rest."""
    for kind, what in (
        ("missing_keys", "lacks"),
        ("unexpected_keys", "has, and the model does not know,"),
        ("mismatched_keys", "has in the wrong shape"),
    ):
        # A mismatch comes with its shapes.
        names = sorted(n if isinstance(n, str) else str(n[0]) for n in report.get(kind, ()))
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise PrerequisiteError(
                f"{folder.name} {what} the tensors {', '.join(names[:3])}{more}.",
                "Check that config.json belongs to these weights and that the download is complete.",
            )
