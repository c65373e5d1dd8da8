"""The bit mixes that the quantizer may choose, what they cost, and the choice that meets a bit rate.

The options are those of the library's own tables. A rate counts everything that a linear stores: packed
weights, scales, group table, permutation and padding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from wfgy_triage.errors import InputError
from wfgy_triage.exl2.layout import ROW_MULTIPLE, RowGroup, make_groups, storage_bits


@dataclass(frozen=True)
class Preset:
    """A mix of bit widths for the rows of one linear.

    Attributes:
        bits: widths, most precise first.
        shares: share of the rows for each width, summing to 1.
        group_sizes: rows per group for each width.
    """

    bits: tuple[int, ...]
    shares: tuple[float, ...]
    group_sizes: tuple[int, ...]

    @property
    def name(self) -> str:
        """Short form, e.g. `4/3b 128g`."""
        sizes = dict.fromkeys(self.group_sizes)
        return "/".join(map(str, self.bits)) + "b " + "/".join(map(str, sizes)) + "g"

    def groups(self, in_features: int) -> tuple[RowGroup, ...]:
        """Split the rows as the library does: whole groups from the top, the last one as short as needed.

        Raises:
            InputError: when the width is no multiple of 32 and so cannot be stored.
        """
        return _split(self, in_features)

    def storage_bits(self, in_features: int, out_features: int) -> int:
        """Bits on disk for a linear of this shape."""
        padded = -(-out_features // ROW_MULTIPLE) * ROW_MULTIPLE
        return storage_bits(self.groups(in_features), in_features, padded)


@lru_cache(maxsize=4096)
def _split(preset: Preset, in_features: int) -> tuple[RowGroup, ...]:
    if in_features <= 0 or in_features % ROW_MULTIPLE:
        raise InputError(
            f"A linear with {in_features} inputs cannot be stored as EXL2.", "Widths must be multiples of 32."
        )
    plan: list[tuple[int, int]] = []
    left = in_features
    for bits, share, size in zip(preset.bits, preset.shares, preset.group_sizes, strict=True):
        for _ in range(math.ceil(min(in_features * share, left) / size)):
            rows = min(size, left)
            plan.append((bits, rows))
            left -= rows
    return make_groups(plan)


def _mix(size: int | tuple[int, ...], bits: tuple[int, ...], shares: tuple[float, ...] = (1.0,)) -> Preset:
    return Preset(bits, shares, size if isinstance(size, tuple) else (size,) * len(bits))


PRESETS: tuple[Preset, ...] = (
    _mix(64, (3, 2), (0.05, 0.95)),
    _mix(64, (3, 2), (0.1, 0.9)),
    _mix(64, (3, 2), (0.25, 0.75)),
    _mix(64, (3, 2), (0.3, 0.7)),
    _mix((32, 64, 64), (6, 3, 2), (0.05, 0.2, 0.75)),
    _mix(128, (4, 3), (0.1, 0.9)),
    _mix(64, (4, 3), (0.1, 0.9)),
    _mix(32, (4, 3), (0.1, 0.9)),
    _mix(128, (4, 3), (0.25, 0.75)),
    _mix(32, (4, 3), (0.25, 0.75)),
    _mix(32, (5, 3), (0.05, 0.95)),
    _mix((32, 128, 128), (8, 4, 3), (0.05, 0.1, 0.85)),
    _mix(32, (8, 4, 3), (0.05, 0.1, 0.85)),
    _mix(128, (4,)),
    _mix(64, (4,)),
    _mix(32, (4,)),
    _mix(32, (5, 4), (0.05, 0.95)),
    _mix((32, 128), (8, 4), (0.05, 0.95)),
    _mix(32, (8, 4), (0.05, 0.95)),
    _mix(128, (5, 4), (0.1, 0.9)),
    _mix(64, (5, 4), (0.1, 0.9)),
    _mix(32, (5, 4), (0.1, 0.9)),
    _mix(128, (5, 4), (0.25, 0.75)),
    _mix(32, (5, 4), (0.25, 0.75)),
    _mix((32, 128, 128), (8, 5, 4), (0.05, 0.1, 0.85)),
    _mix(32, (8, 5, 4), (0.05, 0.1, 0.85)),
    _mix(64, (5,)),
    _mix(32, (5,)),
    _mix(128, (6, 5), (0.1, 0.9)),
    _mix(32, (6, 5), (0.1, 0.9)),
    _mix(128, (6, 5), (0.25, 0.75)),
    _mix(32, (6, 5), (0.25, 0.75)),
    _mix((32, 128, 128), (8, 6, 5), (0.05, 0.1, 0.85)),
    _mix(32, (8, 6, 5), (0.05, 0.1, 0.85)),
    _mix(128, (6,)),
    _mix(32, (6,)),
    _mix((32, 128), (8, 6), (0.05, 0.95)),
    _mix(128, (8, 6), (0.1, 0.9)),
    _mix(128, (8, 6), (0.15, 0.85)),
    _mix(128, (8,)),
)
"""Every distinct option of the library's attention and MLP tables, roughly by rate."""

HEAD_PRESETS: Mapping[int, Preset] = {
    2: _mix(32, (4, 2), (0.3, 0.7)),
    3: _mix(32, (4, 3), (0.15, 0.85)),
    4: _mix(32, (6, 4), (0.15, 0.85)),
    5: _mix(128, (6, 5), (0.15, 0.85)),
    6: _mix(128, (8, 6), (0.15, 0.85)),
    8: _mix(128, (8,)),
}
"""The library's options for the head, by `--head-bits`."""
