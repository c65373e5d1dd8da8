"""Open an EXL2 (or GPTQ) folder without its own kernels: decoded weights in the model class of transformers.

The decoded weights are those the library itself reconstructs, bit for bit; the arithmetic around them is the
baseline's. So a difference between the two engines is a difference of weights, nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.initialization import no_init_weights

from wfgy_triage.engine_settings import CacheKind
from wfgy_triage.engines.base import Mode
from wfgy_triage.engines.prepare import (
    LOAD_ERRORS,
    build_engine,
    compute_dtype,
    first_line,
    on_device,
    prepare_model,
    refusing_unsupported,
    share_tensors,
)
from wfgy_triage.engines.transformers_engine import TransformersEngine
from wfgy_triage.engines.weight_reader import JoinedReader, WeightReader
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.headers import check_folder_safe

# Buffers that older checkpoints carry and that the model computes itself.
_COMPUTED = ("rotary_emb.inv_freq", ".masked_bias", ".attn.bias")


def open_exl2_reference(
    folder: Path,
    *,
    mode: Mode = "reproducible",
    share_with: TransformersEngine | None = None,
    device: str = "cpu",
    cache: CacheKind = "FP16",
) -> TransformersEngine:
    """Decode a quantized folder layer by layer into an engine.

    Args:
        folder: an EXL2 or GPTQ folder with config.json and tokenizer.
        mode: see `Mode`.
        share_with: an open engine whose equal tensors (embeddings, norms) are used instead of a second copy.
        device: a torch device.
        cache: what keys and values go through between tokens.

    Raises:
        PrerequisiteError: the folder is unsafe or broken, its tensors are not those of the model, or the rounding of
            the cache cannot be followed for it; or the device has no room for it, or is not there.
    """
    check_folder_safe(folder)
    checkpoint = Checkpoint.open(folder)

    def load() -> TransformersEngine:
        target = torch.device(device)
        dtype = compute_dtype(mode, target)
        model = empty_model(folder)
        with refusing_unsupported(model):
            fill_model(model, checkpoint, folder.name, dtype, target)
            engine = build_engine(
                model, folder, engine="exl2_reference", mode=mode, dtype=dtype, device=target
            )
        if share_with is not None:
            share_tensors(engine.runner, share_with.runner)
        return engine

    return on_device(load, f"{folder.name} cannot be loaded").with_cache(cache)


def empty_model(folder: Path) -> nn.Module:
    """The model class of a folder's config.json, its parameters allocated and not initialized.

    Raises:
        PrerequisiteError: transformers does not know the architecture.
    """
    try:
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        # Else transformers would look for a quantizer of its own.
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        with no_init_weights():
            model: nn.Module = AutoModelForCausalLM.from_config(
                config, dtype=torch.float16, trust_remote_code=False
            )
    except LOAD_ERRORS as error:
        raise PrerequisiteError(
            f"transformers has no model class for {folder.name}: {first_line(error)}",
            "Check config.json in the folder.",
        ) from error
    return model


def fill_model(
    model: nn.Module, reader: WeightReader, name: str, dtype: torch.dtype, device: torch.device
) -> None:
    """Give the model its weights, one layer at a time, and bring it into its form of computation.

    Raises:
        PrerequisiteError: tensors are missing, left over, or of the wrong shape.
    """
    untie_head(model, "lm_head" in reader.quantized_keys() or "lm_head.weight" in reader.plain_names())
    expected = {n for n, _ in model.named_parameters()}
    reader = JoinedReader(reader, expected)
    quantized = reader.quantized_keys()
    plain = {n for n in reader.plain_names() if not n.endswith(_COMPUTED)}
    present = plain | {f"{key}.weight" for key in quantized}
    _check_names(expected, present, name)
    linears = {path for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    strange = sorted(quantized - linears)
    if strange:
        raise PrerequisiteError(
            f"{name} has quantized weights for {strange[0]}, which is no linear layer of the model.",
            "Check that config.json belongs to these weights.",
        )

    for parameter_name in sorted(expected & plain):
        parameter = model.get_parameter(parameter_name)
        tensor = reader.plain(parameter_name)
        _check_shape(name, parameter_name, tensor, parameter)
        parameter.data = tensor

    def decoded(path: str, layer: nn.Linear) -> tuple[torch.Tensor, torch.Tensor | None]:
        if path not in quantized:
            return layer.weight, layer.bias
        weight = reader.decode(path)
        _check_shape(name, f"{path}.weight", weight, layer.weight)
        return weight, layer.bias

    prepare_model(model, decoded, dtype, device)


def untie_head(model: nn.Module, own_head: bool) -> None:
    """Give the head a weight of its own when the checkpoint has one; the original model may have shared it."""
    config: Any = model.config
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    table: Any = model.get_input_embeddings()  # type: ignore[operator]
    if own_head:
        config.tie_word_embeddings = False
        if head.weight is table.weight:
            head.weight = nn.Parameter(torch.empty_like(table.weight), requires_grad=False)
    elif config.tie_word_embeddings:
        head.weight = table.weight


def _check_names(expected: set[str], present: set[str], name: str) -> None:
    missing, extra = sorted(expected - present), sorted(present - expected)
    if any(".experts." in n for n in missing) and any(".experts." in n for n in extra):
        raise PrerequisiteError(
            f"{name} stores its experts one by one, and the model class of transformers holds them together.",
            "This model needs exllamav2: set `backend: exllamav2` in the pair's engine block (it needs a GPU).",
        )
    for names, what in ((missing, "lacks"), (extra, "has, and the model does not know,")):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise PrerequisiteError(
                f"{name} {what} the tensors {', '.join(names[:3])}{more}.",
                "Check that config.json belongs to these weights and that the download is complete.",
            )


def _check_shape(name: str, tensor_name: str, tensor: torch.Tensor, parameter: torch.Tensor) -> None:
    if tensor.shape != parameter.shape:
        raise PrerequisiteError(
            f"The tensor {tensor_name} of {name} has shape {tuple(tensor.shape)}, the model needs"
            f" {tuple(parameter.shape)}.",
            "Check that config.json belongs to these weights.",
        )
