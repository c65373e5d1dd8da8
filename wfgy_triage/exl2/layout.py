"""The legal shape of a quantized linear: row groups, their bits, and what they cost.

Torch-free. EXL2 stores a weight as (in_features, out_features): *rows* are input features in activation
order, split into groups of one bit width each; every group is a bitstream down its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.exl2.tensor_file import TensorMeta, read_array

BIT_WIDTHS = (8, 6, 5, 4, 3, 2)
"""Legal bit widths, in the order in which groups must appear."""

ROW_MULTIPLE = 32
"""Rows of every group, and padded columns, come in multiples of this."""

EXL2_DTYPES = {
    "q_weight": ("I32",),
    "q_invperm": ("I32",),
    "q_scale": ("I32",),
    "q_scale_max": ("F16",),
    "q_groups": ("I16",),
}
GPTQ_DTYPES = {"qweight": ("I32",), "qzeros": ("I32",), "scales": ("F16", "F32"), "g_idx": ("I32",)}
_REQUANTIZE = "The checkpoint is damaged; download it again or quantize it again."


@dataclass(frozen=True)
class RowGroup:
    """Consecutive rows that share a bit width and a row of scales.

    Attributes:
        bits: bits per weight.
        row: first row.
        rows: number of rows.
        packed_row: first 32-bit word row in `q_weight`.
    """

    bits: int
    row: int
    rows: int
    packed_row: int

    @property
    def packed_rows(self) -> int:
        """Number of 32-bit word rows."""
        return self.rows * self.bits // 32


@dataclass(frozen=True)
class LinearLayout:
    """A checked EXL2 linear.

    Attributes:
        key: module name without a suffix.
        in_features: rows.
        out_features: real columns.
        out_padded: stored columns, a multiple of 32.
        groups: the row groups, top to bottom.
        has_bias: whether `key.bias` is stored.
    """

    key: str
    in_features: int
    out_features: int
    out_padded: int
    groups: tuple[RowGroup, ...]
    has_bias: bool

    @property
    def bpw(self) -> float:
        """Stored bits per weight, side tensors and padding included, bias excluded."""
        return storage_bits(self.groups, self.in_features, self.out_padded) / (
            self.in_features * self.out_features
        )


def storage_bits(groups: Sequence[RowGroup], in_features: int, out_padded: int) -> int:
    """Bits that the five EXL2 tensors of one linear take on disk."""
    weights = sum(g.rows * g.bits for g in groups) * out_padded
    per_group = out_padded * 4 + 16 + 2 * 16  # nibble scales, q_scale_max, a q_groups pair
    return weights + len(groups) * per_group + in_features * 32


def make_groups(plan: Sequence[tuple[int, int]]) -> tuple[RowGroup, ...]:
    """Lay out `(bits, rows)` pairs from the top.

    Raises:
        ValueError: when the plan breaks a rule of the format.
    """
    groups: list[RowGroup] = []
    row = packed = 0
    for bits, rows in plan:
        groups.append(RowGroup(bits, row, rows, packed))
        row, packed = row + rows, packed + rows * bits // 32
    problem = _illegal(groups)
    if problem:
        raise ValueError(problem)
    return tuple(groups)


def parse_groups(
    values: Sequence[int], packed_rows: int, in_features: int, where: str
) -> tuple[RowGroup, ...]:
    """Read the flattened `[bits, first packed row]` pairs of `q_groups`.

    Args:
        values: the stored pairs.
        packed_rows: rows of `q_weight`.
        in_features: rows that the groups must cover.
        where: file and tensor, for the error text.

    Raises:
        PrerequisiteError: when a rule of the format is broken.
    """
    if len(values) == 0 or len(values) % 2:
        raise PrerequisiteError(f"{where} holds {len(values)} numbers, not pairs.", _REQUANTIZE)
    bits = list(values[0::2])
    starts = [*values[1::2], packed_rows]
    groups: list[RowGroup] = []
    row = 0
    for index, width in enumerate(bits):
        words = starts[index + 1] - starts[index]
        if width not in BIT_WIDTHS or words <= 0 or words * 32 % width:
            raise PrerequisiteError(
                f"{where}: group {index} has {width} bits and {words} packed rows, which is not legal.",
                _REQUANTIZE,
            )
        groups.append(RowGroup(width, row, words * 32 // width, starts[index]))
        row += groups[-1].rows
    problem = _illegal(groups)
    if not problem and row != in_features:
        problem = f"the groups cover {row} rows of {in_features}"
    if problem:
        raise PrerequisiteError(f"{where} is not legal: {problem}.", _REQUANTIZE)
    return tuple(groups)


def check_exl2_linear(tensors: Mapping[str, TensorMeta], key: str, config: Mapping[str, Any]) -> LinearLayout:
    """Check the tensors of one EXL2 linear against every rule of the format.

    Raises:
        PrerequisiteError: names file and tensor.
    """
    meta = {part: require(tensors, f"{key}.{part}", dtypes) for part, dtypes in EXL2_DTYPES.items()}
    where = {part: f"{m.file.name}: {key}.{part}" for part, m in meta.items()}
    packed_rows, out_padded = _matrix_shape(meta["q_weight"], where["q_weight"])
    (rows,) = _vector_shape(meta["q_invperm"], where["q_invperm"])
    values = read_array(f"{key}.q_groups", meta["q_groups"]).astype(int).tolist()
    groups = parse_groups(values, packed_rows, rows, where["q_groups"])
    expected = {"q_scale": (len(groups), out_padded // 8), "q_scale_max": (len(groups),)}
    for part, shape in expected.items():
        if meta[part].shape != shape:
            raise PrerequisiteError(f"{where[part]} has shape {meta[part].shape}, not {shape}.", _REQUANTIZE)
    if out_padded % ROW_MULTIPLE:
        raise PrerequisiteError(
            f"{where['q_weight']} has {out_padded} columns, no multiple of 32.", _REQUANTIZE
        )
    _check_values(read_array(f"{key}.q_scale_max", meta["q_scale_max"]), where["q_scale_max"])
    permutation = np.asarray(read_array(f"{key}.q_invperm", meta["q_invperm"]))
    if not np.array_equal(np.sort(permutation), np.arange(rows)):
        raise PrerequisiteError(f"{where['q_invperm']} is not a permutation of its {rows} rows.", _REQUANTIZE)
    bias = tensors.get(f"{key}.bias")
    out = bias.shape[0] if bias else _config_out_features(config, key)
    if out is None or not out_padded - ROW_MULTIPLE < out <= out_padded:
        if out is not None:
            raise PrerequisiteError(
                f"{where['q_weight']} has {out_padded} columns where the model needs {out}.", _REQUANTIZE
            )
        out = out_padded
    return LinearLayout(key, rows, out, out_padded, groups, bias is not None)


def require(tensors: Mapping[str, TensorMeta], name: str, dtypes: Sequence[str]) -> TensorMeta:
    """Return the tensor's place, checked for presence and dtype.

    Raises:
        PrerequisiteError: when it is missing or has another dtype.
    """
    meta = tensors.get(name)
    if meta is None:
        files = sorted({m.file.name for m in tensors.values()})
        raise PrerequisiteError(f"The tensor {name} is missing from {', '.join(files[:3])}.", _REQUANTIZE)
    if meta.dtype not in dtypes:
        raise PrerequisiteError(
            f"{meta.file.name}: {name} has dtype {meta.dtype}, expected {' or '.join(dtypes)}.", _REQUANTIZE
        )
    return meta


def _illegal(groups: Sequence[RowGroup]) -> str:
    for index, group in enumerate(groups):
        if group.bits not in BIT_WIDTHS:
            return f"group {index} has {group.bits} bits"
        if group.rows <= 0 or group.rows % ROW_MULTIPLE:
            return f"group {index} has {group.rows} rows, no multiple of {ROW_MULTIPLE}"
        if index and group.bits > groups[index - 1].bits:
            return f"group {index} has more bits than the one before it"
    if not groups or groups[0].packed_row != 0:
        return "the first group does not start at row 0"
    if groups[-1].packed_row + groups[-1].packed_rows > 32767 or groups[-1].row + groups[-1].rows > 65535:
        return "the matrix has more rows than the format can address"
    return ""


def _check_values(scales: Any, where: str) -> None:
    values = np.asarray(scales, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(values) | (values < 0))
    if bad.size:
        raise PrerequisiteError(f"{where} holds {values.flat[bad[0]]} at group {bad[0]}.", _REQUANTIZE)


def _matrix_shape(meta: TensorMeta, where: str) -> tuple[int, int]:
    if len(meta.shape) != 2 or 0 in meta.shape:
        raise PrerequisiteError(f"{where} has shape {meta.shape}, not a matrix.", _REQUANTIZE)
    return meta.shape[0], meta.shape[1]


def _vector_shape(meta: TensorMeta, where: str) -> tuple[int]:
    if len(meta.shape) != 1 or 0 in meta.shape:
        raise PrerequisiteError(f"{where} has shape {meta.shape}, not a vector.", _REQUANTIZE)
    return (meta.shape[0],)


def _config_out_features(config: Mapping[str, Any], key: str) -> int | None:
    """Out features that config.json implies for a Llama-like module, None where it does not say."""
    leaf = key.rsplit(".", 1)[-1]
    heads, hidden = _size(config, "num_attention_heads"), _size(config, "hidden_size")
    head_dim = _size(config, "head_dim") or (hidden // heads if hidden and heads else None)
    if leaf in {"k_proj", "v_proj"}:
        heads = _size(config, "num_key_value_heads") or heads
    if leaf in {"q_proj", "k_proj", "v_proj"}:
        return heads * head_dim if heads and head_dim else None
    wide = "moe_intermediate_size" if ".experts." in key else "intermediate_size"
    named = {"o_proj": "hidden_size", "down_proj": "hidden_size", "gate_proj": wide, "up_proj": wide,
             "lm_head": "vocab_size"}  # fmt: skip
    return _size(config, named.get(leaf, ""))


def _size(config: Mapping[str, Any], key: str) -> int | None:
    """A positive size that config.json states, None where it states none."""
    value = config.get(key)
    return value if isinstance(value, int) and value > 0 else None
