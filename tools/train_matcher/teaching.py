"""What a training of the matcher reads, and what is chosen with the complaints that it does not read."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np

from wfgy_triage.catalog import load_catalog
from wfgy_triage.complaints import NONE
from wfgy_triage.engines.readers import blend
from wfgy_triage.matching import Example, phrases, read_restated, read_translated, read_written

KNOWN = {"complaints": 1100, "written": 800, "phrases": 300, "translated": 600}
"""So many of each that the file knows are repeated amid what is new, so that nothing is unlearned."""
TWICE = 2
"""A restated complaint counts as so many phrases: it is nearer to what people write."""
TENTHS = 10
"""Into so many parts what all say is shared out among them."""
RIGHT_GOAL, FORCED_GOAL = 0.9, 0.05
"""What is wanted: complaints answered with their symptom, at least; unrelated ones forced into a symptom, at most."""


def taught(learned: tuple[int, int, int] | None) -> list[Example]:
    """What a training reads: everything, or what is new, amid a part of the rest.

    Args:
        learned: so many complaints, written texts and translations, the first ones, are known; None: nothing is.
    """
    known = phrases(load_catalog())
    complaints, written, translated = read_restated(), read_written(), read_translated()
    if learned is None:
        return [*known, *written, *translated, *complaints * TWICE]
    there = (len(complaints), len(written), len(translated))
    if any(not 0 <= n <= most for n, most in zip(learned, there, strict=True)) or learned == there:
        raise SystemExit(
            f"--learned {' '.join(map(str, learned))} is not possible: there are {there[0]} complaints, {there[1]} "
            f"written texts and {there[2]} translations, and what is new stands behind the numbers of those that are "
            "known."
        )
    draw = random.Random(sum(learned))  # noqa: S311 - a choice, no secret

    def part(examples: Sequence[Example], name: str) -> list[Example]:
        return draw.sample(list(examples), min(KNOWN[name], len(examples)))

    return [
        *complaints[learned[0] :] * TWICE,
        *written[learned[1] :],
        *translated[learned[2] :],
        *part(complaints[: learned[0]], "complaints"),
        *part(written[: learned[1]], "written"),
        *part(translated[: learned[2]], "translated"),
        *part(known, "phrases"),
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


def shares_of(
    logits: Sequence[np.ndarray], classes: Sequence[str], held: Sequence[Example]
) -> tuple[float, ...]:
    """The shares with most right answers on average where 3 to 10 in a hundred are forced.

    Of several the ones with most for the first, then for the second.

    Args:
        logits: of each reader, (n, classes).
        classes: what they are of.
        held: the n complaints.
    """
    cuts = itertools.combinations_with_replacement(range(TENTHS + 1), len(logits) - 1)
    parts = ([b - a for a, b in itertools.pairwise((0, *cut, TENTHS))] for cut in cuts)
    every = [tuple(part / TENTHS for part in found) for found in parts]
    return max((_right_where_forced(blend(logits, shares), classes, held), shares) for shares in every)[1]


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
