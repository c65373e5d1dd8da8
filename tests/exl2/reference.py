"""An independent, slow reading of the format: one big integer a column, numpy float16 step by step."""

import numpy as np


def unpack_column(words, bits, rows):
    """Values of one column whose uint32 words are given top to bottom."""
    stream = 0
    for position, word in enumerate(words):
        stream |= (int(word) & 0xFFFFFFFF) << (32 * position)
    return [(stream >> (i * bits)) & ((1 << bits) - 1) for i in range(rows)]


def decode_exl2(tensors, out_features):
    """Decode the stored tensors (numpy arrays) to float16 (out_features, in_features)."""
    q_weight, q_scale = tensors["q_weight"], tensors["q_scale"]
    pairs = [int(v) for v in tensors["q_groups"]]
    starts = [*pairs[1::2], q_weight.shape[0]]
    rows = len(tensors["q_invperm"])
    stored = np.zeros((rows, out_features), dtype=np.float16)
    row = 0
    for group, bits in enumerate(pairs[0::2]):
        words = q_weight[starts[group] : starts[group + 1]]
        count = words.shape[0] * 32 // bits
        step = np.float16(tensors["q_scale_max"][group]) * np.float16(1 / 256)
        for column in range(out_features):
            nibble = (int(q_scale[group, column // 8]) >> (4 * (column % 8))) & 15
            scale = np.float16((nibble + 1) ** 2) * step
            for i, value in enumerate(unpack_column(words[:, column], bits, count)):
                stored[row + i, column] = np.float16(value - (1 << (bits - 1))) * scale
        row += count
    out = np.zeros((out_features, rows), dtype=np.float16)
    for feature in range(rows):
        out[:, feature] = stored[int(tensors["q_invperm"][feature])]
    return out


def decode_gptq(tensors, group_of, zero_offset):
    """Decode 4-bit GPTQ tensors (numpy) to float16 (out_features, in_features); `group_of[row]` is given."""
    rows, columns = tensors["qweight"].shape[0] * 8, tensors["qweight"].shape[1]
    out = np.zeros((columns, rows), dtype=np.float16)
    for row in range(rows):
        group = int(group_of[row])
        for column in range(columns):
            code = (int(tensors["qweight"][row // 8, column]) >> (4 * (row % 8))) & 15
            zero = ((int(tensors["qzeros"][group, column // 8]) >> (4 * (column % 8))) & 15) + zero_offset
            out[column, row] = np.float16(tensors["scales"][group, column]) * np.float16(code - zero)
    return out


def bits_of(array):
    """The 16-bit patterns, so that equality is bit for bit."""
    return np.ascontiguousarray(array).view(np.uint16)
