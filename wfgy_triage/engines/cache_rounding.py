"""Keys and values as exllamav2's quantized caches give them back, computed without its kernels.

The library turns every 64 neighbouring numbers of a token with two interleaved Hadamard transforms of 32, rounds each
32 of the result to 4 or 8 bits with one scale, and turns them back when they are read. All of it is fp16 arithmetic,
which is followed here operation by operation (source: `exllamav2_ext/cuda/cache_q.cuh` of 0.3.2; the tests compile
that file for the CPU and compare bit for bit).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from wfgy_triage.engine_settings import CacheKind
from wfgy_triage.errors import PrerequisiteError

GROUP = 64
"""Numbers that are turned together; they must not span two tokens."""
BLOCK = 512
"""Numbers that the library rounds in one go (`Q_CACHE_BLOCKSIZE_Q` of its config.h); a token may have fewer."""
_LANES = 32
_HALF = torch.float16
CACHE_BITS: Mapping[CacheKind, tuple[int, int]] = {"FP16": (16, 16), "Q8": (8, 8), "Q6": (8, 4), "Q4": (4, 4)}
"""Bits of keys and of values. Q6 has no 6-bit numbers: its name is the mean."""
SCALE_BITS = 16 / 32
"""A quantized cache keeps a 16-bit scale for every 32 numbers."""


@dataclass(frozen=True)
class CacheRounding:
    """How a quantized cache changes keys and values.

    Attributes:
        key_bits: 4 or 8.
        value_bits: 4 or 8.
    """

    key_bits: int
    value_bits: int

    def keys(self, numbers: torch.Tensor) -> torch.Tensor:
        """Keys (heads, ..., head_dim) as they are read back, in their dtype."""
        return _round_trip(numbers, self.key_bits)

    def values(self, numbers: torch.Tensor) -> torch.Tensor:
        """Values (heads, ..., head_dim) as they are read back, in their dtype."""
        return _round_trip(numbers, self.value_bits)


def cache_rounding(kind: CacheKind, heads: int, head_dim: int) -> CacheRounding | None:
    """The rounding of a kind of cache for a model; None for `FP16`, which keeps numbers as they are.

    Raises:
        PrerequisiteError: the library would round numbers of several tokens together.
    """
    if kind == "FP16":
        return None
    if (heads * head_dim) % GROUP:
        raise PrerequisiteError(
            f"A {kind} cache cannot be followed without exllamav2 here: a token has {heads * head_dim} key numbers, "
            f"no multiple of {GROUP}, so the library rounds several tokens together.",
            "Set `cache: FP16` in the pair's engine block, or run the pair on exllamav2 (`device: cuda`).",
        )
    return CacheRounding(*CACHE_BITS[kind])


def times_rounded(heads: int, head_dim: int) -> int:
    """How many times exllamav2 may round a token: once with each token of its block, from itself on.

    It rounds whole blocks. Where a token's numbers do not fill them, earlier tokens of the block are read back and
    rounded again whenever one is added, and lose more each time.
    """
    return BLOCK // math.gcd(heads * head_dim, BLOCK)


def rounded_together(
    rounding: CacheRounding, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of all layers at once, stacked: (layers, heads, ..., head_dim); for few tokens."""
    # Heads first again for the rounding; layers are as good as rows to it.
    stacked = (torch.stack(list(part), dim=1) for part in (keys, values))
    found_keys, found_values = stacked
    return rounding.keys(found_keys).transpose(0, 1), rounding.values(found_values).transpose(0, 1)


def _round_trip(numbers: torch.Tensor, bits: int) -> torch.Tensor:
    """(heads, ..., head_dim) through a cache of so many bits and back."""
    heads, head_dim = numbers.shape[0], numbers.shape[-1]
    # A token's heads stand side by side in the library's storage.
    rows = numbers.to(_HALF).movedim(0, -2)
    groups = rows.reshape(-1, _LANES, 2)
    turned = _hadamard(groups)
    back = _hadamard(_quantized(turned, bits)) * torch.tensor(1 / _LANES, dtype=_HALF)
    return back.reshape(*rows.shape[:-2], heads, head_dim).movedim(-2, 0).to(numbers.dtype)


def _hadamard(groups: torch.Tensor) -> torch.Tensor:
    """Transform (n, 32, 2) over the 32 lanes, unscaled, rounding to fp16 after every addition as the lanes do."""
    step = 1
    while step < _LANES:
        pairs = groups.reshape(-1, _LANES // (2 * step), 2, step, 2)
        low, high = pairs[:, :, 0], pairs[:, :, 1]
        groups = torch.stack((low + high, low - high), dim=2).reshape(-1, _LANES, 2)
        step *= 2
    return groups


def _quantized(turned: torch.Tensor, bits: int) -> torch.Tensor:
    """(n, 32, 2) rounded with one scale for the numbers of each 16 neighbouring lanes."""
    middle = 1 << (bits - 1)
    halves = turned.reshape(-1, 2, _LANES // 2 * 2)
    largest = halves.abs().amax(dim=-1, keepdim=True)
    # Zeros over zero are taken for the lowest code, with a scale of zero: they stay zeros.
    shares = (halves / largest).nan_to_num(nan=-1.0)
    codes = (shares * middle + middle).round().clamp(0, 2 * middle - 1) - middle
    scales = largest * torch.tensor(1 / middle, dtype=_HALF)
    return (codes * scales).reshape(-1, _LANES, 2)
