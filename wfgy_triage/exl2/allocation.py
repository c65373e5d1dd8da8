"""Choosing a preset for every linear so that the decoder meets a bit rate."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from wfgy_triage.errors import InputError
from wfgy_triage.exl2.layout import ROW_MULTIPLE
from wfgy_triage.exl2.presets import PRESETS, Preset


@dataclass(frozen=True)
class Sensitivity:
    """Where errors in a linear hurt.

    Attributes:
        cost: expected damage, per weight, of one unit of relative squared output error; only ratios matter.
        energy: share of the output's energy that each 32 input features carry, the most active features first;
            sums to 1. Empty: the usual profile is assumed.
    """

    cost: float = 1.0
    energy: tuple[float, ...] = ()


@dataclass(frozen=True)
class Linear:
    """A linear to quantize."""

    key: str
    in_features: int
    out_features: int
    sensitivity: Sensitivity = Sensitivity()

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.in_features * self.out_features


def allocate(linears: Sequence[Linear], bpw: float, presets: Sequence[Preset] = PRESETS) -> dict[str, Preset]:
    """Pick presets whose total stays at or under `bpw`, as close as possible, with the least expected damage.

    Damage is sensitivity times expected relative error times size. Starting from the cheapest option everywhere,
    the upgrade that removes most damage per bit is taken until no upgrade fits.

    Args:
        linears: the decoder's linears.
        bpw: stored bits per weight, side tensors included.
        presets: options to choose from.

    Raises:
        InputError: when even the cheapest options exceed `bpw`.
    """
    budget = int(bpw * sum(linear.size for linear in linears))
    ladders = _ladders(linears, bpw, budget, presets)
    level = dict.fromkeys(ladders, 0)
    spent = sum(ladder[0].bits for ladder in ladders.values())
    if spent > budget:
        lowest = spent / max(1, sum(linear.size for linear in linears))
        raise InputError(
            f"{bpw} bits per weight are too few for this model: the smallest mix takes {lowest:.2f}.",
            f"Ask for at least {lowest + 0.01:.2f} bits per weight.",
        )
    heap = [(-_gain(ladder, 0), key) for key, ladder in ladders.items() if len(ladder) > 1]
    heapq.heapify(heap)
    while heap:
        _, key = heapq.heappop(heap)
        ladder, now = ladders[key], level[key]
        step = ladder[now + 1].bits - ladder[now].bits
        if spent + step > budget:
            continue
        spent += step
        level[key] = now + 1
        if now + 2 < len(ladder):
            heapq.heappush(heap, (-_gain(ladder, now + 1), key))
    return {key: ladders[key][level[key]].preset for key in ladders}


def rate(linears: Sequence[Linear], choice: Mapping[str, Preset]) -> float:
    """Stored bits per weight of a choice."""
    bits = sum(choice[linear.key].storage_bits(linear.in_features, linear.out_features) for linear in linears)
    return bits / sum(linear.size for linear in linears)


@dataclass(frozen=True)
class _Rung:
    bits: int
    damage: float
    preset: Preset


def _ladders(
    linears: Sequence[Linear], bpw: float, budget: int, presets: Sequence[Preset]
) -> dict[str, tuple[_Rung, ...]]:
    """Ladders that start at most about two bits under the rate, and at 2 bits only where nothing else fits.

    The expected damage is a second-order estimate for small errors; rounding to 2 bits is far outside it, and
    buying bits elsewhere with it costs more than it brings.
    """
    ladders: dict[str, tuple[_Rung, ...]] = {}
    for lowest in (max(3, int(bpw) - 1), 2):
        allowed = tuple(preset for preset in presets if min(preset.bits) >= lowest)
        if allowed:
            ladders = {x.key: _ladder(x.in_features, x.out_features, x.sensitivity, allowed) for x in linears}
            if sum(ladder[0].bits for ladder in ladders.values()) <= budget:
                break
    return ladders


@lru_cache(maxsize=1024)
def _ladder(
    in_features: int, out_features: int, sensitivity: Sensitivity, presets: tuple[Preset, ...]
) -> tuple[_Rung, ...]:
    """The lower convex hull of damage over bits: on it, every further bit buys less than the one before."""
    unit = sensitivity.cost * in_features * out_features
    rungs = [
        _Rung(
            preset.storage_bits(in_features, out_features),
            unit * expected_error(preset, in_features, sensitivity.energy),
            preset,
        )
        for preset in presets
    ]
    hull: list[_Rung] = []
    for rung in sorted(rungs, key=lambda r: (r.bits, r.damage)):
        if hull and rung.damage >= hull[-1].damage:
            continue
        while len(hull) > 1 and _slope(hull[-1], rung) >= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(rung)
    return tuple(hull)


def _slope(a: _Rung, b: _Rung) -> float:
    return (a.damage - b.damage) / (b.bits - a.bits)


def _gain(ladder: Sequence[_Rung], now: int) -> float:
    return _slope(ladder[now], ladder[now + 1])


_GAUSSIAN_ERROR = {
    2: {32: 0.162, 64: 0.166, 128: 0.172},
    3: {32: 0.0387, 64: 0.0422, 128: 0.0456},
    4: {32: 0.00913, 64: 0.0106, 128: 0.0118},
    5: {32: 0.00226, 64: 0.00262, 128: 0.00298},
    6: {32: 0.000553, 64: 0.000658, 128: 0.000766},
    8: {32: 3.55e-5, 64: 4.17e-5, 128: 4.9e-5},
}
"""Relative squared error of this package's own rounding on normal weights, by bits and rows a group."""

_ENERGY_EXPONENT = 0.7
"""The most active share f of the input features carries about f^0.7 of the input energy."""


def expected_error(preset: Preset, in_features: int, energy: Sequence[float] = ()) -> float:
    """Expected relative squared output error of a preset.

    Args:
        preset: the mix.
        in_features: rows.
        energy: see `Sensitivity.energy`.
    """
    blocks = in_features // ROW_MULTIPLE
    shares = energy or [
        ((i + 1) / blocks) ** _ENERGY_EXPONENT - (i / blocks) ** _ENERGY_EXPONENT for i in range(blocks)
    ]
    sizes = dict(zip(preset.bits, preset.group_sizes, strict=True))
    total = 0.0
    for group in preset.groups(in_features):
        first = group.row // ROW_MULTIPLE
        carried = sum(shares[first : first + group.rows // ROW_MULTIPLE])
        total += carried * _GAUSSIAN_ERROR[group.bits][sizes[group.bits]]
    return total
