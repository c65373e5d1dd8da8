"""The exllamav2 library as this package uses it: imported when first needed, its errors in plain words.

Importing it compiles or loads CUDA code, so nothing here does that until `load_library` is called, and only a process
that measures calls it. Names are looked up here and nowhere else; tests compare them with the library's sources.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from wfgy_triage.checks import load_versions
from wfgy_triage.engine_settings import CacheKind
from wfgy_triage.engines.device_faults import NO_GPU, device_fault, device_refusal
from wfgy_triage.errors import PrerequisiteError

CACHES: Mapping[CacheKind, str] = {
    "FP16": "ExLlamaV2Cache",
    "Q8": "ExLlamaV2Cache_Q8",
    "Q6": "ExLlamaV2Cache_Q6",
    "Q4": "ExLlamaV2Cache_Q4",
}
IMPORT_ERRORS = (ImportError, OSError, RuntimeError, AssertionError, AttributeError, NameError)
"""What importing the library raises: a missing module, a linker's error, a build that fails, another version."""
LOAD_ERRORS = (
    ValueError,
    AssertionError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OSError,
    RuntimeError,
)
"""What the library raises for a folder that it cannot load, lack of GPU memory included."""
ROOM = (
    "Close other programs on the GPU, set a smaller `context` or `cache: Q8` in the pair's engine block, or use more "
    "GPUs with `device: cuda`."
)
"""What makes room for the library."""


@dataclass(frozen=True)
class Library:
    """The library's classes and what its attention can use here.

    Attributes:
        version: of the library.
        model: `ExLlamaV2`.
        config: `ExLlamaV2Config`.
        tokenizer: `ExLlamaV2Tokenizer`.
        caches: cache class by kind.
        generator: `ExLlamaV2DynamicGenerator`.
        job: `ExLlamaV2DynamicJob`.
        sampler: `ExLlamaV2Sampler`.
        filter: `ExLlamaV2Filter`.
        flash_attention: flash-attn is there.
        paged: it is new enough for paged attention, which batches answers.
        xformers: xformers is there.
    """

    version: str
    model: Any
    config: Any
    tokenizer: Any
    caches: Mapping[CacheKind, Any]
    generator: Any
    job: Any
    sampler: Any
    filter: Any
    flash_attention: bool
    paged: bool
    xformers: bool


def check_gpu() -> None:
    """Refuse a machine whose GPU PyTorch cannot use.

    Raises:
        PrerequisiteError: there is none.
    """
    if torch.cuda.is_available():
        return
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    raise PrerequisiteError(
        f"exllamav2 computes on a GPU only, and PyTorch {torch.__version__}, {built}, sees none.",
        "Run this on a machine with a GPU that PyTorch can use ('python -m wfgy_triage doctor' checks it), or set "
        "`backend: reference` in the pair's engine block.",
        NO_GPU,
    )


def flash_attention_fits(device: str) -> bool:
    """Whether flash-attn, where it is installed, runs on every GPU of a device.

    Args:
        device: `cuda` (every visible GPU) or `cuda:N`.
    """
    named, count = device.partition(":")[2], torch.cuda.device_count()
    used = [int(named)] if named else list(range(count))
    weakest = load_versions().flash_attention_capability
    found = [torch.cuda.get_device_capability(i) for i in used if i < count]
    return all(major + minor / 10 >= weakest for major, minor in found)


@contextmanager
def stream_kept() -> Iterator[None]:
    """Around every call of the library: it leaves its own CUDA streams current, where other engines must not go on.

    Its work is finished at the end, so that what comes next may read the results on any stream. GPUs that hold nothing
    are left alone: asking for their stream would set them up.
    """
    if not torch.cuda.is_available():
        yield
        return
    device = torch.cuda.current_device()
    before = {i: torch.cuda.current_stream(i) for i in _used_gpus() | {device}}
    try:
        yield
        for i in _used_gpus():
            torch.cuda.current_stream(i).synchronize()
    finally:
        for stream in before.values():
            torch.cuda.set_stream(stream)
        torch.cuda.set_device(device)


def _used_gpus() -> set[int]:
    """GPUs on which PyTorch holds memory."""
    return {i for i in range(torch.cuda.device_count()) if torch.cuda.memory_allocated(i) > 0}


def load_library() -> Library:
    """Import the library.

    Raises:
        PrerequisiteError: it cannot be imported; the words and the cause are those that the doctor has for the error.
    """
    threads = torch.get_num_threads()
    try:
        root, generator = import_module("exllamav2"), import_module("exllamav2.generator")
        filters, attention = import_module("exllamav2.generator.filters"), import_module("exllamav2.attn")
        return Library(
            version=str(root.__version__),
            model=root.ExLlamaV2,
            config=root.ExLlamaV2Config,
            tokenizer=root.ExLlamaV2Tokenizer,
            caches={kind: getattr(root, name) for kind, name in CACHES.items()},
            generator=generator.ExLlamaV2DynamicGenerator,
            job=generator.ExLlamaV2DynamicJob,
            sampler=generator.ExLlamaV2Sampler,
            filter=filters.ExLlamaV2Filter,
            flash_attention=bool(attention.has_flash_attn),
            paged=bool(attention.has_flash_attn_with_paged),
            xformers=bool(attention.has_xformers),
        )
    except IMPORT_ERRORS as error:
        raise explained(error, "exllamav2 does not import", cause="unknown") from error
    finally:
        # The import leaves the whole process on one thread, the other engines included.
        torch.set_num_threads(threads)


def explained(error: BaseException, what: str, cause: str | None = None) -> PrerequisiteError:
    """An error of the library in plain words: by its signature where the fix map has one.

    Args:
        error: what was raised; what caused it is looked at too.
        what: what did not work.
        cause: of an error that no signature fits; None leaves it to the check that reports it.

    Raises:
        BaseException: the error itself where it says that the GPU stopped, which says nothing about what was loaded.
    """
    fault = device_fault(error)
    if fault is not None and fault.kind == "stopped":
        raise error
    if (refused := device_refusal(error, what, ROOM)) is not None:
        return refused
    text = "".join(traceback.format_exception(error))
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    seen = f"{what}: {(lines[-1] if lines else type(error).__name__)[:300]}"
    known = load_versions().classify(text)
    if known is not None:
        return PrerequisiteError(f"{seen} {known.says}", known.do, known.cause)
    return PrerequisiteError(seen, "Check the folder with 'python -m wfgy_triage doctor'.", cause)
