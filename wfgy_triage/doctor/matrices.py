"""Which matrices of two checkpoints belong together, and how far each is from its original. One at a time in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from wfgy_triage.doctor.layer_errors import MatrixError, matrix_error
from wfgy_triage.exl2.checkpoint import Checkpoint
from wfgy_triage.exl2.joined import parts_of
from wfgy_triage.exl2.modules import EMBEDDING, HEAD, FolderContents


@dataclass(frozen=True)
class MatrixPair:
    """A matrix of the EXL2 side, and what it was made from.

    Attributes:
        key: module name on the EXL2 side, quantized or not.
        name: plain tensor of the FP16 side.
        begin: its first row that belongs to the module.
        end: the row after its last one; None: all rows from `begin` on.
    """

    key: str
    name: str
    begin: int = 0
    end: int | None = None


def matrix_pairs(baseline: Checkpoint, quantized: Checkpoint) -> Iterator[MatrixPair]:
    """All matrices of the EXL2 side that have a counterpart.

    A quantized head of a model that ties it was made from the embedding, a part of a joined matrix from its rows.
    """
    shapes = {n: baseline.contents.tensors[n].shape for n in baseline.plain_names()}
    parts = dict(_parts(shapes, quantized.contents))
    for key in quantized.quantized_keys():
        if f"{key}.weight" in shapes:
            yield MatrixPair(key, f"{key}.weight")
        elif key == HEAD and EMBEDDING in shapes:
            yield MatrixPair(key, EMBEDDING)
        elif key in parts:
            yield parts[key]
    for name in quantized.plain_names():
        key = name.removesuffix(".weight")
        if key != name and len(shapes.get(name, ())) == 2:
            yield MatrixPair(key, name)
        elif key != name and key in parts:
            yield parts[key]


def shape_fault(pairs: Sequence[MatrixPair], ours: FolderContents, theirs: FolderContents) -> str:
    """The first pair whose shapes differ, in words; empty where there is none."""
    for pair in pairs:
        stored, (rows, columns) = _stored_shape(theirs, pair.key), ours.tensors[pair.name].shape
        shape = (len(range(rows)[pair.begin : pair.end]), columns)
        if shape != stored:
            return f"{pair.key} is {shape} in FP16 and {stored} in EXL2."
    return ""


@torch.no_grad()
def compare(baseline: Checkpoint, quantized: Checkpoint, pair: MatrixPair) -> MatrixError:
    """How far a matrix is from its original."""
    key = pair.key
    original = baseline.plain(pair.name)[pair.begin : pair.end].float()
    layout = quantized.contents.exl2.get(key)
    packed = layout is not None or key in quantized.contents.gptq
    decoded = (quantized.decode(key) if packed else quantized.plain(f"{key}.weight")).float()
    sums: tuple[Any, ...] = tuple(
        torch.linalg.vecdot(a, b, dim=0).double().numpy()
        for a, b in ((original, original), (original, decoded), (decoded, decoded))
    )
    if layout is None:
        return matrix_error(key, 4.0 if packed else 16.0, sums, None)
    bits = sum(g.bits * g.rows for g in layout.groups) / layout.in_features
    stored_group = np.repeat(np.arange(len(layout.groups)), [g.rows for g in layout.groups])
    return matrix_error(key, bits, sums, stored_group[quantized.row_order(key)])


def _parts(shapes: Mapping[str, tuple[int, ...]], theirs: FolderContents) -> Iterator[tuple[str, MatrixPair]]:
    """Parts of the joined matrices, by module name; with all rows where they do not make up the whole."""
    for name, shape in shapes.items():
        keys = [part.removesuffix(".weight") for part in parts_of(name) if part.endswith(".weight")]
        stored = [_stored_shape(theirs, key) for key in keys]
        if not keys or not all(stored):
            continue
        ends = list(accumulate(part[0] for part in stored))
        fits = ends[-1] == shape[0]
        for key, begin, end in zip(keys, [0, *ends], ends, strict=False):
            yield key, MatrixPair(key, name, begin, end) if fits else MatrixPair(key, name)


def _stored_shape(contents: FolderContents, key: str) -> tuple[int, ...]:
    """Shape (out_features, in_features) of a module in any form; empty where it is not there."""
    linear = contents.exl2.get(key) or contents.gptq.get(key)
    if linear is not None:
        return linear.out_features, linear.in_features
    meta = contents.tensors.get(f"{key}.weight")
    return meta.shape if meta is not None else ()
