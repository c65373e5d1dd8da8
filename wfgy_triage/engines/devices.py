"""The devices of this machine: which there are, and what is free on them."""

from __future__ import annotations

import psutil
import torch

from wfgy_triage.engine_settings import CPU
from wfgy_triage.engines.nvidia_smi import ask_smi

SETUP_BYTES = 1 << 29
"""About what a GPU loses by being set up for a process. A choice."""


def gpu_count() -> int:
    """How many GPUs this process sees; sets none of them up."""
    return torch.cuda.device_count()


def is_there(device: str) -> bool:
    """Whether this process can use `cpu` or `cuda:N`."""
    return device == CPU or int(device.partition(":")[2]) < gpu_count()


def free_bytes(device: str) -> int:
    """Bytes that can be had on a device now: what the GPU says, or the memory that programs can get without swapping.

    Args:
        device: `cpu` or `cuda:N`; a GPU is set up by being asked, which takes a few hundred MB of it.
    """
    if device == CPU:
        return int(psutil.virtual_memory().available)
    gpu = torch.device(device)
    free, _ = torch.cuda.mem_get_info(gpu)
    # What PyTorch keeps for this process and does not use is used first.
    return int(free) + torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)


def free_untouched(device: str) -> int:
    """About the same of a device that is only asked about: where nvidia-smi knows a GPU, that one is not set up.

    Args:
        device: `cpu` or `cuda:N`.
    """
    if device == CPU or torch.cuda.memory_reserved(torch.device(device)):
        return free_bytes(device)
    # The tool counts the machine's GPUs, and PyTorch those that this process may see, in an order of its own.
    own = _serial(str(torch.cuda.get_device_properties(torch.device(device)).uuid))
    for row in ask_smi("uuid", "memory.free"):
        if len(row) == 2 and _serial(row[0]) == own and row[1].isdecimal():
            return max((int(row[1]) << 20) - SETUP_BYTES, 0)
    return free_bytes(device)


def _serial(uuid: str) -> str:
    return uuid.lower().removeprefix("gpu-")
