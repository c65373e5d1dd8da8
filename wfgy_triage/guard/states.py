"""Rates of the newest answers against the seed's gates, and when one has left its gate. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wfgy_triage.guard.watched import Watch, Watched
from wfgy_triage.result import State
from wfgy_triage.store.guard import GuardedAnswer
from wfgy_triage.verdict import Judgement, judge_rate, page_rule
from wfgy_triage.verdict_loss import judge_share

LEFT, RETURNED = "left", "returned"
IMAGINED_LOSS = 1.0
"""What the imagined further answer of `judge_share` loses: nothing of it is right."""


@dataclass(frozen=True)
class GateState:
    """One gate now.

    Attributes:
        watch: what is watched.
        value: rate or mean over the answers of the window; None when nothing could be judged.
        answers: how many were judged.
        judgement: the state, its interval and its reason.
    """

    watch: Watch
    value: float | None
    answers: int
    judgement: Judgement

    @property
    def state(self) -> State:
        """One of the four."""
        return self.judgement.state


def gate_states(answers: Sequence[GuardedAnswer], watched: Watched) -> tuple[GateState, ...]:
    """Judge every gate.

    Args:
        answers: those in the window.
        watched: the gates and the one-sided level.
    """
    return tuple(_state(watch, answers, watched.level) for watch in watched.gates)


def _state(watch: Watch, answers: Sequence[GuardedAnswer], level: float) -> GateState:
    both_sides = 2 * level - 1  # a two-sided interval that leaves 1 - level on each side
    gate = watch.gate.gate()
    asked = [a for a in answers if _asks(watch, a)]
    facts = [f for a in asked if (f := getattr(a, watch.fact)) is not None]
    # Cut off: may be either. What could not be read for another reason says nothing about the model.
    cut = sum(getattr(a, watch.fact) is None and a.failure == "truncated" for a in asked)
    value = sum(facts) / len(facts) if facts else None
    if watch.of == "mean":
        return GateState(watch, value, len(facts), judge_share(facts, gate, IMAGINED_LOSS, both_sides))
    judged = judge_rate(sum(facts), len(facts), gate, both_sides, unmeasured=cut)
    return GateState(watch, value, len(facts), judged)


def _asks(watch: Watch, answer: GuardedAnswer) -> bool:
    """Whether this answer was asked for what is watched; of a mean, those that have it."""
    if watch.of == "mean":
        return True
    return ("citations" if watch.fact == "citation_ok" else "json") in answer.kind.split("+")


class Alarms:
    """Which gates are left, with hysteresis.

    A gate is left when the whole interval lies beyond it. It is back when the rate itself lies inside again; a rate
    in between changes nothing, so that one at the edge does not ring at every answer.

    Args:
        left: ids of gates that were left when an earlier process ended.
    """

    def __init__(self, left: Sequence[str] = ()) -> None:
        self._left = set(left)

    @property
    def left(self) -> frozenset[str]:
        """Ids of the gates that are left now."""
        return frozenset(self._left)

    def step(self, states: Sequence[GateState]) -> tuple[tuple[GateState, str], ...]:
        """Take the states in; returns those that changed, each with `left` or `returned`."""
        changes = []
        for state in states:
            gate = state.watch.gate
            if gate.id not in self._left and state.state is State.FAIL:
                self._left.add(gate.id)
                changes.append((state, LEFT))
            elif gate.id in self._left and _back(state):
                self._left.discard(gate.id)
                changes.append((state, RETURNED))
        return tuple(changes)


def _back(state: GateState) -> bool:
    measured = state.state in (State.PASS, State.INCONCLUSIVE)
    return measured and page_rule(state.value, state.watch.gate.gate()) is True
