"""The legal shape of a 4-bit GPTQ linear (`.qweight`), which the library loads beside EXL2. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.layout import GPTQ_DTYPES, require
from wfgy_triage.exl2.tensor_file import TensorMeta, read_array

_REQUANTIZE = "Only 4-bit GPTQ folders in the usual layout can be read; quantize again with 4 bits."


@dataclass(frozen=True)
class GptqLayout:
    """A checked GPTQ linear.

    Attributes:
        key: module name without a suffix.
        in_features: rows of the weight, 8 to a packed word.
        out_features: columns.
        group_size: rows that share a scale; a power of two, as the library derives it.
        groups: number of groups.
        act_order: whether `g_idx` reorders the rows.
        has_bias: whether a non-zero `key.bias` is stored.
    """

    key: str
    in_features: int
    out_features: int
    group_size: int
    groups: int
    act_order: bool
    has_bias: bool

    @property
    def bpw(self) -> float:
        """Stored bits per weight, zeros, scales and group indices included."""
        indices = 32 * self.in_features if self.act_order else 0
        side = self.groups * self.out_features * (16 + 4) + indices
        return 4 + side / (self.in_features * self.out_features)


def check_gptq_linear(tensors: Mapping[str, TensorMeta], key: str) -> GptqLayout:
    """Check the tensors of one GPTQ linear.

    Raises:
        PrerequisiteError: names file and tensor.
    """
    parts = [p for p in GPTQ_DTYPES if p != "g_idx" or f"{key}.g_idx" in tensors]
    meta = {part: require(tensors, f"{key}.{part}", GPTQ_DTYPES[part]) for part in parts}
    where = {part: f"{m.file.name}: {key}.{part}" for part, m in meta.items()}
    for part in ("qweight", "qzeros", "scales"):
        if len(meta[part].shape) != 2 or 0 in meta[part].shape:
            raise PrerequisiteError(f"{where[part]} has shape {meta[part].shape}, not a matrix.", _REQUANTIZE)
    rows, columns = meta["qweight"].shape[0] * 8, meta["qweight"].shape[1]
    groups = meta["scales"].shape[0]
    expected = {"scales": (groups, columns), "qzeros": (groups, columns // 8), "g_idx": (rows,)}
    for part, shape in expected.items():
        if part in meta and meta[part].shape != shape:
            raise PrerequisiteError(
                f"{where[part]} has shape {meta[part].shape}, not {shape} as 4 bits need.", _REQUANTIZE
            )
    if columns % 8 or rows % 32:
        raise PrerequisiteError(
            f"{where['qweight']} holds {rows} x {columns} weights, no multiple of 32 x 8.", ""
        )
    if not np.isfinite(np.asarray(read_array(f"{key}.scales", meta["scales"]), dtype=np.float32)).all():
        raise PrerequisiteError(f"{where['scales']} holds values that are not finite.", _REQUANTIZE)
    group_size = 1
    while group_size * groups < rows:
        group_size *= 2
    act_order = False
    if "g_idx" in meta:
        indices = np.asarray(read_array(f"{key}.g_idx", meta["g_idx"]))
        act_order = bool((indices != 0).any())
        if act_order:
            _check_indices(indices, groups, group_size, where["g_idx"])
    return GptqLayout(key, rows, columns, group_size, groups, act_order, f"{key}.bias" in tensors)


def _check_indices(indices: npt.NDArray[np.int32], groups: int, group_size: int, where: str) -> None:
    """The library assigns groups by position after a stable sort: that must agree with the stored indices."""
    order = np.argsort(indices, kind="stable")
    by_position = np.arange(len(indices)) // group_size
    if indices.min() < 0 or indices.max() >= groups or not np.array_equal(indices[order], by_position):
        raise PrerequisiteError(
            f"{where} does not describe {groups} groups of {group_size} rows.", _REQUANTIZE
        )
