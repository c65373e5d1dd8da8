"""Bit packing and the exact fp16 arithmetic of EXL2 weights.

Decoding repeats the library's roundings in the library's order, so every weight is the one that it computes:

    smh   = RN16(q_scale_max * prescale / 256)
    scale = RN16((nibble + 1)^2 * smh)
    w     = RN16((q - 2^(bits-1)) * scale)

`smh` is nearly always subnormal in fp16; torch keeps subnormals on the CPU, and so must every step here.
Matrices are (rows = in_features, columns = out_features), stored rows in activation order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from wfgy_triage.exl2.layout import ROW_MULTIPLE, RowGroup

_RUN_WEIGHTS = 1 << 20
"""Weights unpacked at once: enough to hide the cost of a call, few enough to stay in cache."""

_NIBBLE_SHIFTS = torch.arange(0, 32, 4, dtype=torch.int32)


def unpack_bits(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Unpack a bitstream running down the rows.

    Args:
        words: int32 of shape (rows * bits / 32, columns); rows a multiple of 32.
        bits: 2, 3, 4, 5, 6 or 8.

    Returns:
        int32 of shape (rows, columns) with values in [0, 2^bits).
    """
    columns = words.shape[1]
    mask = (1 << bits) - 1
    if 32 % bits == 0:
        shifts = torch.arange(0, 32, bits, dtype=torch.int32).view(1, -1, 1)
        return ((words.unsqueeze(1) >> shifts).bitwise_and_(mask)).view(-1, columns)
    # 32 values fill exactly `bits` words, so every block of that many words is unpacked the same way.
    blocks = words.reshape(-1, bits, columns)
    first_bit = torch.arange(32, dtype=torch.int32) * bits
    out = blocks.index_select(1, first_bit // 32)
    out.bitwise_right_shift_((first_bit % 32).view(1, -1, 1))
    for value in range(32):
        word, shift = divmod(value * bits, 32)
        if shift + bits > 32:
            # The shift is arithmetic: drop the copies of the sign bit before the next word's bits are added.
            low = 32 - shift
            out[:, value].bitwise_and_((1 << low) - 1).bitwise_or_(blocks[:, word + 1] << low)
    return out.bitwise_and_(mask).view(-1, columns)


def pack_bits(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Pack integers in [0, 2^bits) of shape (rows, columns); the inverse of `unpack_bits`.

    Raises:
        ValueError: when rows is no multiple of 32.
    """
    rows, columns = values.shape
    if rows % ROW_MULTIPLE:
        raise ValueError(f"{rows} rows are no multiple of {ROW_MULTIPLE}")
    blocks = values.to(torch.int32).view(-1, 32, columns)
    out = torch.zeros((blocks.shape[0], bits, columns), dtype=torch.int32)
    for value in range(32):
        word, shift = divmod(value * bits, 32)
        out[:, word].bitwise_or_(blocks[:, value] << shift)
        if shift + bits > 32:
            out[:, word + 1].bitwise_or_(blocks[:, value] >> (32 - shift))
    return out.view(-1, columns)


def pack_nibbles(values: torch.Tensor) -> torch.Tensor:
    """Pack 0..15 of shape (groups, columns), columns a multiple of 8, into int32 (groups, columns / 8)."""
    words = torch.zeros((values.shape[0], values.shape[1] // 8), dtype=torch.int32)
    for lane in range(8):
        words |= values[:, lane::8].to(torch.int32) << (4 * lane)
    return words


def unpack_nibbles(words: torch.Tensor) -> torch.Tensor:
    """Unpack int32 (groups, n) into int32 (groups, 8 * n) of 0..15; inverse of `pack_nibbles`."""
    return ((words.unsqueeze(-1) >> _NIBBLE_SHIFTS) & 15).flatten(1)


def group_scales(qscale: torch.Tensor, scale_max: torch.Tensor, prescale: float = 1.0) -> torch.Tensor:
    """Scales as the kernels compute them.

    Args:
        qscale: integers 1..16 of shape (groups, columns), or (columns,) for one group.
        scale_max: fp16 of shape (groups,), or a scalar for one group.
        prescale: factor that some architectures apply when they load the tensor.

    Returns:
        fp16 scales of the shape of `qscale`.
    """
    smh = scale_max.to(torch.float16) * (prescale / 256)
    return (qscale * qscale).to(torch.float16) * smh.unsqueeze(-1)


def decode_linear(
    tensors: Mapping[str, torch.Tensor], groups: Sequence[RowGroup], out_features: int, prescale: float = 1.0
) -> torch.Tensor:
    """Decode one EXL2 linear.

    Args:
        tensors: `q_weight`, `q_invperm`, `q_scale`, `q_scale_max` as stored.
        groups: the parsed `q_groups`.
        out_features: real columns; padding beyond them is dropped.
        prescale: see `group_scales`.

    Returns:
        fp16 weight of shape (out_features, in_features), in the model's own feature order.
    """
    q_weight = tensors["q_weight"]
    scales = group_scales(unpack_nibbles(tensors["q_scale"]) + 1, tensors["q_scale_max"], prescale).float()
    rows = groups[-1].row + groups[-1].rows
    stored = torch.empty((rows, q_weight.shape[1]), dtype=torch.float16)
    index_of = {group.row: index for index, group in enumerate(groups)}
    for run in _runs(groups, q_weight.shape[1]):
        words = q_weight[run[0].packed_row : run[-1].packed_row + run[-1].packed_rows]
        centred = unpack_bits(words, run[0].bits).sub_(1 << (run[0].bits - 1)).float()
        for group in run:
            # |q| < 2^8 times an 11-bit scale is exact in fp32, so storing it rounds once, as fp16 does.
            rows_of = slice(group.row, group.row + group.rows)
            block = centred[group.row - run[0].row :][: group.rows]
            stored[rows_of] = block.mul_(scales[index_of[group.row]])
    return stored[tensors["q_invperm"].long()][:, :out_features].T.contiguous()


def encode_linear(
    codes: torch.Tensor,
    qscale: torch.Tensor,
    scale_max: torch.Tensor,
    groups: Sequence[RowGroup],
    permutation: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Pack a quantized linear into EXL2 tensors; columns are padded so that padding decodes to exactly zero.

    Args:
        codes: integers 0..2^bits-1 of shape (rows, columns), rows in activation order.
        qscale: integers 1..16 of shape (groups, columns).
        scale_max: fp16 of shape (groups,).
        groups: the row groups.
        permutation: stored row r is input feature permutation[r].
        bias: optional, of shape (columns,).

    Returns:
        the tensors by their suffix (`q_weight`, ...).
    """
    pad = -codes.shape[1] % ROW_MULTIPLE
    packed = []
    for group in groups:
        block = codes[group.row : group.row + group.rows]
        block = torch.nn.functional.pad(block, (0, pad), value=1 << (group.bits - 1))
        packed.append(pack_bits(block, group.bits))
    nibbles = torch.nn.functional.pad(qscale - 1, (0, pad), value=15)
    pairs = [number for group in groups for number in (group.bits, group.packed_row)]
    tensors = {
        "q_weight": torch.cat(packed),
        "q_invperm": torch.argsort(permutation).to(torch.int32),
        "q_scale": pack_nibbles(nibbles),
        "q_scale_max": scale_max.to(torch.float16),
        "q_groups": torch.tensor(pairs, dtype=torch.int16),
    }
    if bias is not None:
        tensors["bias"] = bias.to(torch.float16)
    return tensors


def _runs(groups: Sequence[RowGroup], columns: int) -> list[list[RowGroup]]:
    """Join neighbouring groups of equal width while they stay small."""
    runs: list[list[RowGroup]] = []
    for group in groups:
        last = runs[-1] if runs else []
        joined = sum(g.rows for g in last) + group.rows
        if last and last[0].bits == group.bits and joined * columns <= _RUN_WEIGHTS:
            last.append(group)
        else:
            runs.append([group])
    return runs


def decode_gptq(
    tensors: Mapping[str, torch.Tensor], group_size: int, act_order: bool, zero_offset: int
) -> torch.Tensor:
    """Decode one 4-bit GPTQ linear: RN16(scale * (q - zero)).

    Args:
        tensors: `qweight`, `qzeros`, `scales`, and `g_idx` where `act_order`.
        group_size: rows that share a scale, after sorting by `g_idx`.
        act_order: whether `g_idx` assigns rows to groups; otherwise they are consecutive.
        zero_offset: what to add to stored zeros: 1, or 0 for `checkpoint_format: gptq_v2`.

    Returns:
        fp16 weight of shape (out_features, in_features).
    """
    codes = unpack_bits(tensors["qweight"], 4)
    rows = codes.shape[0]
    group_of = tensors["g_idx"].long() if act_order else torch.arange(rows) // group_size
    zeros = unpack_nibbles(tensors["qzeros"]) + zero_offset
    scales = tensors["scales"].to(torch.float16).float()
    weight = (codes - zeros[group_of]).float().mul_(scales[group_of])
    return weight.T.to(torch.float16, memory_format=torch.contiguous_format)
