"""Writing model folders: all of it or nothing.

A folder is built beside its destination under a hidden name, flushed to disk, and renamed into place; whatever
interrupts the work (an error, Ctrl-C, a termination signal, a full disk) removes it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from wfgy_triage.disk import flush, flush_directory, require_space
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.terminating import termination_as_exit

_NEVER_COPIED = {
    ".safetensors",
    ".py",
    ".pyc",
    ".so",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".pkl",
    ".pickle",
    ".gguf",
}
_SHARD_BYTES = 8 << 30


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `destination`; on success it becomes `destination`, otherwise it is removed.

    Raises:
        InputError: when the destination exists and is not an empty folder.
        PrerequisiteError: when the disk is full or not writable.
    """
    destination = Path(destination).absolute()
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError(
            f"{destination} already exists.", "Choose another output folder, or remove this one."
        )
    temporary: Path | None = None
    try:
        with termination_as_exit():
            destination.parent.mkdir(parents=True, exist_ok=True)
            prefix = f".{destination.name}.part-"
            temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=destination.parent))
            yield temporary
            temporary.chmod(0o755)
            flush(temporary)
            os.replace(temporary, destination)
            flush_directory(destination.parent)
    except OSError as error:
        raise disk_problem(error, destination.name) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def save_tensors(folder: Path, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write `name.safetensors`, or shards of at most 8 GiB with their index.

    Raises:
        PrerequisiteError: when the disk is full or not writable.
    """
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for key, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > _SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][key] = tensor.contiguous()
        size += tensor.nbytes
    count = len(shards)
    files = [f"{name}.safetensors"] if count == 1 else [
        f"{name}-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)
    ]  # fmt: skip
    for file, shard in zip(files, shards, strict=True):
        require_space(folder, sum(t.nbytes for t in shard.values()))
        save_file(shard, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)
    if count > 1:
        weight_map = {key: file for file, shard in zip(files, shards, strict=True) for key in shard}
        index = {
            "metadata": {"total_size": sum(t.nbytes for t in tensors.values())},
            "weight_map": weight_map,
        }
        write_json(folder / f"{name}.safetensors.index.json", index)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write an indented JSON object."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def copy_side_files(source: Path, destination: Path) -> None:
    """Copy tokenizer, template and other small files: no weights, no code, no pickles, no config.json."""
    for path in sorted(source.iterdir()):
        skip = path.suffix.lower() in _NEVER_COPIED or path.name.endswith(".safetensors.index.json")
        if path.is_file() and not skip and path.name != "config.json" and not path.name.startswith("."):
            shutil.copyfile(path, destination / path.name)


def disk_problem(error: OSError, what: str) -> PrerequisiteError:
    """Plain words for what kept a file or folder, named by `what`, from being written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return PrerequisiteError(
            f"The disk is full; {what} was not written.", "Free some space and start again."
        )
    return PrerequisiteError(
        f"{what} could not be written: {error.strerror or error}.",
        "Check that the folder above it exists and is writable.",
    )
