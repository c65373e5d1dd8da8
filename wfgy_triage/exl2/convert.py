"""From an FP16 folder to an EXL2 folder: the order of the work, not the arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from wfgy_triage.errors import InputError
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.job import Job, Progress
from wfgy_triage.exl2.parts import blocks_only, protected_head
from wfgy_triage.exl2.plan import Plan, plan_presets
from wfgy_triage.exl2.presets import HEAD_PRESETS
from wfgy_triage.exl2.recipe import Calibration, Method, Recipe, whole_config
from wfgy_triage.exl2.sensitivity import sensitivities
from wfgy_triage.exl2.walker import ROW_TOKENS, LayerWalker, calibration_tokens, some_rows
from wfgy_triage.exl2.writer import copy_side_files, new_folder, save_tensors, write_json


@dataclass(frozen=True)
class QuantizeReport:
    """What was written.

    Attributes:
        folder: the EXL2 folder.
        method: `gptq` or `rtn`.
        decoder_bpw: stored bits per weight of the decoder's linears, protected parts included.
        head_bpw: stored bits per weight of the head; None where it is not quantized.
        head_bits: the head option.
        presets: preset name of each linear that was quantized now.
        calibration: on what; rows are 0 without calibration.
        seconds: wall time.
    """

    folder: Path
    method: Method
    decoder_bpw: float
    head_bpw: float | None
    head_bits: int
    presets: Mapping[str, str]
    calibration: Calibration
    seconds: float


def quantize_folder(
    fp16_dir: Path,
    out_dir: Path,
    *,
    bpw: float,
    head_bits: int = 6,
    protect: Mapping[str, float] | None = None,
    method: Method = "gptq",
    calibration_files: Sequence[Path] | None = None,
    calibration_rows: int | None = None,
    walker: LayerWalker | None = None,
    statistics: Path | None = None,
    progress: Progress | None = None,
) -> QuantizeReport:
    """Quantize a transformers FP16 folder into an EXL2 folder that the real library can load.

    Args:
        fp16_dir: folder with config.json, tokenizer and safetensors.
        out_dir: new folder; written completely or not at all.
        bpw: upper bound on the stored bits per weight of the decoder outside protected parts.
        head_bits: the library's head option: 2, 3, 4, 5, 6 or 8.
        protect: bits per weight of parts that get a rate of their own, see `parts.part_linears`; linears whose
            rate is the same share it among them. `head` takes a head option.
        method: `gptq` needs a walker; `rtn` uses one only to find the activation order.
        calibration_files: UTF-8 text; the library's standard mix without them.
        calibration_rows: fewer token rows for GPTQ than the text has, for speed; the folder says how many were used.
        walker: runs the calibration text through the model; its sensitivities decide which linears get
            the more precise presets. Its weights are replaced: use it once.
        statistics: folder in which sensitivities are kept for the next sibling.
        progress: see `Progress`.

    Raises:
        InputError: an impossible bit rate, part, head option or output folder.
        PrerequisiteError: a folder that cannot be used, missing calibration text, a full disk.
    """
    started = time.perf_counter()
    protect = protect or {}
    recipe = Recipe(bpw, protected_head(protect, head_bits), blocks_only(protect), method)
    _check_arguments(recipe, walker)
    with Checkpoint.open(Path(fp16_dir)) as source, new_folder(Path(out_dir)) as folder:
        plan = plan_presets(source.contents, recipe, {})  # refuses before any long work
        tokens = calibration_tokens(walker, calibration_files) if walker else None
        if walker is not None and tokens is not None:
            announce = announcer(progress, len(plan.presets))
            found = sensitivities(walker, tokens, source.contents.folder, statistics, announce)
            plan = plan_presets(source.contents, recipe, found)
        job = Job(source, plan.presets, method, progress)
        if walker is not None and tokens is not None:
            tokens = some_rows(tokens, calibration_rows)
            job.walk(walker, tokens)
        job.round_unmet(lambda _, features: torch.arange(features))
        save_tensors(folder, "output", {**_kept_tensors(source, plan), **job.tensors})
        copy_side_files(source.contents.folder, folder)
        calibration = calibration_of(tokens, calibration_files)
        made = replace(recipe, bpw=plan.rest_bpw)
        write_json(folder / "config.json", whole_config(source.config, made, plan.decoder_bpw, calibration))
        job.report_done()
    return QuantizeReport(
        folder=Path(out_dir),
        method=method,
        decoder_bpw=plan.decoder_bpw,
        head_bpw=plan.head_bpw,
        head_bits=recipe.head_bits,
        presets={key: preset.name for key, preset in plan.presets.items()},
        calibration=calibration,
        seconds=time.perf_counter() - started,
    )


def calibration_of(tokens: torch.Tensor | None, files: Sequence[Path] | None) -> Calibration:
    """What config.json says of the calibration."""
    dataset = ", ".join(Path(f).name for f in files) if files else "(default)"
    return Calibration(dataset=dataset) if tokens is None else Calibration(len(tokens), ROW_TOKENS, dataset)


def announcer(progress: Progress | None, linears: int) -> Callable[[], None]:
    """Says before each row that the sensitivities are being looked for."""

    def announce() -> None:
        if progress is not None:
            progress(0, linears, "sensitivity of the layers")

    return announce


def _check_arguments(recipe: Recipe, walker: LayerWalker | None) -> None:
    if not 2.0 <= recipe.bpw <= 8.5:
        raise InputError(
            f"{recipe.bpw} bits per weight are outside what EXL2 offers.", "Choose between 2.3 and 8.1."
        )
    if recipe.head_bits not in HEAD_PRESETS:
        raise InputError(f"There is no {recipe.head_bits}-bit head.", "Choose 2, 3, 4, 5, 6 or 8.")
    check_method(recipe.method, walker)


def check_method(method: str, walker: LayerWalker | None) -> None:
    """Refuse an unknown method, and GPTQ without a model that runs.

    Raises:
        InputError: either of them.
    """
    if method not in ("gptq", "rtn"):
        raise InputError(f"There is no method {method!r}.", "Choose gptq or rtn.")
    if method == "gptq" and walker is None:
        raise InputError("GPTQ needs a model that runs the calibration text.", "Pass a walker, or use rtn.")


def _kept_tensors(source: Checkpoint, plan: Plan) -> dict[str, torch.Tensor]:
    dropped = {f"{key}.{part}" for key in plan.presets for part in ("weight", "bias")}
    names = [n for n in source.plain_names() if n not in dropped]
    return {name: source.plain(name).to(torch.float16) for name in names}
