"""From a transformers model with its weights to an engine: precision, packing, sharing, end tokens, context."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoTokenizer

from wfgy_triage.engines.base import EngineInfo, Mode
from wfgy_triage.engines.device_faults import device_fault, device_refusal
from wfgy_triage.engines.fused import fuse_layer
from wfgy_triage.engines.linear import (
    CompactEmbedding,
    PackedLinear,
    fuse_norms,
    packing_works,
    replace_module,
)
from wfgy_triage.engines.runner import ModelRunner, kv_shape
from wfgy_triage.engines.tokens import end_ids
from wfgy_triage.engines.transformers_engine import TransformersEngine
from wfgy_triage.errors import PrerequisiteError

LOAD_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises for a folder that it cannot load (a broken config.json alone has five ways)."""

ROOM = (
    "Close other programs on the GPU, set another `device` in the pair's engine block (`cpu` is slow and uses the "
    "machine's memory), or use a smaller model pair."
)
"""What makes room for a model of transformers."""

LinearSource = Callable[[str, nn.Linear], tuple[torch.Tensor, torch.Tensor | None]]
"""Gives weight and bias of the linear layer at a path; called once for each, so that one is held at a time."""


_Made = TypeVar("_Made")


def on_device(make: Callable[[], _Made], what: str) -> _Made:
    """Make what is loaded onto a device; where that has no room, or is not there, nothing of it is left there.

    Args:
        make: holds everything that it loads itself, so that it goes with it.
        what: what did not work, for the message.

    Raises:
        PrerequisiteError: the GPU's memory does not suffice, or PyTorch cannot use the GPU; names the cause.
    """
    try:
        return make()
    except (RuntimeError, AssertionError) as error:
        problem = device_refusal(error, what, ROOM)
        if problem is None:
            raise
    # Outside the handler, where the error no longer holds on to what is to be freed.
    gc.collect()
    torch.cuda.empty_cache()
    raise problem


@contextmanager
def refusing_unsupported(model: nn.Module) -> Iterator[None]:
    """For the time of the block, a model that is built otherwise than the engine expects is refused in words.

    Raises:
        PrerequisiteError: the model's class has not the parts, or does not take the arguments, that the engine uses.
    """
    try:
        yield
    except (AttributeError, TypeError, RuntimeError, ValueError, KeyError) as error:
        # A kernel that the GPU does not have is no fault of the model either.
        if device_fault(error) is not None or isinstance(error, torch.AcceleratorError):
            raise
        raise PrerequisiteError(
            f"{type(model).__name__} needs something that this engine does not do: {first_line(error)}",
            "Llama, Mistral and Qwen work. If exllamav2 knows this model, set `backend: exllamav2` and "
            "`baseline: exllamav2` in the pair's engine block (it needs a GPU), or ask a server that runs it.",
        ) from error


def own_weights(_: str, layer: nn.Linear) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The `LinearSource` of a model that is loaded already."""
    return layer.weight, layer.bias


def compute_dtype(mode: Mode, device: torch.device) -> torch.dtype:
    """What a mode computes in on a device: bf16 in the fast mode where the processor has it, else fp32."""
    if mode == "reproducible":
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return (
        torch.bfloat16
        if able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16")
        else torch.float32
    )


@torch.no_grad()
def prepare_model(model: nn.Module, source: LinearSource, dtype: torch.dtype, device: torch.device) -> None:
    """Bring a model into its form of computation, in place and one layer at a time.

    Linear layers are packed in `dtype`, plain decoder layers fused, embeddings keep their storage dtype, everything
    else is converted.
    """
    for path, module in list(model.named_modules()):
        if type(module) is nn.Embedding:
            replace_module(model, path, CompactEmbedding(module.weight.to(device), dtype))
    for module in model.modules():
        _convert_own_tensors(module, dtype, device)
    fuse_norms(model)
    base: Any = model.get_submodule(str(model.base_model_prefix))
    shape = kv_shape(model.config, dtype, device)
    layers: Any = getattr(base, "layers", ())
    prefix = f"{model.base_model_prefix}.layers"
    for index, layer in enumerate(layers):
        _place_linears(layer, f"{prefix}.{index}.", source, dtype, device)
        fused = fuse_layer(layer, base.rotary_emb, shape) if hasattr(base, "rotary_emb") else None
        if fused is not None:
            layers[index] = fused
        else:
            _pack_linears(layer, own_weights, dtype, device)
    _pack_linears(model, source, dtype, device)
    model.requires_grad_(False).eval()


def _convert_own_tensors(module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Convert what is neither a linear weight nor an embedding; those are treated on their own."""
    if not isinstance(module, (nn.Linear, CompactEmbedding)):
        for name, parameter in list(module.named_parameters(recurse=False)):
            converted = parameter.detach().to(device=device, dtype=dtype)
            setattr(module, name, nn.Parameter(converted, requires_grad=False))
    for name, buffer in list(module.named_buffers(recurse=False)):
        # Buffers keep their dtype: rotary frequencies stay in fp32 in every mode.
        module.register_buffer(name, buffer.to(device), persistent=False)


def _place_linears(
    layer: nn.Module, prefix: str, source: LinearSource, dtype: torch.dtype, device: torch.device
) -> None:
    """Give the linear layers below `layer` their weights in the dtype of computation."""
    for path, module in layer.named_modules():
        if isinstance(module, nn.Linear):
            weight, bias = source(prefix + path, module)
            module.weight = nn.Parameter(weight.to(device=device, dtype=dtype), requires_grad=False)
            if bias is not None:
                module.bias = nn.Parameter(bias.to(device=device, dtype=dtype), requires_grad=False)


def _pack_linears(root: nn.Module, source: LinearSource, dtype: torch.dtype, device: torch.device) -> None:
    """Replace the linear layers below `root` by packed ones."""
    for path, module in list(root.named_modules()):
        if isinstance(module, nn.Linear):
            weight, bias = source(path, module)
            replace_module(root, path, PackedLinear(weight, bias, dtype, device))


def share_tensors(runner: ModelRunner, other: ModelRunner) -> int:
    """Let two models hold what is equal bit for bit (embeddings, norms) once; returns the bytes saved."""
    if runner.device != other.device:
        return 0
    theirs = dict(other.model.named_parameters())
    saved = 0
    for name, mine in runner.model.named_parameters():
        twin = theirs.get(name)
        if (
            twin is None
            or twin.shape != mine.shape
            or twin.dtype != mine.dtype
            or not torch.equal(twin, mine)
        ):
            continue
        if twin.data_ptr() != mine.data_ptr():
            mine.data = twin.data
            saved += mine.numel() * mine.element_size()
    return saved


def build_engine(
    model: nn.Module, folder: Path, *, engine: str, mode: Mode, dtype: torch.dtype, device: torch.device
) -> TransformersEngine:
    """Wrap a prepared model and its folder's tokenizer.

    Raises:
        PrerequisiteError: the tokenizer does not load, or the architecture needs what the engine does not do.
    """
    config: Any = model.config
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise PrerequisiteError(
            f"The tokenizer in {folder.name} does not load: {first_line(error)}",
            "The folder needs tokenizer.json (and tokenizer_config.json) of the model.",
        ) from error
    # Rows of the head above the tokenizer's last id are padding; both sides of a pair are cut alike.
    vocab_size = min(int(config.vocab_size), max(len(tokenizer), 1))
    runner = ModelRunner(model, vocab_size, dtype, device)
    with torch.inference_mode():
        runner.check_against_class()
    notes, deterministic = _notes(mode, dtype, device, config)
    info = EngineInfo(
        engine=engine,
        engine_version=f"transformers {transformers.__version__}, torch {torch.__version__}",
        architecture=type(model).__name__,
        device=str(device),
        compute_dtype=str(dtype).removeprefix("torch."),
        mode=mode,
        deterministic=deterministic,
        memory_bytes=runner.memory_bytes(),
        vocab_size=vocab_size,
        max_context=_max_context(config),
        notes=notes,
        layers=runner.kv_shape.layers,
    )
    return TransformersEngine(runner, tokenizer, info, end_ids(folder, config, tokenizer))


def _notes(mode: Mode, dtype: torch.dtype, device: torch.device, config: Any) -> tuple[tuple[str, ...], bool]:
    """What a reader of the numbers must know, and whether text is independent of the batch."""
    notes = []
    # That a row's products do not depend on its batch is tested for the processor's kernels, and for no GPU's.
    deterministic = mode == "reproducible" and device.type == "cpu"
    if mode == "reproducible" and not deterministic:
        notes.append("On a GPU, text may change with the composition of a batch, in fp32 too.")
    if mode == "fast" and dtype == torch.bfloat16:
        notes.append("Fast mode computes in bf16: text may change with the composition of a batch.")
    elif mode == "fast":
        notes.append("Fast mode computes in fp32 here, since this processor has no bf16 instructions.")
    if not packing_works(dtype):
        notes.append("Prepacked products are not available in this build of torch; ordinary ones are used.")
    for kind in sorted(_rope_kinds(config) & {"dynamic", "longrope"}):
        deterministic = False
        notes.append(f"Rotary scaling '{kind}' depends on the longest row of a batch.")
    if _window(config):
        notes.append(f"The context is cut to the model's attention window of {_window(config)} tokens.")
    return tuple(notes), deterministic


def _rope_kinds(config: Any) -> set[str]:
    """Kinds of rotary scaling; some models have one for each type of layer."""
    rope = getattr(config, "rope_parameters", None) or {}
    blocks = [rope, *(block for block in rope.values() if isinstance(block, dict))]
    return {str(block["rope_type"]) for block in blocks if block.get("rope_type")}


def _window(config: Any) -> int | None:
    """The sliding attention window, where the model uses one."""
    if getattr(config, "use_sliding_window", True) is False:
        return None
    window = getattr(config, "sliding_window", None)
    return int(window) if window else None


def _max_context(config: Any) -> int:
    longest = int(getattr(config, "max_position_embeddings", None) or 2048)
    return min(longest, _window(config) or longest)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
