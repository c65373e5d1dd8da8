"""Builds of exllamav2's extension in PyTorch's cache, and the file that keeps two of them from going on at once.

PyTorch holds that file open while it builds and removes it at the end. A build that is killed leaves it behind, and
every later import then waits for it without end. There is a folder for each Python and CUDA; a build looks at its own
alone. Standard library only, so that a broken PyTorch does not matter.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path

EXTENSION = "exllamav2_ext"
LOCK = "lock"
QUIET_SECONDS = 300.0
"""Without a file written for so long nothing is being built: each of the 47 sources takes about 20 s of a processor."""


def build_folders() -> list[Path]:
    """Folders of builds, of any Python and CUDA, where PyTorch puts them."""
    root = _root()
    return sorted(p for p in root.glob(f"**/{EXTENSION}*") if p.is_dir()) if root.is_dir() else []


def own_folder() -> Path | None:
    """The folder in which this Python and its PyTorch build; None where PyTorch does not say for which CUDA it is.

    Source: `_get_build_directory` in torch/utils/cpp_extension.py of 2.13.
    """
    if os.environ.get("TORCH_EXTENSIONS_DIR"):
        return _root() / EXTENSION
    accelerator = _accelerator()
    if accelerator is None:
        return None
    python = f"py{sys.version_info.major}{sys.version_info.minor}{getattr(sys, 'abiflags', '')}"
    return _root() / f"{python}_{accelerator}" / EXTENSION


def finished_build() -> Path | None:
    """What this Python and its PyTorch have built; None where there is nothing, or a build is going on."""
    folder = own_folder()
    if folder is None or not folder.is_dir() or (folder / LOCK).is_file():
        return None
    files = (p for p in sorted(folder.glob(f"{EXTENSION}*")) if p.suffix in (".so", ".pyd"))
    return next(files, None)


def locks() -> list[Path]:
    """The lock that a build of this Python and PyTorch would wait for; all that might be it where that is not known."""
    own = own_folder()
    folders = build_folders() if own is None else [own]
    return [folder / LOCK for folder in folders if (folder / LOCK).is_file()]


def remove_abandoned() -> None:
    """Remove the locks of builds that ended without removing theirs."""
    for lock in locks():
        with suppress(OSError):  # the build ended in between, and its folder was deleted
            if not is_held(lock) and _quiet_for(lock.parent) > QUIET_SECONDS:
                _remove(lock)


def remove_left_by_killed(before: set[Path]) -> None:
    """Remove what a build of ours left, once its processes are killed.

    Args:
        before: the locks that were there before it began; they are another build's.
    """
    for lock in locks():
        if lock not in before and not is_held(lock):
            _remove(lock)


def is_held(lock: Path) -> bool:
    """Whether a process has a lock open, as PyTorch's does while it builds; true where that cannot be seen."""
    try:
        owner = lock.stat().st_uid
    except OSError:
        return False
    # What other people's processes have open is not shown, and outside Linux nobody's is shown this way.
    if os.geteuid() not in (0, owner) or not Path("/proc/self/fd").is_dir():
        return True
    wanted = os.path.realpath(lock)
    return any(target == wanted for target in _open_files())


def _root() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or Path(caches, "torch_extensions"))


def _accelerator() -> str | None:
    """`cu128`, `rocm62` or `cpu`, read from torch/version.py; None where that cannot be read."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        found = run_path(str(Path(spec.origin).with_name("version.py")))
        for name, written in (("hip", "rocm"), ("cuda", "cu")):
            if found[name] is not None:
                return written + str(found[name]).replace(".", "")
    except (OSError, SyntaxError, ImportError, NameError, KeyError):
        return None
    return "cpu"


def _open_files() -> Iterator[str]:
    """What the processes that can be looked into have open."""
    for folder in Path("/proc").glob("[0-9]*/fd"):
        links: list[Path] = []
        with suppress(OSError):  # the process ended, or is somebody else's
            links = list(folder.iterdir())
        for link in links:
            with suppress(OSError):  # closed since
                yield os.readlink(link)


def _quiet_for(folder: Path) -> float:
    """Seconds since anything in a folder was written."""
    newest = 0.0
    for path in (folder, *folder.iterdir()):
        with suppress(OSError):
            newest = max(newest, path.stat().st_mtime)
    return time.time() - newest


def _remove(lock: Path) -> None:
    with suppress(OSError):  # gone, or not ours to remove: the import then tells of it
        lock.unlink()
