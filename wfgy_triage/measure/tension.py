"""ΔS (semantic distance) of a question to what was retrieved, against k, and the λ_observe label of its course.

ΔS = 1 − cosine of unit vectors, in [0, 2]. The retrieved context is the centroid of its passages' vectors, which is
defined at any k (no sentence model reads twenty passages at once). The vectors come from a sentence model that both
sides share, so the ruler is the same for each.

The rule of λ_observe follows WFGY Core 2.0 (Δ ≤ −0.02 convergent, |Δ| < 0.02 recursive, Δ > 0.04 chaotic, E_resonance
the mean of the last five); where that rule leaves gaps or contradicts itself, it is closed as the code says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from wfgy_triage.measure.retrieval import unit_rows

K_SWEEP = (5, 10, 20)
"""The values of k that the RAG recovery page asks to vary."""
SAFE, RISK = 0.40, 0.60
"""WFGY zones: below 0.40 stable, 0.60 and above to be acted on."""
CONVERGE, CHAOS, FLAT, OSCILLATION, WINDOW = -0.02, 0.04, 0.02, 0.01, 5


class Lambda(StrEnum):
    """The states of λ_observe: →, <>, ←, ×."""

    CONVERGENT = "convergent"
    RECURSIVE = "recursive"
    DIVERGENT = "divergent"
    CHAOTIC = "chaotic"


STABLE = frozenset({Lambda.CONVERGENT, Lambda.RECURSIVE})


def context_distance(question: ArrayLike, passages: ArrayLike) -> float:
    """ΔS of a question (dimensions,) and the centroid of passages (k, dimensions), in [0, 2].

    Raises:
        ValueError: no passages, or a number that is not finite.
    """
    rows = unit_rows(passages)
    if not len(rows):
        raise ValueError("no passages")
    center = unit_rows(rows.mean(axis=0)[None])[0]
    cosine = float(unit_rows(np.asarray(question)[None])[0] @ center)
    return min(2.0, max(0.0, 1.0 - cosine))


def observe(course: Sequence[float]) -> tuple[Lambda, ...]:
    """λ_observe at every step after the first of a course of ΔS.

    In this order: a rise above 0.04 is chaotic; a fall of 0.02 or more convergent; alternating changes of which one
    is at least 0.01 divergent; a plateau (change and E_resonance below 0.02) convergent below 0.40 and recursive from
    there on; what is left creeps upward and is divergent.
    """
    changes = [after - before for before, after in pairwise(course)]
    means = [float(np.mean(course[max(0, i - WINDOW + 1) : i + 1])) for i in range(len(course))]
    return tuple(
        _state(changes[: i + 1], abs(means[i + 1] - means[i]) < FLAT, course[i + 1])
        for i in range(len(changes))
    )


def _state(changes: Sequence[float], resting: bool, distance: float) -> Lambda:
    change, last = changes[-1], changes[-3:]
    if change > CHAOS:
        return Lambda.CHAOTIC
    if change <= CONVERGE:
        return Lambda.CONVERGENT
    alternating = len(last) == 3 and all(a * b < 0 for a, b in pairwise(last))
    if alternating and max(map(abs, last)) >= OSCILLATION:
        return Lambda.DIVERGENT
    if abs(change) < FLAT and resting:
        return Lambda.CONVERGENT if distance < SAFE else Lambda.RECURSIVE
    return Lambda.DIVERGENT


def leads_away(course: Sequence[float]) -> bool:
    """Whether λ leaves its stable states (convergent, recursive) anywhere as k grows.

    Where a section has fewer passages than k, what is added is off the subject, so this is common on any model; what
    says something about a model is how its labels differ from the baseline's.
    """
    return any(state not in STABLE for state in observe(course))


def flat_and_high(course: Sequence[float]) -> bool:
    """The RAG recovery page's sign of a mismatched index: ΔS stays at 0.60 or above and moves less than 0.02."""
    return min(course) >= RISK and max(course) - min(course) < FLAT


def course(distances: Mapping[str, float]) -> list[float]:
    """ΔS in the order of rising k, from a stored `{"5": ..., "10": ..., "20": ...}`."""
    return [distances[k] for k in sorted(distances, key=int)]
