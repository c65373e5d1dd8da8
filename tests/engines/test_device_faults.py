"""What the texts and classes of PyTorch, its extensions and exllamav2 say about a device."""

from __future__ import annotations

import pytest
import torch

from wfgy_triage.engines.device_faults import DEVICE_CAUSES, device_fault, device_refusal
from wfgy_triage.errors import ProbeError

TRAILER = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)


class AcceleratorError(RuntimeError):
    """As PyTorch calls what CUDA reports."""


class OutOfMemoryError(RuntimeError):
    """As PyTorch calls it, for whichever device."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AcceleratorError(f"CUDA error: an illegal memory access was encountered{TRAILER}"), "stopped"),
        (RuntimeError(f"CUDA error: unspecified launch failure{TRAILER}"), "stopped"),
        (RuntimeError(f"CUDA error: device-side assert triggered{TRAILER}"), "stopped"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(...)`"), "stopped"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "stopped"),
        (RuntimeError("CUDA driver error: unknown error"), "stopped"),
        (RuntimeError("HIP error: the operation cannot be performed"), "stopped"),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), "stopped"),
        (AcceleratorError("a text of a later version"), "stopped"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "gpu_memory"),
        (OutOfMemoryError("Allocation on device"), "gpu_memory"),
        (AcceleratorError(f"CUDA error: out of memory{TRAILER}"), "gpu_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "gpu_memory"),
        (RuntimeError("Insufficient VRAM for model and cache"), "gpu_memory"),
        (AssertionError("Insufficient space in device allocation"), "gpu_memory"),
        (RuntimeError("No CUDA GPUs are available"), "no_gpu"),
        (RuntimeError("Found no NVIDIA driver on your system."), "no_gpu"),
        (AssertionError("Torch not compiled with CUDA enabled"), "no_gpu"),
        (AcceleratorError(f"CUDA error: invalid device ordinal{TRAILER}"), "no_gpu"),
        (AcceleratorError(f"CUDA error: no CUDA-capable device is detected{TRAILER}"), "no_gpu"),
        (MemoryError(), "main_memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), "main_memory"),
        (RuntimeError(f"CUDA error: no kernel image is available for execution on the device{TRAILER}"), None),
        (RuntimeError("Error building extension 'x': fprintf(stderr, \"CUDA error: %s\")"), None),
        (RuntimeError(f"shapes cannot be multiplied{TRAILER}"), None),
        (ValueError("CUDA error: quoted by somebody"), None),
        (ProbeError("The server answered with status 500. It says: CUDA out of memory"), None),
        (ZeroDivisionError(), None),
    ],
)  # fmt: skip
def test_what_an_error_says_of_a_device(error, kind):
    found = device_fault(error)
    assert (found.kind if found else None) == kind


def test_the_line_that_says_it_is_told_and_not_what_stands_around_it():
    text = f"Something went wrong in a kernel.\nCUDA error: misaligned address{TRAILER}"
    assert device_fault(RuntimeError(text)).said == "CUDA error: misaligned address"
    assert device_fault(MemoryError()).said == "MemoryError"
    assert len(device_fault(RuntimeError("CUDA error: " + "x" * 5000)).said) == 200


def test_what_an_error_was_raised_from_is_read_too():
    def fails(silent: bool):
        try:
            raise RuntimeError("CUDA error: unspecified launch failure")
        except RuntimeError as error:
            if silent:
                raise KeyError("layer") from None
            try:
                raise ValueError("no logits") from error
            except ValueError:
                raise KeyError("layer")  # noqa: B904 - the context is what is looked at

    with pytest.raises(KeyError) as caught:
        fails(silent=False)
    assert device_fault(caught.value).kind == "stopped"
    with pytest.raises(KeyError) as caught:
        fails(silent=True)
    assert device_fault(caught.value) is None


def test_only_what_the_machine_lacks_is_a_reason_not_to_load():
    hint = "Close something."
    full = device_refusal(RuntimeError("CUDA error: out of memory"), "m cannot be loaded", hint)
    assert (full.message, full.hint, full.cause) == (
        "m cannot be loaded: the GPU memory does not suffice.",
        hint,
        "gpu_memory",
    )
    absent = device_refusal(RuntimeError("No CUDA GPUs are available"), "m cannot be loaded", hint)
    assert "It says: No CUDA GPUs are available" in absent.message
    assert "doctor" in absent.hint
    assert {full.cause, absent.cause} < DEVICE_CAUSES
    assert device_refusal(RuntimeError("CUDA error: unspecified launch failure"), "m", hint) is None
    assert device_refusal(MemoryError(), "m", hint) is None
