"""Headers of CUDA's libraries, where a toolkit has only the compiler: PyTorch's packages bring them along."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

NEEDED = "cusparse.h"
"""Included by PyTorch's own headers, and left out of toolkits that hold the compiler alone."""


def library_headers() -> tuple[str, ...]:
    """Folders to search for them; none where the toolkit is whole, or nothing has them."""
    toolkit = os.environ.get("CUDA_HOME") or _toolkit_of_nvcc()
    if toolkit is not None and (Path(toolkit) / "include" / NEEDED).is_file():
        return ()
    found = find_spec("nvidia")
    places = [Path(p) for p in (found.submodule_search_locations or ())] if found else []
    return tuple(str(f.parent) for place in places for f in sorted(place.glob(f"*/include/{NEEDED}")))


def _toolkit_of_nvcc() -> str | None:
    nvcc = shutil.which("nvcc")
    default = Path("/usr/local/cuda")
    if nvcc and (beside := Path(nvcc).resolve().parent.parent / "include").is_dir():
        return str(beside.parent)
    return str(default) if default.is_dir() else None
