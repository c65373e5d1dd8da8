"""The devices of this machine: which there are, and what is free on them."""

from __future__ import annotations

import psutil
import torch

from wfgy_triage.engine_settings import CPU


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
