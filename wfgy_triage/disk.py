"""What writing large files has to see to: room for them, and that they are on the disk before they are said to be."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


def require_space(folder: Path, needed: int) -> None:
    """Raise OSError where the disk lacks room for tensors of so many bytes.

    Safetensors maps its output file, and a full disk would kill the process on the first touched page.
    """
    if shutil.disk_usage(folder).free < needed + (1 << 20):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def flush(folder: Path) -> None:
    """Put the files of a folder on the disk, before it is renamed into place."""
    for path in folder.iterdir():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    flush_directory(folder)


def flush_directory(folder: Path) -> None:
    """Put on the disk which files a folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
