"""Long chains: a rule, a beginning that shows how steps are written, and the computed truth of every step.

The file stores how each kind of chain is written and the numbers or words of each chain; what is right is computed
here from the rule, never stored. A chain is put to a model as plain text that it continues, not as a chat: what is
measured is whether it keeps a running state, not whether it understands an instruction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.settings import REPO_ROOT

CHAINS = REPO_ROOT / "assets" / "workloads" / "chains.json"
STANDARD = "standard"
"""The level that runs use: kinds that a small FP16 model follows to the horizon."""

State = tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """What turns one state into the next.

    Attributes:
        start: the state before the first step.
        follow: a state and the number of the next step (from 1, shown steps included) to its state; None for a
            state that the rule does not know.
    """

    start: State
    follow: Callable[[State, int], State | None]


@dataclass(frozen=True)
class ChainKind:
    """How one kind of chain is written.

    Attributes:
        name: its id.
        title: what it is, for people.
        level: `standard`, `hard` (for larger models) or `baseline_fails` (a small FP16 model fails it too).
        head: text before the first step; fields are the chain's parameters.
        step: one step; fields are `n` (its number), `before` and `after` (the states' parts, as `after[0]`).
        separator: what ends a step.
        shown: how many steps the prompt shows, at least one.
        arrow: whether the state stands after an arrow.
        numbered: whether steps carry their number.
    """

    name: str
    title: str
    level: str
    head: str
    step: str
    separator: str
    shown: int
    arrow: bool
    numbered: bool


@dataclass(frozen=True)
class Chain:
    """One chain: `params` belong to its rule and are used by the head of its kind."""

    id: str
    kind: ChainKind
    rule: Rule
    params: Mapping[str, Any]
    horizon: int

    @property
    def start(self) -> State:
        """The last state that the prompt shows; words in lower case, as everywhere outside the text itself."""
        return _folded(self._states(self.kind.shown)[-1])

    @property
    def truth(self) -> tuple[State, ...]:
        """The right state of each of the `horizon` steps that the model writes."""
        return tuple(map(_folded, self._states(self.kind.shown + self.horizon)[self.kind.shown + 1 :]))

    @property
    def words(self) -> bool:
        """Whether states are words, not numbers."""
        return not all(part.lstrip("-").isdigit() for part in self.rule.start)

    def follow(self, state: State, step: int) -> State | None:
        """The rule from one state to that of step `step` (1: the first that the model writes)."""
        following = self.rule.follow(state, self.kind.shown + step)
        return None if following is None else _folded(following)

    @property
    def prompt(self) -> str:
        """The beginning that the model continues; it ends where the first step begins."""
        head = self.kind.head.format(**self.params)
        return head + "".join(self._steps(1, self.kind.shown))

    @property
    def gold_text(self) -> str:
        """The right continuation up to the horizon."""
        return "".join(self.gold_steps)

    @property
    def gold_steps(self) -> tuple[str, ...]:
        """The right steps as they would be written, separators included."""
        return tuple(self._steps(self.kind.shown + 1, self.kind.shown + self.horizon))

    @property
    def stop(self) -> tuple[str, ...]:
        """Text that shows that the model is past the horizon; only numbered steps have one."""
        if not self.kind.numbered:
            return ()
        return (f"{self.kind.separator}{self.kind.shown + self.horizon + 1}",)

    @property
    def summary(self) -> str:
        """One line for people: what the chain is and where it begins."""
        return f"{self.kind.title}: {' '.join(self.prompt.split())} \N{HORIZONTAL ELLIPSIS}"

    def _states(self, steps: int) -> list[State]:
        """The state before the first step, and that after each of the steps."""
        states = [self.rule.start]
        for number in range(1, steps + 1):
            following = self.rule.follow(states[-1], number)
            if following is None:
                raise ValueError(f"the chain {self.id} leaves its own rule at step {number}")
            states.append(following)
        return states

    def _steps(self, first: int, last: int) -> list[str]:
        states = self._states(last)
        return [
            self.kind.step.format(n=n, before=states[n - 1], after=states[n], **self.params)
            + self.kind.separator
            for n in range(first, last + 1)
        ]


@dataclass(frozen=True)
class ChainWorkload:
    """Chains in an order in which the first N are balanced over the kinds of a level.

    `sha256` is over the bytes of the file, so a result names exactly what was asked.
    """

    id: str
    sha256: str
    horizon: int
    kinds: Mapping[str, ChainKind]
    chains: tuple[Chain, ...]

    def level(self, level: str = STANDARD) -> tuple[Chain, ...]:
        """The chains of one level."""
        return tuple(c for c in self.chains if c.kind.level == level)


def _folded(state: State) -> State:
    return tuple(part.casefold() for part in state)


def _shift(params: Mapping[str, Any]) -> Rule:
    """Every number of the state moves by its own constant, `change`; cyclic where a `modulus` is given."""
    change, modulus = [int(c) for c in params["change"]], params.get("modulus")

    def follow(state: State, step: int) -> State | None:
        if not all(part.lstrip("-").isdigit() for part in state):
            return None
        moved = [int(part) + c for part, c in zip(state, change, strict=True)]
        return tuple(str(v % modulus if modulus else v) for v in moved)

    return Rule(tuple(str(v) for v in params["start"]), follow)


def _alternate(params: Mapping[str, Any]) -> Rule:
    """One number that takes the changes in `changes` in turn."""
    changes: Sequence[int] = params["changes"]

    def follow(state: State, step: int) -> State | None:
        return (
            (str(int(state[0]) + changes[(step - 1) % len(changes)]),)
            if state[0].lstrip("-").isdigit()
            else None
        )

    return Rule((str(params["start"][0]),), follow)


def _cycle(params: Mapping[str, Any]) -> Rule:
    """A machine that goes round its `states`; `start` is the place before the first step."""
    states = [str(s) for s in params["states"]]
    after = {s.casefold(): states[(i + 1) % len(states)] for i, s in enumerate(states)}

    def follow(state: State, step: int) -> State | None:
        following = after.get(state[0].casefold())
        return None if following is None else (following,)

    return Rule((states[int(params["start"])],), follow)


RULES: Mapping[str, Callable[[Mapping[str, Any]], Rule]] = {
    "shift": _shift,
    "alternate": _alternate,
    "cycle": _cycle,
}
"""Rules by name. A new kind of chain with one of these rules is data alone; a new rule is one function here."""


@cache
def load_chains() -> ChainWorkload:
    """Load the built-in chains.

    Raises:
        PrerequisiteError: the file is missing or damaged.
    """
    try:
        raw = CHAINS.read_bytes()
        data = json.loads(raw)
        horizon = int(data["horizon"])
        kinds = {name: ChainKind(name=name, **_without_rule(k)) for name, k in data["kinds"].items()}
        chains = tuple(
            Chain(
                c["id"],
                kinds[c["kind"]],
                RULES[data["kinds"][c["kind"]]["rule"]](c["params"]),
                c["params"],
                horizon,
            )
            for c in data["chains"]
        )
        for chain in chains:
            _ = chain.gold_text  # a chain that its kind cannot write is damage too
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise PrerequisiteError(
            f"The built-in chain file {CHAINS.name} cannot be read: {error!r}.",
            "Restore it from the repository (assets/workloads).",
        ) from error
    return ChainWorkload(data["id"], hashlib.sha256(raw).hexdigest(), horizon, kinds, chains)


def _without_rule(kind: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in kind.items() if k != "rule"}
