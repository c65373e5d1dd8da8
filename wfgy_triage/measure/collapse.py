"""Signs that a chain of steps has collapsed, read from the text alone: nothing here knows what would be right.

What is normal is learned from the beginning that the model was shown: where that repeats values, repeating is no
sign; where each of its steps begins with the value that the step before ended with, a step that does not is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from wfgy_triage.measure.chain import REPEAT_WINDOW, Layout, Stated, read_steps, state_before

_ALL = 10**6


class Sign(StrEnum):
    """What is wrong with a step."""

    UNREADABLE = "unreadable"
    SKIPPED = "skipped"
    REPEATED = "repeated"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True)
class Habits:
    """How the beginning of a chain is written.

    Attributes:
        last: the last state it shows; None where none can be read.
        repeats: whether it states a value twice.
        connected: whether each of its steps begins with the value that the step before ended with.
    """

    last: tuple[str, ...] | None
    repeats: bool
    connected: bool


def habits_of(beginning: str, layout: Layout) -> Habits:
    """Learn from the beginning of a chain what its steps look like."""
    first = 1 if layout.first_label is not None else None
    shown = read_steps(beginning, replace(layout, first_label=first), _ALL, cut=False)
    states = [s.state for s in shown if s.state is not None]
    before = [state_before(beginning[s.begin : s.end], layout) for s in shown]
    linked = [a.state is not None and a.state == b for a, b in zip(shown, before[1:], strict=False)]
    return Habits(
        states[-1] if states else None, len(set(states)) < len(states), bool(linked) and all(linked)
    )


def first_collapse(
    text: str, stated: Sequence[Stated], layout: Layout, habits: Habits
) -> tuple[int, Sign] | None:
    """Place in `stated` of the first step that shows a sign of collapse, and the sign; None where none does.

    Args:
        text: what the model wrote.
        stated: its steps, from `read_steps`.
        layout: how the chain is written.
        habits: from `habits_of`.
    """
    states = [habits.last]
    for place, step in enumerate(stated):
        sign = _sign(text, step, place, states, layout, habits)
        if sign is not None:
            return place, sign
        states.append(step.state)
    return None


def _sign(
    text: str,
    step: Stated,
    place: int,
    states: Sequence[tuple[str, ...] | None],
    layout: Layout,
    habits: Habits,
) -> Sign | None:
    if step.state is None:
        return Sign.UNREADABLE
    if step.step != place + 1:
        return Sign.SKIPPED
    recent = states[-1:] if habits.repeats else states[-REPEAT_WINDOW:]
    if step.state in recent:
        return Sign.REPEATED
    if habits.connected and state_before(text[step.begin : step.end], layout) != states[-1]:
        return Sign.DISCONNECTED
    return None
