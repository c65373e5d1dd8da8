"""One safetensors file, read without torch: its header, checked, and its numbers, mapped.

Knows the file format; knows nothing of folders and of quantization. Every problem is a `PrerequisiteError` that names
the file and, where there is one, the tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
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


DOWNLOAD_AGAIN = "Download or create the file again; it cannot be repaired."
"""What to do about a file that is damaged."""

_NUMPY = {"I32": "<i4", "I16": "<i2", "F16": "<f2", "F32": "<f4", "I64": "<i8", "U8": "u1"}
_MAX_HEADER = 100_000_000


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
                    f"{path.name} is truncated or not a safetensors file.", DOWNLOAD_AGAIN
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


def read_array(name: str, meta: TensorMeta) -> npt.NDArray[Any]:
    """Map one tensor read-only as a numpy array of its shape (BF16 has no numpy form and is refused)."""
    if meta.dtype not in _NUMPY:
        raise PrerequisiteError(
            f"{meta.file.name}: {name} has dtype {meta.dtype}, which does not belong there.", DOWNLOAD_AGAIN
        )
    if meta.nbytes == 0:
        return np.zeros(meta.shape, dtype=_NUMPY[meta.dtype])
    return np.memmap(meta.file, dtype=_NUMPY[meta.dtype], mode="r", offset=meta.offset, shape=meta.shape)


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
            f"The header of {path.name} is not valid: {error}.", DOWNLOAD_AGAIN
        ) from error
    if not isinstance(entries, dict):
        raise PrerequisiteError(f"The header of {path.name} is not a JSON object.", DOWNLOAD_AGAIN)
    entries.pop("__metadata__", None)
    return entries


def _tensor_meta(name: str, entry: Any, path: Path, start: int, size: int) -> TensorMeta:
    where = f"{path.name}: {name}"
    if not isinstance(entry, Mapping):
        raise PrerequisiteError(f"{where} has a malformed header entry.", DOWNLOAD_AGAIN)
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if dtype not in DTYPE_BYTES:
        raise PrerequisiteError(f"{where} has the unknown dtype {dtype!r}.", DOWNLOAD_AGAIN)
    if not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
        raise PrerequisiteError(f"{where} has a malformed shape or offset.", DOWNLOAD_AGAIN)
    begin, end = offsets
    expected = math.prod(shape) * DTYPE_BYTES[dtype]
    if end - begin != expected:
        raise PrerequisiteError(
            f"{where} takes {end - begin} bytes where dtype and shape need {expected}.", DOWNLOAD_AGAIN
        )
    if start + end > size:
        raise PrerequisiteError(
            f"{path.name} is truncated: {name} ends at byte {start + end}, the file at {size}.",
            DOWNLOAD_AGAIN,
        )
    return TensorMeta(dtype, tuple(shape), expected, path, start + begin)


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**48 for v in value)


def _check_coverage(tensors: Mapping[str, TensorMeta], path: Path, start: int, size: int) -> None:
    position = start
    for name, meta in sorted(tensors.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if meta.offset != position:
            kind = "overlaps another tensor" if meta.offset < position else "leaves a gap before it"
            raise PrerequisiteError(f"{path.name}: {name} {kind}.", DOWNLOAD_AGAIN)
        position += meta.nbytes
    if position != size:
        raise PrerequisiteError(
            f"{path.name} has {size - position} bytes after its last tensor.", DOWNLOAD_AGAIN
        )
