"""Reading the steps of a long chain out of a model's text, and holding them against the computed truth.

Reading is tolerant of format (spaces, bullets, case, other arrows, prose between numbered lines) and strict on
values. A step is right when the value it states is the true one *at that step*: after a slip every later step is
wrong, even when the model calculates on correctly from its own wrong value. That absolute count decides; `consistent`
says how many steps follow from the step before as the model itself stated it, which tells an arithmetic slip (one wrong
turn, then consistent) from a collapse (nothing follows from anything).

A chain cut off by the length limit before any error leaves its missing steps unknown. Cut off after an error, or
ended by the model itself, its missing steps are not right: there was room for every right step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from wfgy_triage.measure.survival import Lifetime

State = tuple[str, ...]
"""What a step states: one or more numbers or words."""
Follow = Callable[[State, int], State | None]
"""The rule: the state before a step and the step's number (from 1) give its state; None for a state it cannot take."""

RANGES = ((1, 19), (20, 40), (41, None))
"""First and last step of the three parts of a chain; None: to its end."""
REPEAT_WINDOW = 8
"""How many steps back a repeated value is looked for."""
SLIP_CONSISTENCY = 0.8
"""A broken chain of which at least this share of steps follows from the step before slipped; below it, it collapsed."""

_LABEL = re.compile(r"\s*(?:[-*\u2022]\s*)?(?:step\s*)?(\d+)\s*[.:)]\s", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\d.])[-\u2212]?\d+(?:\.\d+)?")
_WORD = re.compile(r"[^\W\d_]+")
_ARROWS = re.compile(r"\u2192|=>|->")


class ChainEnd(StrEnum):
    """How a chain ended."""

    RIGHT = "chain_right"
    SLIP = "chain_slip"
    COLLAPSE = "chain_collapse"
    STOPPED = "chain_stopped"
    CUT_OFF = "truncated"


@dataclass(frozen=True)
class Layout:
    """How a kind of chain is written.

    Attributes:
        separator: what ends a step: a line break, or a sign such as `,`.
        arrow: whether the state stands after an arrow; otherwise it is the last thing of the step.
        first_label: the number that the first generated step carries; None where steps are not numbered.
        width: how many numbers or words a state has.
        words: whether the state is words, not numbers.
    """

    separator: str
    arrow: bool = False
    first_label: int | None = None
    width: int = 1
    words: bool = False


@dataclass(frozen=True)
class Stated:
    """One step as the model wrote it: characters `begin..end-1` of its text, separator included.

    `state` is None where nothing in it can be read as one.
    """

    step: int
    state: State | None
    begin: int
    end: int


@dataclass(frozen=True)
class ChainOutcome:
    """One chain against its truth.

    Attributes:
        kind: how it ended.
        right: for each step up to the horizon: right, wrong, or None where that is not known.
        stated: steps that the text states, right or not.
        first_wrong: number of the first step that is not right; None when there is none.
        consistent: share of the stated steps that follow from the step before; None without a stated step.
        repeats: share of the stated steps that repeat a value they should not; None without a stated step.
        detail: one sentence for people.
    """

    kind: ChainEnd
    right: tuple[bool | None, ...]
    stated: int
    first_wrong: int | None
    consistent: float | None
    repeats: float | None
    detail: str

    @property
    def lifetime(self) -> Lifetime:
        """Right steps before the first wrong one; censored where the text was cut off or the horizon reached."""
        if self.first_wrong is not None:
            return Lifetime(self.first_wrong - 1, True)
        return Lifetime(sum(r is True for r in self.right), False)


def share_right(right: Sequence[bool | None], first: int = 1, last: int | None = None) -> float | None:
    """Share of right steps among steps `first` to `last`; None where one of them is not known, or there is none."""
    part = right[first - 1 : last]
    if not part or None in part:
        return None
    return sum(r is True for r in part) / len(part)


def read_steps(text: str, layout: Layout, horizon: int, cut: bool) -> tuple[Stated, ...]:
    """Read up to `horizon` steps, in order and each step once.

    Args:
        text: what the model wrote after the beginning it was shown.
        layout: how the chain is written.
        horizon: the last step of interest.
        cut: whether the length limit ended the text: its last step may then be half written and is not read.
    """
    found: dict[int, Stated] = {}
    pieces = list(_segments(text, layout.separator))
    if cut and pieces and not text[pieces[-1][0] : pieces[-1][1]].endswith(layout.separator):
        pieces.pop()
    for begin, end in pieces:
        body = text[begin:end].removesuffix(layout.separator)
        if not body.strip():
            continue
        step = len(found) + 1
        if layout.first_label is not None:
            label = _LABEL.match(body + " ")
            if label is None:
                continue
            step, body = int(label[1]) - layout.first_label + 1, body[label.end() :]
        if 1 <= step <= horizon and step not in found:
            found[step] = Stated(step, _state(body, layout), begin, end)
    return tuple(found[step] for step in sorted(found))


def judge_chain(
    stated: Sequence[Stated], start: State, truth: Sequence[State], follow: Follow, cut: bool
) -> ChainOutcome:
    """Hold stated steps against the truth.

    Args:
        stated: from `read_steps`, with the truth's length as horizon.
        start: the last state shown to the model, before its first step.
        truth: the right state of every step.
        follow: the chain's rule.
        cut: whether the length limit ended the text.
    """
    by_step = {s.step: s.state for s in stated}
    right: list[bool | None] = [by_step.get(k) == state for k, state in enumerate(truth, 1)]
    reached = max(by_step, default=0)
    if cut and all(right[:reached]):
        right[reached:] = [None] * (len(truth) - reached)
    first_wrong = next((k for k, ok in enumerate(right, 1) if ok is False), None)
    known = {0: start, **{k: s for k, s in by_step.items() if s is not None}}
    follows = [k - 1 in known and _same(by_step[k], follow(known[k - 1], k)) for k in by_step]
    repeats = [_repeats(known, truth, k) for k in by_step]
    consistent = sum(follows) / len(follows) if follows else None
    kind = _kind(right, first_wrong, reached, len(truth), consistent, cut)
    return ChainOutcome(
        kind=kind,
        right=tuple(right),
        stated=len(by_step),
        first_wrong=first_wrong,
        consistent=consistent,
        repeats=sum(repeats) / len(repeats) if repeats else None,
        detail=_detail(kind, first_wrong, reached, by_step, truth),
    )


def first_difference(left: Sequence[str | None], right: Sequence[str | None], known: int) -> Lifetime:
    """Steps on which two chains state the same before the first where they do not.

    Args:
        left: what one chain states at each step; None where it states nothing.
        right: the same of the other.
        known: how many steps are known of both; without a difference among them the lifetime is censored there.
    """
    for step, (a, b) in enumerate(zip(left[:known], right[:known], strict=True), 1):
        if a != b:
            return Lifetime(step - 1, True)
    return Lifetime(known, False)


def parts(horizon: int) -> tuple[tuple[int, int], ...]:
    """`RANGES` cut to a horizon; empty parts are left out."""
    cut = [(first, min(last or horizon, horizon)) for first, last in RANGES]
    return tuple((first, last) for first, last in cut if first <= last)


def _segments(text: str, separator: str) -> list[tuple[int, int]]:
    """Begin and end of every piece between separators, the separator belonging to the piece before it."""
    found, begin = [], 0
    while begin < len(text):
        place = text.find(separator, begin)
        end = len(text) if place < 0 else place + len(separator)
        found.append((begin, end))
        begin = end
    return found


def _state(body: str, layout: Layout) -> State | None:
    if layout.arrow:
        behind = _ARROWS.split(body)
        if len(behind) < 2:
            return None
        body = behind[-1]
    found = (_WORD if layout.words else _NUMBER).findall(body)
    if layout.words and not layout.arrow and len(found) > layout.width:
        return None  # a sentence, not a state
    picked = found[: layout.width] if layout.arrow else found[-layout.width :]
    if len(picked) < layout.width:
        return None
    return tuple(w.casefold() if layout.words else _plain_number(w) for w in picked)


def state_before(step: str, layout: Layout) -> State | None:
    """The state that a step begins with, in front of its arrow; None where there is none, or no arrow."""
    parts = _ARROWS.split(step)
    if not layout.arrow or len(parts) < 2:
        return None
    return _state(parts[0], replace(layout, arrow=False))


def _plain_number(text: str) -> str:
    """One spelling for one value: `07` and `7.0` are 7."""
    value = float(text.replace("\u2212", "-"))
    return str(int(value)) if value.is_integer() else str(value)


def _same(state: State | None, other: State | None) -> bool:
    return state is not None and state == other


def _repeats(known: dict[int, State], truth: Sequence[State], step: int) -> bool:
    """Whether a step states what a recent step stated although the truths of the two differ."""
    return any(
        step in known and known.get(step - back) == known[step] and truth[step - back - 1] != truth[step - 1]
        for back in range(1, min(REPEAT_WINDOW, step - 1) + 1)
    )


def _kind(
    right: Sequence[bool | None],
    first_wrong: int | None,
    reached: int,
    horizon: int,
    consistent: float | None,
    cut: bool,
) -> ChainEnd:
    if first_wrong is None:
        return ChainEnd.CUT_OFF if None in right else ChainEnd.RIGHT
    if not cut and reached < horizon and first_wrong == reached + 1:
        return ChainEnd.STOPPED
    slipped = consistent is not None and consistent >= SLIP_CONSISTENCY
    return ChainEnd.SLIP if slipped else ChainEnd.COLLAPSE


def _detail(
    kind: ChainEnd,
    first_wrong: int | None,
    reached: int,
    by_step: dict[int, State | None],
    truth: Sequence[State],
) -> str:
    if kind is ChainEnd.RIGHT:
        return f"All {len(truth)} steps are right."
    if kind is ChainEnd.CUT_OFF or first_wrong is None:
        return f"Cut off after {reached} steps, all of them right."
    if kind is ChainEnd.STOPPED:
        return f"Stopped by itself after {reached} steps, all of them right."
    right = " ".join(truth[first_wrong - 1])
    if first_wrong not in by_step:
        return f"Step {first_wrong} is missing; {right} would be right."
    said = by_step[first_wrong]
    words = "nothing that can be read" if said is None else " ".join(said)
    return f"First wrong at step {first_wrong}: it says {words}, right is {right}."
