"""Build the library's whole compiled part for the CPU: the same sources, with CUDA replaced by `shim/`."""

from __future__ import annotations

import ast
import os
import re
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from filelock import FileLock

from wfgy_triage.errors import PrerequisiteError

HERE = Path(__file__).parent
NAME = "exllamav2_ext"
LAUNCH = re.compile(r"(\b[A-Za-z_]\w*(?:<[\w\s,]*>)?)\s*<<<([^;{}]*?)>>>")
TANH = re.compile(r"asm\(\"tanh\.approx\.f32[^;]*;[^;]*;")
_OURS = {"cuda/graph.cu"}
"""Sources that are about launching alone; `whole.cpp` says what is done instead."""
FLAGS = ["-std=c++20", "-O2", "-w", "-ffp-contract=off", "-fno-strict-aliasing", "-mavx2", "-mf16c", "-mfma"]


def library_folder() -> Path:
    """The installed library.

    Raises:
        PrerequisiteError: it is not there.
    """
    found = find_spec("exllamav2")
    if found is None or not found.origin:
        raise PrerequisiteError("exllamav2 is not installed.", "Install requirements.txt.")
    return Path(found.origin).parent


def translated(text: str) -> str:
    """Kernel launches as calls; the one instruction of a GPU that is written out as the function it approximates."""
    return TANH.sub("r = tanhf(x);", LAUNCH.sub(r"launch(\1, \2)", text))


def source_names(library: Path) -> list[str]:
    """What the library itself compiles, read from its list."""
    tree = ast.parse((library / "ext.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "sources_" for t in node.targets
        ):
            return [str(name) for name in ast.literal_eval(node.value)]
    raise PrerequisiteError(
        "exllamav2 lists its sources in another way than 0.3.2.", "Install exllamav2 0.3.2."
    )


def build(folder: Path, jobs: int = 1) -> ModuleType:
    """Translate, compile (minutes; kept in `folder`) and import it as `exllamav2_ext`."""
    library, tree = library_folder(), folder / "sources"
    if not tree.is_dir():
        partial = folder / "sources.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(library / NAME, partial)
        for path in [*partial.rglob("*.cu"), *partial.rglob("*.cuh")]:
            path.write_text(translated(path.read_text(encoding="utf-8")), encoding="utf-8")
            if path.suffix == ".cu":
                path.rename(path.with_suffix(".cu.cpp"))
        partial.rename(tree)
    names = [n for n in source_names(library) if n not in _OURS]
    sources = [str(tree / n) if n.endswith(".cpp") else str(tree / f"{n}.cpp") for n in names]
    built = folder / "built"
    built.mkdir(exist_ok=True)
    os.environ["MAX_JOBS"] = str(jobs)
    with FileLock(folder / ".lock"):
        # PyTorch's own lock is a file that a killed build leaves behind, and the next one waits for it without end.
        (built / "lock").unlink(missing_ok=True)
        return _load(sources, tree, built)


def _load(sources: Sequence[str], tree: Path, built: Path) -> ModuleType:
    from torch.utils.cpp_extension import load

    module: ModuleType = load(
        name=NAME,
        sources=[*sources, str(HERE / "whole.cpp")],
        extra_include_paths=[str(HERE / "shim"), str(tree), str(tree / "cuda")],
        extra_cflags=FLAGS,
        build_directory=str(built),
        with_cuda=False,
        verbose=bool(os.environ.get("VERBOSE")),
    )
    return module
