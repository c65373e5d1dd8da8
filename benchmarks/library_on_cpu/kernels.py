"""Compile the installed library's kernels with a C++ compiler, and call them.

Their launches (`kernel<<<grid, block>>>(...)`) become function calls; `shim/` stands for CUDA's headers. Nothing else
of the sources is changed, and none of them is kept here.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch

from benchmarks.library_on_cpu.build import HERE, NAME, library_folder, translated

_TENSORS_BEGIN = "#define NUM_THREADS 512"
"""From here on cache.cu works on PyTorch's tensors, and on no numbers."""


def compiler() -> str | None:
    """A C++ compiler of this machine."""
    return shutil.which("g++") or shutil.which("clang++")


def sources() -> Path:
    """The library's CUDA sources.

    Raises:
        PrerequisiteError: it is not installed.
    """
    return library_folder() / NAME / "cuda"


def build(folder: Path, cuda: Path, cxx: str) -> ctypes.CDLL:
    """Translate and compile into `folder`."""
    for name in ("q_matrix", "cache"):
        text = (cuda / f"{name}.cu").read_text(encoding="utf-8")
        if name == "cache":
            text, found, _ = text.partition(_TENSORS_BEGIN)
            assert found
        assert text.count("<<<") >= 3
        made = translated(text)
        assert "<<<" not in made
        (folder / f"{name}.cpp").write_text(made, encoding="utf-8")
    built = folder / "kernels.so"
    includes = [f"-I{path}" for path in (folder, HERE, HERE / "shim", HERE / "shim" / "no_torch", cuda)]
    # Contractions would round once where the sources round twice.
    flags = ["-std=c++20", "-O2", "-w", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing"]
    command = [cxx, *flags, *includes, str(HERE / "doors.cpp"), "-o", str(built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return ctypes.CDLL(str(built))


class Kernels:
    """The compiled kernels, on torch tensors."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def exl2(self, tensors: dict[str, torch.Tensor], unmapped: bool = False) -> torch.Tensor:
        """fp16 weight (in, out) that the library reconstructs from a linear's stored tensors.

        With `unmapped` the inputs stay in their stored order, as those of a down projection do.
        """
        height, width = len(tensors["q_invperm"]), tensors["q_weight"].shape[1]
        groups = tensors["q_groups"].to(torch.int32).reshape(-1, 2)
        inverse = tensors["q_invperm"].to(torch.int64)
        # The loader premultiplies; the kernel squares the 4-bit scales.
        step = (tensors["q_scale_max"].clone() * (1 / 256)).contiguous()
        permutation = _pointers(torch.argsort(inverse).to(torch.int16), inverse.to(torch.int16))
        out = torch.zeros(height, width, dtype=torch.float16)
        self._library.reconstruct_exl2(
            height,
            width,
            len(groups),
            # The constructor shuffles the words in place.
            *_pointers(tensors["q_weight"].clone()),
            *([None, None] if unmapped else permutation),
            *_pointers(tensors["q_scale"], step, groups.to(torch.int16)),
            *_pointers(_group_map(groups, tensors["q_weight"].shape[0]), out),
        )
        return out

    def gptq(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """The same for a 4-bit GPTQ linear, with or without activation order."""
        height, width = tensors["qweight"].shape[0] * 8, tensors["qweight"].shape[1]
        out = torch.zeros(height, width, dtype=torch.float16)
        order = tensors.get("g_idx")
        maps = [torch.zeros(height, dtype=torch.int16) for _ in range(2)]
        permutation = _pointers(*maps) if order is not None else [None, None]
        self._library.reconstruct_gptq(
            height,
            width,
            len(tensors["scales"]),
            *_pointers(tensors["qweight"].clone()),
            *permutation,
            *_pointers(tensors["qzeros"], tensors["scales"]),
            *(_pointers(order.to(torch.int32)) if order is not None else [None]),
            *_pointers(out),
        )
        return out

    def cache(self, keys: torch.Tensor, values: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (tokens, dim) of fp16 through a cache and back."""
        tokens, dim = keys.shape
        back = [torch.zeros_like(keys), torch.zeros_like(values)]
        self._library.cache_round_trip(dim, tokens, bits, *_pointers(keys, values, *back))
        return back[0], back[1]


_held: list[torch.Tensor] = []


def _pointers(*tensors: torch.Tensor) -> list[ctypes.c_void_p]:
    """Addresses of contiguous tensors, which live until the next build of a call is long over."""
    solid = [t.contiguous() for t in tensors]
    _held.extend(solid)
    del _held[:-64]
    return [ctypes.c_void_p(t.data_ptr()) for t in solid]


def _group_map(groups: torch.Tensor, words: int) -> torch.Tensor:
    """For every row the group it is in, and how many rows of that group are left."""
    starts = [*groups[:, 1].tolist(), words]
    rows = [(starts[i + 1] - starts[i]) * 32 // int(bits) for i, bits in enumerate(groups[:, 0].tolist())]
    pairs = [(i, count - j) for i, count in enumerate(rows) for j in range(count)]
    return torch.from_numpy(np.array(pairs, dtype=np.int16))
