"""Runs in a process of its own: what is installed here, as JSON. Never imports exllamav2.

`python -m wfgy_triage.doctor.environment_facts OUT.json`. Standard library only, but for PyTorch, which is imported to
ask for the GPU; whatever that does to this process, the one that asked is safe.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from wfgy_triage.doctor.builds import build_folders, finished_build
from wfgy_triage.engines.nvidia_smi import ask_smi

PACKAGES = ("exllamav2", "torch", "flash-attn", "xformers", "tokenizers", "safetensors", "ninja")
VARIABLES = (
    "EXLLAMA_NO_SDPA",
    "EXLLAMA_NO_FLASH_ATTN",
    "EXLLAMA_NO_XFORMERS",
    "CUDA_HOME",
    "TORCH_CUDA_ARCH_LIST",
)
TOOLS = ("nvcc", "g++", "ninja")


def collect_facts() -> dict[str, Any]:
    """Everything that can be known without importing exllamav2."""
    return {
        "python": "".join(platform.python_version_tuple()[:2]),
        "platform": sys.platform,
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "exllamav2": _exllamav2(),
        "variables": {name: os.environ[name] for name in VARIABLES if os.environ.get(name)},
        "tools": [tool for tool in TOOLS if _has(tool)],
        # `name, driver, compute capability` of each GPU.
        "nvidia_smi": [", ".join(row) for row in ask_smi("name", "driver_version", "compute_cap")],
        "left_over_builds": [str(folder) for folder in build_folders()],
        "finished_build": str(finished_build() or ""),
        "torch": _torch(),
    }


def _has(tool: str) -> bool:
    if shutil.which(tool):
        return True
    # PyTorch takes the compiler from here too. Source: `_find_cuda_home` in torch/utils/cpp_extension.py.
    toolkit = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    return tool == "nvcc" and shutil.which(tool, path=str(Path(toolkit, "bin"))) is not None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _exllamav2() -> dict[str, Any]:
    """Where the package is and whether its compiled part was installed with it."""
    found: dict[str, Any] = {"found": importlib.util.find_spec("exllamav2") is not None}
    found["extension"] = importlib.util.find_spec("exllamav2_ext") is not None
    try:
        distribution = metadata.distribution("exllamav2")
    except metadata.PackageNotFoundError:
        return found
    files = [str(file) for file in distribution.files or ()]
    found["extension"] |= any(Path(f).name.startswith("exllamav2_ext") for f in files)
    wheel = distribution.read_text("WHEEL") or ""
    found["tags"] = [line.partition(":")[2].strip() for line in wheel.splitlines() if line.startswith("Tag:")]
    return found


def _torch() -> dict[str, Any]:
    if importlib.util.find_spec("torch") is None:
        return {"found": False}
    try:
        import torch
    # A broken installation raises whatever its libraries raise: its words are what is wanted.
    except Exception as error:
        return {"found": True, "error": f"{type(error).__name__}: {error}"}
    facts: dict[str, Any] = {"found": True, "version": torch.__version__, "cuda": torch.version.cuda}
    facts["available"] = torch.cuda.is_available()
    if facts["available"]:
        facts["gpus"] = [
            {"name": torch.cuda.get_device_name(i), "capability": list(torch.cuda.get_device_capability(i))}
            for i in range(torch.cuda.device_count())
        ]
    return facts


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(collect_facts()), encoding="utf-8")
