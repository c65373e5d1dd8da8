"""The library's Python, told that its device is the processor."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

import torch

from benchmarks.library_on_cpu.build import NAME

LIBRARY = "exllamav2"
_REPLACED: dict[str, Callable[..., Any]] = {
    "_torch_device": lambda index: "cpu",
    "set_device_streams": lambda: None,
    "cuda_sync_active": lambda: None,
    "safe_move_tensor": lambda tensor, device, **_: tensor,
}
"""Functions of the library that name a GPU or wait for one."""


@contextmanager
def library_on_cpu(extension: ModuleType) -> Iterator[None]:
    """Import exllamav2 with this compiled part, and let it run where there is no GPU.

    Nothing of what it computes is replaced: its modules, its generator and its sampler run as they are installed.
    """
    if LIBRARY in sys.modules:
        raise RuntimeError("exllamav2 was imported before; its compiled part cannot be exchanged any more.")
    sys.modules[NAME] = extension
    for name in (LIBRARY, f"{LIBRARY}.generator", f"{LIBRARY}.generator.filters"):
        importlib.import_module(name)
    with mock.patch.multiple(torch.cuda, set_stream=_nothing, synchronize=_nothing, empty_cache=_nothing):
        streams = sys.modules[f"{LIBRARY}.device"].global_streams
        # There is one stream, and nobody asks it anything.
        streams[0] = object()
        replaced = [
            mock.patch.object(module, name, replacement)
            for key, module in list(sys.modules.items())
            if key.partition(".")[0] == LIBRARY
            for name, replacement in _REPLACED.items()
            if hasattr(module, name)
        ]
        engine = mock.patch("wfgy_triage.engines.exllamav2_loading.check_gpu", _nothing)
        for patch in (*replaced, engine):
            patch.start()
        try:
            yield
        finally:
            for patch in (*replaced, engine):
                patch.stop()
            streams.clear()


def _nothing(*_: object, **__: object) -> None:
    return None
