"""From numbers and gates to one of four states. A pure function of numbers: nothing a model wrote can change it.

PASS needs the whole confidence interval inside the gate, FAIL the whole interval outside; between them the answer is
INCONCLUSIVE with the number of further questions that would decide if the rate stayed as observed. What could not
be measured is NOT MEASURED and is never counted as anything else.

Rates are judged by the Clopper-Pearson interval at every number of questions. Wilson's, which is shown on the page,
would accuse too often near 100 %: at n = 100 to 1,000 a system exactly at the gate 0.98 (0.99) would be called
FAIL in up to 6.4 % (8.3 %) of all runs instead of at most 2.5 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from wfgy_triage.measure.statistics import (
    Interval,
    PairedCounts,
    clopper_pearson,
    holm,
    mean_interval,
    smallest_size,
    tango,
    tango_z,
)
from wfgy_triage.result import Gate, State

MIN_QUESTIONS = 5
"""Below so many judged questions there is no verdict, whatever the interval says."""
MORE_QUESTIONS_CAP = 5_000
"""Beyond so many further questions no number is named."""


@dataclass(frozen=True)
class Judgement:
    """One quantity against its gate.

    Attributes:
        state: the outcome.
        interval: of the judged quantity; None when NOT MEASURED.
        more_questions: for INCONCLUSIVE: how many more would decide if the rate stayed; None when not known,
            not finite or beyond the cap.
        note: a plain sentence with the reason.
        p_outside: one-sided p-value of a system at the gate looking this bad or worse (small: outside);
            None when NOT MEASURED.
    """

    state: State
    interval: Interval | None
    more_questions: int | None
    note: str
    p_outside: float | None = None


@dataclass(frozen=True)
class FullCheck:
    """A check of several symptoms. `failed`: the ids that fail after Holm's correction."""

    state: State
    failed: tuple[str, ...]
    note: str


def page_rule(value: float | None, gate: Gate) -> bool | None:
    """The seed's literal rule: does the sample's own value meet the gate? None when there is no value."""
    if value is None or not math.isfinite(value):
        return None
    slack = rounding(gate)
    return value >= gate.value - slack if _at_least(gate) else value <= gate.value + slack


def not_measured(reason: str) -> Judgement:
    """The judgement of something that was not measured, with the reason."""
    return Judgement(State.NOT_MEASURED, None, None, reason)


def judge_rate(successes: int, n: int, gate: Gate, level: float = 0.95, unmeasured: int = 0) -> Judgement:
    """Judge a rate over questions.

    Args:
        successes: questions that succeeded, of those measured.
        n: questions measured.
        gate: bound on the rate.
        level: two-sided level of the interval.
        unmeasured: questions that were asked but could not be judged (cut off, error). They may be either: the
            interval covers both extremes, so they can only make the verdict less certain. Where they are the
            most, there is a verdict only if it is the same whatever they were: half of a broken model's answers
            may never end, and that must not hide it.
    """
    total = n + unmeasured
    if n < MIN_QUESTIONS:
        return _too_few(n, total)
    low = clopper_pearson(successes, total, level)
    high = clopper_pearson(successes + unmeasured, total, level)
    interval = Interval(low.low, high.high, level, low.method)
    if _at_least(gate):
        p_outside = float(stats.binom.cdf(successes + unmeasured, total, gate.value))
    else:
        p_outside = float(stats.binom.sf(successes - 1, total, gate.value))
    state = _against(interval, gate)
    if state is State.INCONCLUSIVE and unmeasured > n:
        return _too_few(n, total)
    more = None
    if state is State.INCONCLUSIVE and not unmeasured:
        more = more_questions_for_rate(successes, n, gate, level)
    note = _either(unmeasured, total) if unmeasured else note_of(state, more)
    return Judgement(state, interval, more, note, p_outside)


def judge_mean(values: Sequence[float], gate: Gate, level: float = 0.95) -> Judgement:
    """Judge a mean over questions by the wider of t and BCa intervals; a value that is not finite bars a verdict."""
    array = np.asarray(values, dtype=np.float64)
    bad = int((~np.isfinite(array)).sum())
    if bad:
        return not_measured(f"{bad} of {array.size} values are not finite.")
    if array.size < MIN_QUESTIONS:
        return _too_few(array.size, array.size)
    interval = mean_interval(array, level)
    state = _against(interval, gate)
    mean, spread = float(array.mean()), float(array.std(ddof=1))
    more = None
    if state is State.INCONCLUSIVE:
        more = _more_for_mean(mean, spread, array.size, gate, level)
    excess, error = mean - gate.value, max(spread / math.sqrt(array.size), rounding(gate))
    t = (-excess if _at_least(gate) else excess) / error
    p_outside = float(stats.t.sf(t, array.size - 1))
    return Judgement(state, interval, more, note_of(state, more), p_outside)


def judge_interval(interval: Interval, n: int, gate: Gate) -> Judgement:
    """Judge a quantity whose interval was made elsewhere (a median of a survival curve, say) over `n` questions."""
    if n < MIN_QUESTIONS:
        return _too_few(n, n)
    state = _against(interval, gate)
    note = "More questions would narrow the interval." if state is State.INCONCLUSIVE else ""
    return Judgement(state, interval, None, note)


def judge_difference(
    counts: PairedCounts,
    gate: Gate,
    level: float = 0.95,
    extremes: tuple[PairedCounts, PairedCounts] | None = None,
) -> Judgement:
    """Judge the loss of the candidate against the reference (reference rate − candidate rate).

    Args:
        counts: pass/fail of the same questions on both sides, of those that could be judged on both.
        gate: bound on the loss; with `<=` 0.05 a loss of up to 5 points is accepted.
        level: two-sided level of Tango's interval.
        extremes: counts of all questions that were asked, with what could not be judged in the candidate's favour and
            against it; None where everything could. As in `judge_rate` the interval covers both.
    """
    ends = extremes or (counts, counts)
    asked, unmeasured = ends[0].n, ends[0].n - counts.n
    if counts.n < MIN_QUESTIONS:
        return _too_few(counts.n, asked)
    spans = [tango(end, level) for end in ends]
    loss = Interval(-max(s.high for s in spans), -min(s.low for s in spans), level, spans[0].method)
    state = _against(loss, gate)
    if state is State.INCONCLUSIVE and unmeasured > counts.n:
        return _too_few(counts.n, asked)
    p_outside = max(_p_of_loss(end, gate) for end in ends)
    more = _more_for_loss(counts, gate, level) if state is State.INCONCLUSIVE and not unmeasured else None
    note = _either(unmeasured, asked) if unmeasured else note_of(state, more)
    return Judgement(state, loss, more, note, p_outside)


def _p_of_loss(counts: PairedCounts, gate: Gate) -> float:
    z = tango_z(counts.only_reference, counts.only_candidate, counts.n, gate.value)
    return float(stats.norm.cdf(z) if _at_least(gate) else stats.norm.sf(z))


def _more_for_loss(counts: PairedCounts, gate: Gate, level: float) -> int | None:
    limit = float(stats.norm.ppf((1 + level) / 2))
    losses, gains = counts.only_reference / counts.n, counts.only_candidate / counts.n
    return more_until(lambda m: abs(tango_z(losses * m, gains * m, m, gate.value)) > limit, counts.n)


def more_questions_for_rate(successes: int, n: int, gate: Gate, level: float = 0.95) -> int | None:
    """How many more questions would decide, if the observed rate stayed; None when none up to the cap would.

    With every question right this is the number of further right answers that lifts the lower bound over the
    gate. The count is rounded against the decision, so the number named is enough.
    """
    rate, tail = successes / n, (1 - level) / 2
    sizes = np.arange(n + 1, n + MORE_QUESTIONS_CAP + 1)
    slack = 1e-9  # keeps an exact count from being rounded away
    if rate > gate.value:
        counts = np.floor(rate * sizes + slack)
        decided = stats.beta.ppf(tail, counts, sizes - counts + 1) > gate.value
    else:
        counts = np.ceil(rate * sizes - slack)
        decided = stats.beta.ppf(1 - tail, counts + 1, sizes - counts) < gate.value
    hits = np.flatnonzero(decided)
    return int(hits[0]) + 1 if hits.size else None


def combine_full_check(judgements: Mapping[str, Judgement], level: float = 0.95) -> FullCheck:
    """Combine the primaries of several symptoms.

    FAIL when one fails after Holm's correction over those measured. PASS only when every one passes, which needs
    no correction. A primary that was not measured bars PASS: the whole is NOT MEASURED unless something failed.
    """
    measured = {k: j for k, j in judgements.items() if j.p_outside is not None}
    adjusted = dict(zip(measured, holm([j.p_outside or 0.0 for j in measured.values()]), strict=True))
    tail = (1 - level) / 2
    failed = tuple(k for k, j in measured.items() if j.state is State.FAIL and adjusted[k] <= tail)
    missing = [k for k in judgements if k not in measured]
    if failed:
        return FullCheck(State.FAIL, failed, f"{len(failed)} of {len(judgements)} checks fail.")
    if missing or not judgements:
        names = ", ".join(missing) or "anything"
        return FullCheck(State.NOT_MEASURED, (), f"Not measured: {names}.")
    if all(j.state is State.PASS for j in judgements.values()):
        return FullCheck(State.PASS, (), f"All {len(judgements)} checks pass.")
    return FullCheck(State.INCONCLUSIVE, (), "Some checks need more questions.")


def _at_least(gate: Gate) -> bool:
    if gate.op not in (">=", "<="):
        raise ValueError(f"a gate has the operator {gate.op!r}")
    return gate.op == ">="


def _against(interval: Interval, gate: Gate) -> State:
    low, high = interval.bounds
    slack = rounding(gate)
    if _at_least(gate):
        inside, outside = low >= gate.value - slack, high < gate.value - slack
    else:
        inside, outside = high <= gate.value + slack, low > gate.value + slack
    if inside:
        return State.PASS
    return State.FAIL if outside else State.INCONCLUSIVE


def _too_few(judged: int, asked: int) -> Judgement:
    needed = f"at least {MIN_QUESTIONS}, and an outcome that the others could not change"
    return not_measured(f"{judged} of {asked} questions could be judged; a verdict needs {needed}.")


def _either(unmeasured: int, asked: int) -> str:
    return f"{unmeasured} of {asked} questions could not be judged; they count as either outcome."


def note_of(state: State, more: int | None) -> str:
    """What an inconclusive judgement says about `more` questions, None if no number would do; else nothing."""
    if state is not State.INCONCLUSIVE:
        return ""
    if more is None:
        return f"More than {MORE_QUESTIONS_CAP} further questions would be needed."
    return f"About {more} more {'question' if more == 1 else 'questions'} would decide, if the rate stays."


def _more_for_mean(mean: float, spread: float, n: int, gate: Gate, level: float) -> int | None:
    distance = abs(mean - gate.value)
    return more_until(lambda m: stats.t.ppf((1 + level) / 2, m - 1) * spread / math.sqrt(m) < distance, n)


def more_questions_for_loss(losses: Sequence[float], level: float = 0.95) -> int | None:
    """How many more questions would put the interval of a mean loss above zero, if mean and spread stayed.

    Args:
        losses: FP16 minus EXL2, one a question.
        level: two-sided level of the interval.

    Returns:
        The number by the t interval; None where nothing is lost, or none up to the cap would do.
    """
    array = np.asarray(losses, dtype=np.float64)
    if array.size < 2 or array.mean() <= 0:
        return None
    mean, spread = float(array.mean()), float(array.std(ddof=1))
    return _more_for_mean(mean, spread, array.size, Gate("<=", 0.0, ""), level)


def more_until(decides: Callable[[int], bool], n: int) -> int | None:
    """How many questions beyond `n` would decide, None if not even very many would."""
    size = smallest_size(decides, n, n + MORE_QUESTIONS_CAP)
    return None if size is None else size - n


def rounding(gate: Gate) -> float:
    """What rounding may do to a number that lies exactly on the gate (twenty values of 0.1 average above 0.1)."""
    return 1e-12 * max(1.0, abs(gate.value))
