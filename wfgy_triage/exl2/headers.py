"""Safetensors headers and the safety of a model folder, read without torch.

Knows the file format and what may lie in a folder; knows nothing of quantization. Every problem is a
`PrerequisiteError` that names the file and, where there is one, the tensor.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from wfgy_triage.errors import PrerequisiteError

DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
"""Bytes per element of every dtype the safetensors format names."""

_NUMPY = {"I32": "<i4", "I16": "<i2", "F16": "<f2", "F32": "<f4", "I64": "<i8", "U8": "u1"}
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_MAX_HEADER = 100_000_000
_SAMPLE_BYTES = 4096
_DOWNLOAD_AGAIN = "Download or create the file again; it cannot be repaired."
_linked: dict[Path, Path] = {}
"""Folders made by this process, by the folder whose files their links may name."""


@dataclass(frozen=True)
class TensorMeta:
    """Where one tensor lies.

    Attributes:
        dtype: the safetensors name, e.g. `F16`.
        shape: dimensions in elements.
        nbytes: length of the data in bytes.
        file: the safetensors file that holds it.
        offset: first byte of the data, counted from the start of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    file: Path
    offset: int


def read_header(path: Path) -> dict[str, TensorMeta]:
    """Read and check the header of one safetensors file; tensor data is not touched.

    Raises:
        PrerequisiteError: truncated file, malformed header, unknown dtype, sizes or offsets that do not fit.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            prefix = handle.read(8)
            length = int.from_bytes(prefix, "little")
            if len(prefix) < 8 or length > min(size - 8, _MAX_HEADER):
                raise PrerequisiteError(
                    f"{path.name} is truncated or not a safetensors file.", _DOWNLOAD_AGAIN
                )
            text = handle.read(length)
    except OSError as error:
        raise PrerequisiteError(
            f"{path.name} cannot be read: {error.strerror or error}.", "Check the path and its permissions."
        ) from error
    entries = _parse_json(text, path)
    start = 8 + length
    tensors = {name: _tensor_meta(name, entry, path, start, size) for name, entry in entries.items()}
    _check_coverage(tensors, path, start, size)
    return tensors


def folder_tensors(folder: Path) -> dict[str, TensorMeta]:
    """Collect the tensors of every safetensors file in the folder.

    Raises:
        PrerequisiteError: no file, a tensor stored twice, or an index file that does not match.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise PrerequisiteError(
            f"{folder.name} holds no .safetensors file.", "Give a model folder with safetensors weights."
        )
    tensors: dict[str, TensorMeta] = {}
    for path in files:
        for name, meta in read_header(path).items():
            if name in tensors:
                raise PrerequisiteError(
                    f"The tensor {name} is stored twice: in {tensors[name].file.name} and in {path.name}.",
                    "Keep FP16 and EXL2 files in different folders and remove leftovers of other exports.",
                )
            tensors[name] = meta
    for index in sorted(folder.glob("*.safetensors.index.json")):
        _check_index(index, tensors)
    return tensors


def read_array(name: str, meta: TensorMeta) -> npt.NDArray[Any]:
    """Map one tensor read-only as a numpy array of its shape (BF16 has no numpy form and is refused)."""
    if meta.dtype not in _NUMPY:
        raise PrerequisiteError(
            f"{meta.file.name}: {name} has dtype {meta.dtype}, which does not belong there.", _DOWNLOAD_AGAIN
        )
    if meta.nbytes == 0:
        return np.zeros(meta.shape, dtype=_NUMPY[meta.dtype])
    return np.memmap(meta.file, dtype=_NUMPY[meta.dtype], mode="r", offset=meta.offset, shape=meta.shape)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of the model folder.

    Raises:
        PrerequisiteError: missing file, or not a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PrerequisiteError(
            f"{path.parent.name} has no {path.name}.", "Give a complete model folder with its config.json."
        ) from error
    except (OSError, ValueError) as error:
        raise PrerequisiteError(f"{path.name} is not readable JSON: {error}", _DOWNLOAD_AGAIN) from error
    if not isinstance(data, dict):
        raise PrerequisiteError(f"{path.name} does not hold a JSON object.", _DOWNLOAD_AGAIN)
    return data


def check_folder_safe(folder: Path) -> None:
    """Refuse a folder that carries code, pickles, or links to files outside it.

    Links of a hub cache (`snapshots/<revision>/x` to `blobs/y` of the same repository) are accepted.

    Raises:
        PrerequisiteError: names the first offending file.
    """
    _check_files(folder)
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).exists() and read_json(folder / name).get("auto_map"):
            raise PrerequisiteError(
                f"{name} asks for custom code (auto_map); only built-in model classes are loaded.",
                "Use a model whose architecture transformers ships.",
            )


@contextmanager
def links_into(folder: Path, origin: Path) -> Iterator[None]:
    """For the time of the block, links in `folder` may lead to files of `origin`, which is checked like any folder.

    The permission lives in this process only: nothing that lies in a folder can grant it.

    Raises:
        PrerequisiteError: `origin` itself holds code, pickles or links out of it.
    """
    _check_files(origin)
    root = folder.resolve()
    _linked[root] = origin.resolve()
    try:
        yield
    finally:
        del _linked[root]


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        raise PrerequisiteError(f"There is no model folder {folder}.", "Check the path.")
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in {".py", ".pyc", ".so"}:
            raise PrerequisiteError(
                f"{path.name} is program code inside a model folder; it is never run here.",
                "Remove it after checking that the model works without custom code.",
            )
        if path.suffix.lower() in _PICKLES:
            raise PrerequisiteError(
                f"{path.name} is a pickle file, which can run code when it is loaded.",
                "Convert the weights to safetensors and remove the pickle.",
            )
        if path.is_symlink() and not _link_is_safe(path, folder):
            raise PrerequisiteError(
                f"{path.name} is a link that leads out of the model folder.",
                "Replace it with the file itself.",
            )


def weights_fingerprint(folder: Path) -> str:
    """Return a SHA-256 over all headers, file sizes and the first 4 KiB of every tensor.

    Fast enough to run before every session, and different for two quantizations of equal layout.
    """
    digest = hashlib.sha256()
    for name, meta in sorted(folder_tensors(folder).items()):
        digest.update(f"{name}|{meta.dtype}|{meta.shape}|{meta.nbytes}|{meta.file.stat().st_size}\n".encode())
        with meta.file.open("rb") as handle:
            handle.seek(meta.offset)
            digest.update(handle.read(min(_SAMPLE_BYTES, meta.nbytes)))
    return digest.hexdigest()


def _parse_json(text: bytes, path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [k for k, _ in pairs]
        if len(keys) != len(set(keys)):
            raise ValueError("a name appears twice")
        return dict(pairs)

    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except ValueError as error:
        raise PrerequisiteError(
            f"The header of {path.name} is not valid: {error}.", _DOWNLOAD_AGAIN
        ) from error
    if not isinstance(entries, dict):
        raise PrerequisiteError(f"The header of {path.name} is not a JSON object.", _DOWNLOAD_AGAIN)
    entries.pop("__metadata__", None)
    return entries


def _tensor_meta(name: str, entry: Any, path: Path, start: int, size: int) -> TensorMeta:
    where = f"{path.name}: {name}"
    if not isinstance(entry, Mapping):
        raise PrerequisiteError(f"{where} has a malformed header entry.", _DOWNLOAD_AGAIN)
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if dtype not in DTYPE_BYTES:
        raise PrerequisiteError(f"{where} has the unknown dtype {dtype!r}.", _DOWNLOAD_AGAIN)
    if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
        raise PrerequisiteError(f"{where} has a malformed shape or offset.", _DOWNLOAD_AGAIN)
    begin, end = offsets
    expected = math.prod(shape) * DTYPE_BYTES[dtype]
    if end - begin != expected:
        raise PrerequisiteError(
            f"{where} takes {end - begin} bytes where dtype and shape need {expected}.", _DOWNLOAD_AGAIN
        )
    if start + end > size:
        raise PrerequisiteError(
            f"{path.name} is truncated: {name} ends at byte {start + end}, the file at {size}.",
            _DOWNLOAD_AGAIN,
        )
    return TensorMeta(dtype, tuple(shape), expected, path, start + begin)


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**48 for v in value)


def _check_coverage(tensors: Mapping[str, TensorMeta], path: Path, start: int, size: int) -> None:
    position = start
    for name, meta in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if meta.offset != position:
            kind = "overlaps another tensor" if meta.offset < position else "leaves a gap before it"
            raise PrerequisiteError(f"{path.name}: {name} {kind}.", _DOWNLOAD_AGAIN)
        position += meta.nbytes
    if position != size:
        raise PrerequisiteError(
            f"{path.name} has {size - position} bytes after its last tensor.", _DOWNLOAD_AGAIN
        )


def _check_index(index: Path, tensors: Mapping[str, TensorMeta]) -> None:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise PrerequisiteError(f"{index.name} has no weight_map.", _DOWNLOAD_AGAIN)
    for name, file in weight_map.items():
        if name not in tensors:
            raise PrerequisiteError(
                f"{index.name} places {name} in {file}, but it is not there.", "Download the missing shard."
            )
        if tensors[name].file.name != file:
            raise PrerequisiteError(
                f"{index.name} places {name} in {file}, but {tensors[name].file.name} holds it.",
                "Remove the leftovers of another export.",
            )


def _link_is_safe(link: Path, folder: Path) -> bool:
    target, root = link.resolve(), folder.resolve()
    if target.is_relative_to(root):
        return True
    origin = _linked.get(root)
    if origin is not None and link.readlink().parent == origin:
        there = link.readlink()
        return not there.is_symlink() or _link_is_safe(there, origin)
    return root.parent.name == "snapshots" and target.is_relative_to(root.parent.parent / "blobs")
