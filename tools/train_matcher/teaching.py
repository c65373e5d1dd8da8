"""What a training of the matcher reads, and what is chosen with the complaints that it does not read."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import NONE
from wfgy_triage.engines.two_readers import blend
from wfgy_triage.matching import Example, phrases, read_restated, read_written

KNOWN = {"complaints": 1100, "written": 800, "phrases": 300}
"""So many of each that the file knows are repeated amid what is new, so that nothing is unlearned."""
TWICE = 2
"""A restated complaint counts as so many phrases: it is nearer to what people write."""
SHARES = tuple(i / 10 for i in range(8))
"""Of the second model in what both say, to choose from."""
RIGHT_GOAL, FORCED_GOAL = 0.9, 0.05
"""What is wanted: complaints answered with their symptom, at least; unrelated ones forced into a symptom, at most."""


def taught(learned: int | None) -> list[Example]:
    """What a training reads: everything, or what follows the first `learned` complaints, amid a part of the rest."""
    known, written, complaints = phrases(load_catalog()), read_written(), read_restated()
    if learned is None:
        return [*known, *written, *complaints * TWICE]
    if not 0 <= learned < len(complaints):
        raise SystemExit(
            f"--learned {learned} is not possible: there are {len(complaints)} complaints, so it is a number from 0 to "
            f"{len(complaints) - 1}. Behind it stands what is new."
        )
    draw = random.Random(learned)  # noqa: S311 - a choice, no secret
    before = complaints[:learned]
    return [
        *complaints[learned:],
        *draw.sample(before, min(KNOWN["complaints"], len(before))),
        *draw.sample(written, KNOWN["written"]),
        *draw.sample(known, KNOWN["phrases"]),
    ]


def factor_on_none(logits: np.ndarray, classes: Sequence[str], held: Sequence[Example]) -> float:
    """The factor that misses the goals least, in points of right answers and of forced ones; of several the middle one.

    Where both goals are met by some, the one of these with most right answers, and of those with fewest forced ones.
    """
    place = classes.index(NONE)
    best: list[tuple[tuple[float, float, float], float]] = []
    for log_factor in np.arange(-2, 6, 0.05):
        moved = logits.copy()
        moved[:, place] += log_factor
        said = [classes[i] for i in moved.argmax(axis=1)]
        pairs = [(e.symptom, s) for e, s in zip(held, said, strict=True)]
        right = float(np.mean([a == b for a, b in pairs if a != NONE])) - RIGHT_GOAL
        forced = FORCED_GOAL - float(np.mean([b != NONE for a, b in pairs if a == NONE]))
        missed = min(right, 0.0) + min(forced, 0.0)
        best.append(((round(missed, 9), round(right, 9), round(forced, 9)), float(log_factor)))
    top = [w for score, w in best if score == max(best)[0]]
    return math.exp(top[len(top) // 2])


def share_of_second(
    first: np.ndarray, second: np.ndarray, classes: Sequence[str], held: Sequence[Example]
) -> float:
    """The share with most right answers on average where 3 to 10 in a hundred are forced; of several the lowest."""
    told = [(_right_where_forced(blend(first, second, share), classes, held), -share) for share in SHARES]
    return -max(told)[1]


def _right_where_forced(logits: np.ndarray, classes: Sequence[str], held: Sequence[Example]) -> float:
    """Right answers of those about a symptom, the mean over what may be forced at most."""
    place, true = classes.index(NONE), np.array([classes.index(e.symptom) for e in held])
    about, found = true != place, []
    for log_factor in np.arange(-4, 8, 0.02):
        moved = logits.copy()
        moved[:, place] += log_factor
        said = moved.argmax(axis=1)
        found.append(((said[~about] != place).mean(), (said == true)[about].mean()))
    allowed = [[right for forced, right in found if forced <= most] for most in np.arange(0.03, 0.105, 0.01)]
    return round(float(np.mean([max(rights, default=0.0) for rights in allowed])), 9)
