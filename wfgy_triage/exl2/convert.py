"""From an FP16 folder to an EXL2 folder: the order of the work, not the arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from wfgy_triage import __version__
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.exl2.allocation import Linear, allocate, rate
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.codec import encode_linear
from wfgy_triage.exl2.gptq import InputStatistics, input_hessian, prepare_inputs, quantize_gptq
from wfgy_triage.exl2.modules import DECODER_LINEARS, EMBEDDING, HEAD, module_order
from wfgy_triage.exl2.presets import HEAD_PRESETS, Preset
from wfgy_triage.exl2.rtn import QuantizedLinear, quantize_rtn
from wfgy_triage.exl2.walker import (
    ROW_TOKENS,
    LayerWalker,
    calibration_passages,
    standard_calibration,
    token_rows,
)
from wfgy_triage.exl2.writer import copy_side_files, new_folder, save_tensors, write_json

Method = Literal["gptq", "rtn"]
Progress = Callable[[int, int, str], None]
"""Called with (done, total, label) before each linear and at the end."""

FORMAT_VERSION = "0.3.2"
"""The library version whose format is written."""


@dataclass(frozen=True)
class QuantizeReport:
    """What was written.

    Attributes:
        folder: the EXL2 folder.
        method: `gptq` or `rtn`.
        decoder_bpw: stored bits per weight of the decoder's linears.
        head_bpw: stored bits per weight of the head.
        head_bits: the head option.
        presets: preset name of each linear.
        calibration_rows: token rows used, 0 without calibration.
        calibration_tokens: tokens in a row.
        seconds: wall time.
    """

    folder: Path
    method: Method
    decoder_bpw: float
    head_bpw: float
    head_bits: int
    presets: Mapping[str, str]
    calibration_rows: int
    calibration_tokens: int
    seconds: float


def quantize_folder(
    fp16_dir: Path,
    out_dir: Path,
    *,
    bpw: float,
    head_bits: int = 6,
    method: Method = "gptq",
    calibration_files: Sequence[Path] | None = None,
    walker: LayerWalker | None = None,
    progress: Progress | None = None,
) -> QuantizeReport:
    """Quantize a transformers FP16 folder into an EXL2 folder that the real library can load.

    Args:
        fp16_dir: folder with config.json, tokenizer and safetensors.
        out_dir: new folder; written completely or not at all.
        bpw: upper bound on the decoder's stored bits per weight.
        head_bits: the library's head option: 2, 3, 4, 5, 6 or 8.
        method: `gptq` needs a walker; `rtn` uses one only to find the activation order.
        calibration_files: UTF-8 text; the library's standard mix without them.
        walker: runs the calibration text through the model; its sensitivities decide which linears get
            the more precise presets. Its weights are replaced: use it once.
        progress: see `Progress`.

    Raises:
        InputError: an impossible bit rate, head option or output folder.
        PrerequisiteError: a folder that cannot be used, missing calibration text, a full disk.
    """
    started = time.perf_counter()
    _check_arguments(bpw, head_bits, method, walker)
    with Checkpoint.open(Path(fp16_dir)) as source, new_folder(Path(out_dir)) as folder:
        linears = _decoder_linears(source)
        tokens = _calibration_tokens(walker, calibration_files) if walker else None
        if walker is not None and tokens is not None:
            if progress is not None:
                progress(0, len(linears) + 1, "sensitivity of the layers")
            sensitivity = walker.sensitivities(tokens)
            linears = [replace(x, sensitivity=sensitivity.get(x.key, x.sensitivity)) for x in linears]
        choice = allocate(linears, bpw)
        plan = {**choice, HEAD: HEAD_PRESETS[head_bits]}
        job = _Job(source, plan, method, progress)
        if walker is not None and tokens is not None:
            walker.walk(tokens, job.visit)
        job.finish_without_walker()
        save_tensors(folder, "output", {**_kept_tensors(source, set(plan)), **job.tensors})
        copy_side_files(source.contents.folder, folder)
        decoder_bpw, head_bpw = rate(linears, choice), rate([_head_linear(source)], plan)
        rows = 0 if tokens is None else tokens.shape[0]
        write_json(
            folder / "config.json", _config(source.config, decoder_bpw, head_bits, rows, calibration_files)
        )
        job.report(len(plan), "done")
    return QuantizeReport(
        folder=Path(out_dir),
        method=method,
        decoder_bpw=decoder_bpw,
        head_bpw=head_bpw,
        head_bits=head_bits,
        presets={key: preset.name for key, preset in plan.items()},
        calibration_rows=rows,
        calibration_tokens=ROW_TOKENS if rows else 0,
        seconds=time.perf_counter() - started,
    )


class _Job:
    """Quantizes linears as the walker meets them and keeps their packed tensors."""

    def __init__(
        self, source: Checkpoint, plan: Mapping[str, Preset], method: Method, progress: Progress | None
    ) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self._source, self._plan, self._method, self._progress = source, plan, method, progress
        self._done: set[str] = set()
        self._inputs: torch.Tensor | None = None
        self._statistics: InputStatistics | None = None

    def visit(self, key: str, weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Quantize one linear on its inputs; linears that share an input share its statistics."""
        if key not in self._plan or key in self._done:
            return weight
        self.report(len(self._done), key)
        if inputs is not self._inputs or self._statistics is None:
            self._statistics = prepare_inputs(input_hessian(inputs))
            self._inputs = inputs
        groups = self._plan[key].groups(weight.shape[1])
        if self._method == "gptq":
            return self._keep(key, quantize_gptq(weight, groups, self._statistics))
        return self._keep(key, quantize_rtn(weight, groups, self._statistics.permutation))

    def finish_without_walker(self) -> None:
        """Round what no walker has met, in the stored feature order.

        Raises:
            PrerequisiteError: under GPTQ, where every linear must have been met.
        """
        for key in sorted(set(self._plan) - self._done, key=module_order):
            if self._method == "gptq":
                raise PrerequisiteError(
                    f"The model never used {key} on the calibration text.",
                    "Use --method rtn for this architecture.",
                )
            self.report(len(self._done), key)
            weight = self._source.plain(_weight_name(self._source, key))
            groups = self._plan[key].groups(weight.shape[1])
            self._keep(key, quantize_rtn(weight, groups, torch.arange(weight.shape[1])))

    def report(self, done: int, label: str) -> None:
        """Tell the caller how far the work is."""
        if self._progress is not None:
            self._progress(done, len(self._plan), label)

    def _keep(self, key: str, linear: QuantizedLinear) -> torch.Tensor:
        name = f"{key}.bias"
        bias = self._source.plain(name) if name in self._source.plain_names() else None
        packed = encode_linear(
            linear.codes, linear.qscale, linear.scale_max, linear.groups, linear.permutation, bias
        )
        self.tensors.update({f"{key}.{part}": tensor for part, tensor in packed.items()})
        self._done.add(key)
        return linear.weight


def _check_arguments(bpw: float, head_bits: int, method: str, walker: LayerWalker | None) -> None:
    if not 2.0 <= bpw <= 8.5:
        raise InputError(
            f"{bpw} bits per weight are outside what EXL2 offers.", "Choose between 2.3 and 8.1."
        )
    if head_bits not in HEAD_PRESETS:
        raise InputError(f"There is no {head_bits}-bit head.", "Choose 2, 3, 4, 5, 6 or 8.")
    if method not in ("gptq", "rtn"):
        raise InputError(f"There is no method {method!r}.", "Choose gptq or rtn.")
    if method == "gptq" and walker is None:
        raise InputError("GPTQ needs a model that runs the calibration text.", "Pass a walker, or use rtn.")


def _calibration_tokens(walker: LayerWalker, files: Sequence[Path] | None) -> torch.Tensor:
    passages = calibration_passages(files) if files else standard_calibration()
    return token_rows(passages, walker.encode)


def _decoder_linears(source: Checkpoint) -> list[Linear]:
    if source.contents.kind != "fp16":
        raise InputError(
            f"{source.contents.folder.name} is already quantized.",
            "Give the original FP16 folder, or dequantize.",
        )
    linears = []
    for name in source.plain_names():
        module = name.removesuffix(".weight")
        if module != name and module_order(module)[1] in DECODER_LINEARS:
            rows, columns = source.contents.tensors[name].shape
            linears.append(Linear(module, columns, rows))
    if {module_order(linear.key)[1] for linear in linears} != set(DECODER_LINEARS):
        raise PrerequisiteError(
            f"{source.contents.folder.name} has no decoder of a layout that can be quantized here.",
            "Llama-like models (Llama, Mistral, Qwen) can; use the library's own converter for others.",
        )
    return sorted(linears, key=lambda linear: module_order(linear.key))


def _head_linear(source: Checkpoint) -> Linear:
    shape = source.contents.tensors[_weight_name(source, HEAD)].shape
    return Linear(HEAD, shape[1], shape[0])


def _weight_name(source: Checkpoint, key: str) -> str:
    name = f"{key}.weight"
    return EMBEDDING if key == HEAD and name not in source.plain_names() else name


def _kept_tensors(source: Checkpoint, quantized: set[str]) -> dict[str, torch.Tensor]:
    dropped = {f"{key}.{part}" for key in quantized for part in ("weight", "bias")}
    names = [n for n in source.plain_names() if n not in dropped]
    return {name: source.plain(name).to(torch.float16) for name in names}


def _config(
    config: Mapping[str, Any], bpw: float, head_bits: int, rows: int, files: Sequence[Path] | None
) -> dict[str, Any]:
    out = dict(config)
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        # exllamav2 reads the top level only and would silently use 10000.
        out.setdefault("rope_theta", rope["rope_theta"])
    out["quantization_config"] = {
        "quant_method": "exl2",
        "version": FORMAT_VERSION,
        "bits": round(bpw, 2),
        "head_bits": head_bits,
        "calibration": {
            "rows": rows,
            "length": ROW_TOKENS if rows else 0,
            "dataset": ", ".join(Path(f).name for f in files) if files else "(default)",
        },
        "quantizer": f"wfgy-triage {__version__}",
    }
    return out
