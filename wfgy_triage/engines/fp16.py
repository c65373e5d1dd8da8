"""Open an ordinary transformers folder: the baseline side of a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from wfgy_triage.engines.base import Mode
from wfgy_triage.engines.prepare import build_engine, compute_dtype, own_weights, prepare_model
from wfgy_triage.engines.transformers_engine import TransformersEngine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.headers import check_folder_safe, folder_tensors


def open_fp16(
    folder: Path, *, mode: Mode = "reproducible", device: str = "cpu"
) -> TransformersEngine:
    """Load a folder of safetensors with transformers; no code of the folder is ever run.

    Args:
        folder: config.json, tokenizer and safetensors, weights not quantized.
        mode: see `Mode`.
        device: a torch device.

    Raises:
        PrerequisiteError: the folder is unsafe, broken, quantized, or of an architecture that is not supported.
    """
    check_folder_safe(folder)
    folder_tensors(folder)
    target = torch.device(device)
    dtype = compute_dtype(mode, target)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="auto",
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PrerequisiteError(
            f"transformers cannot load {folder.name}: {reason}",
            "It must be a causal language model of a class that transformers ships, in safetensors.",
        ) from error
    _check_report(report, folder)
    prepare_model(model, own_weights, dtype, target)
    return build_engine(model, folder, engine="transformers", mode=mode, dtype=dtype, device=target)


def _check_report(report: dict[str, Any], folder: Path) -> None:
    """Refuse a folder whose tensors are not exactly those of the model: transformers would invent the rest."""
    for kind, what in (
        ("missing_keys", "lacks"),
        ("unexpected_keys", "has, and the model does not know,"),
        ("mismatched_keys", "has in the wrong shape"),
    ):
        names = sorted(str(n) for n in report.get(kind, ()))
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise PrerequisiteError(
                f"{folder.name} {what} the tensors {', '.join(names[:3])}{more}.",
                "Check that config.json belongs to these weights and that the download is complete.",
            )
