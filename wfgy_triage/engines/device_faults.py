"""What an error of a device means: its memory is full, there is no such device, or it stopped for good.

PyTorch, its extensions and exllamav2 say so in texts and in the names of classes, which are kept here as data. Nothing
is imported for that, so that processes without PyTorch can ask too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from wfgy_triage.errors import PrerequisiteError

Kind = Literal["stopped", "gpu_memory", "main_memory", "no_gpu"]

GPU_MEMORY: Kind = "gpu_memory"
MAIN_MEMORY: Kind = "main_memory"
NO_GPU: Kind = "no_gpu"
DEVICE_CAUSES = frozenset({GPU_MEMORY, MAIN_MEMORY, NO_GPU})
"""The fix map's causes that lie in the machine: no change of a folder removes them."""

_SIGNS: tuple[tuple[re.Pattern[str], Kind | None], ...] = (
    # A compiler's words quote what they compile.
    (re.compile(r"Error building extension|ninja: build stopped"), None),
    (re.compile(r"DefaultCPUAllocator"), "main_memory"),
    (
        re.compile(
            r"(?i)out of memory|(?:CUBLAS|CUDNN|HIPBLAS)_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation"
            r"|Insufficient VRAM|Insufficient space in device allocation"
        ),
        "gpu_memory",
    ),
    (
        re.compile(
            r"(?i)no CUDA GPUs are available|no (?:CUDA|ROCm)-capable device|Found no NVIDIA driver"
            r"|not compiled with CUDA|invalid device ordinal"
        ),
        "no_gpu",
    ),
    # A build that does not fit: the doctor has words for it, and the device goes on.
    (re.compile(r"(?i)no kernel image is available|driver version is insufficient"), None),
    # Every text of CUDA's ends with how to enable "device-side assertions"; that alone says nothing.
    (
        re.compile(
            r"(?i)\b(?:CUDA|HIP)(?: driver| runtime)? error\b|illegal memory access|device-side assert triggered"
            r"|unspecified launch failure|misaligned address|uncorrectable (?:ECC|NVLink) error"
            r"|context is destroyed|GPU is lost|Triton Error \[(?:CUDA|HIP)\]|CUDNN_STATUS_"
        ),
        "stopped",
    ),
)
"""Texts in the order in which they are looked for; a kind of None ends the search."""
_CLASSES: Mapping[str, Kind] = {
    "MemoryError": "main_memory",
    "OutOfMemoryError": "gpu_memory",
    "AcceleratorError": "stopped",
}
"""Names of classes that say it without a text that is known."""
_RAISED = (RuntimeError, AssertionError, MemoryError)
"""What PyTorch, its extensions and exllamav2 raise for it; others that say such words quote them."""


@dataclass(frozen=True)
class DeviceFault:
    """What happened to the device.

    Attributes:
        kind: `stopped`: this process cannot use the GPU any more; the others are ids of causes as well.
        said: the line that says so.
    """

    kind: Kind
    said: str

    @property
    def stopped(self) -> bool:
        """Whether this process has lost a GPU that it was using; no longer being there is a way of that."""
        return self.kind in ("stopped", NO_GPU)


def device_fault(error: BaseException) -> DeviceFault | None:
    """Read an error, and what it was raised from; None where none of them is of a device."""
    for each in _chain(error):
        if isinstance(each, _RAISED):
            text = str(each)
            for pattern, kind in _SIGNS:
                if found := pattern.search(text):
                    return None if kind is None else DeviceFault(kind, _line(text, found.start()))
            for base in type(each).__mro__:
                if kind := _CLASSES.get(base.__name__):
                    return DeviceFault(kind, _line(text or base.__name__, 0))
    return None


def device_refusal(error: BaseException, what: str, hint: str) -> PrerequisiteError | None:
    """In plain words, an error of bringing a model onto a device; None where it is of another kind.

    Args:
        error: what was raised.
        what: what did not work.
        hint: what makes room on the GPU.
    """
    fault = device_fault(error)
    if fault is None or fault.kind not in (GPU_MEMORY, NO_GPU):
        return None
    if fault.kind == GPU_MEMORY:
        return PrerequisiteError(f"{what}: the GPU memory does not suffice.", hint, GPU_MEMORY)
    return PrerequisiteError(
        f"{what}: PyTorch cannot use the GPU that the pair asks for. It says: {fault.said}",
        "Look what PyTorch sees with 'python -m wfgy_triage doctor', or set another `device` in the pair's engine "
        "block.",
        NO_GPU,
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    met: set[int] = set()
    while seen is not None and id(seen) not in met:
        met.add(id(seen))
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


def _line(text: str, at: int) -> str:
    """The line around a place of a text."""
    begin = text.rfind("\n", 0, at) + 1
    return text[begin:].partition("\n")[0].strip()[:200]
