"""What the chain probe stored, read as numbers a chain: accuracies, lifetimes, series over the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from wfgy_triage.measure.chain import first_difference, share_right
from wfgy_triage.measure.survival import Lifetime
from wfgy_triage.measure.trend import per_step, rolling_mean, slope
from wfgy_triage.probes.paired import Numbers, Payload, PerSide, Sides

Reading = Callable[[Payload], float | None]
Series = list[float | None]


def numbers(sides: Sides, read: Reading) -> Numbers:
    """One number a chain and side; chains without one are left out of that side."""
    return settled(sides.each(read))


def settled(values: PerSide[float | None]) -> Numbers:
    """Leave out the chains that have no number."""
    return PerSide(
        *(
            {q: v for q, v in side.items() if v is not None}
            for side in (values.fp16, values.exl2, values.floor)
        )
    )


def accuracy(first: int = 1, last: int | None = None) -> Reading:
    """Share of right steps in a part of the chain."""
    return lambda answer: share_right(answer["right"], first, last)


def useful(answer: Payload) -> bool:
    """Whether a chain is right to the end."""
    return bool(answer["valid"])


def until_error(answer: Payload) -> Lifetime:
    """Right steps before the first wrong one."""
    return Lifetime(int(answer["stable"]), answer["first_wrong"] is not None)


def until_apart(side: Mapping[str, Payload], other: Mapping[str, Payload]) -> list[Lifetime]:
    """For each chain on both sides: steps before the two texts first state different things."""
    return [
        first_difference(a["said"], other[q]["said"], min(int(a["known"]), int(other[q]["known"])))
        for q, a in side.items()
        if q in other
    ]


def token_mean(key: str) -> Reading:
    """Mean over the tokens of a comparison."""
    return lambda compared: float(np.mean(compared[key])) if compared[key] else None


def token_series(compared: Payload, key: str, horizon: int) -> Series:
    """Mean of a token quantity step by step."""
    return per_step(compared[key], compared["step"], horizon)


def token_slopes(side: Mapping[str, Payload], key: str, horizon: int) -> dict[str, float]:
    """Change a step of a token quantity, by chain; chains with too few steps are left out."""
    found = {q: slope(token_series(p, key, horizon)) for q, p in side.items()}
    return {q: v for q, v in found.items() if v is not None}


def mean_distance(answer: Payload) -> float | None:
    """Mean ΔS of the stated steps to the right ones."""
    known = [v for v in answer["ds"] or () if v is not None]
    return float(np.mean(known)) if known else None


def resonance_slope(answer: Payload) -> float | None:
    """Change a step of E_resonance, the mean ΔS over the last five stated steps."""
    return slope(rolling_mean(answer["ds"] or ()))


def missing_distances(sides: Sides) -> str:
    """Why ΔS was not measured somewhere; empty when it was measured everywhere."""
    answers: Sequence[Mapping[str, Any]] = [
        *sides.fp16.values(),
        *sides.exl2.values(),
        *sides.floor.values(),
    ]
    return next((str(a["ds_reason"]) for a in answers if a["ds"] is None), "")
