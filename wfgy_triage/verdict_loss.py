"""Judging means of what may be lost, where a sample in which nothing broke is no proof that nothing breaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from wfgy_triage.result import Gate, State
from wfgy_triage.verdict import Judgement, judge_mean, more_until, note_of, rounding


def judge_loss(losses: Sequence[float], gate: Gate, imagined: float, level: float = 0.95) -> Judgement:
    """Judge a mean loss, and do not take a sample in which nothing broke as proof that nothing breaks.

    Without spread the interval of a mean has no width, however few the questions. So PASS has to survive one
    imagined further question.

    Args:
        losses: FP16 minus EXL2, or a distance between them, one a question.
        gate: upper bound on the mean loss.
        imagined: the loss of the imagined question.
        level: two-sided level of the interval.
    """
    return _surviving(judge_mean(losses, gate, level), losses, gate, imagined, level)


def judge_share(shares: Sequence[float], gate: Gate, imagined: float, level: float = 0.95) -> Judgement:
    """Judge a mean share of each answer that is right; PASS has to survive one imagined answer, as in `judge_loss`.

    Args:
        shares: 0 to 1, one an answer.
        gate: lower bound on the mean share.
        imagined: what the imagined answer loses: 1 where nothing of it is right.
        level: two-sided level of the interval.
    """
    lost, most = [1.0 - share for share in shares], replace(gate, op="<=", value=1.0 - gate.value)
    return _surviving(judge_mean(shares, gate, level), lost, most, imagined, level)


def _surviving(
    judged: Judgement, losses: Sequence[float], gate: Gate, imagined: float, level: float
) -> Judgement:
    """What is judged already; a PASS alone where it holds with one more loss, the imagined one."""
    if judged.state is not State.PASS or _holds_with(losses, imagined, gate, level):
        return judged
    more = more_until(lambda m: _holds_with(np.resize(losses, m), imagined, gate, level), len(losses))
    note = "So far within the gate, but one more question that breaks would change that. " + note_of(
        State.INCONCLUSIVE, more
    )
    return Judgement(State.INCONCLUSIVE, judged.interval, more, note, judged.p_outside)


def _holds_with(losses: ArrayLike, imagined: float, gate: Gate, level: float) -> bool:
    values = np.append(np.asarray(losses, dtype=np.float64), imagined)
    half = float(stats.t.ppf((1 + level) / 2, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size))
    return float(values.mean()) + half <= gate.value + rounding(gate)
