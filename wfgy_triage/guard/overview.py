"""What the page and the terminal show of the guard: read from the store at once, then only looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from wfgy_triage.guard.states import GateState, gate_states
from wfgy_triage.guard.watched import Watch, Watched
from wfgy_triage.measure.json_validity import JsonKind
from wfgy_triage.measure.statistics import wilson
from wfgy_triage.store.guard import GuardedAnswer, GuardEvent, GuardRepository, GuardServer

SHOWN_FAILURES = 12
SHOWN_EVENTS = 12
READ_BACK = 3_000
"""How many answers the course of the rates is drawn from."""
BUCKETS = 24
ALIVE_S = 20.0
"""A server that gave no sign for longer counts as ended."""


@dataclass(frozen=True)
class Point:
    """A rate in a span of time that begins at `at`, with Wilson's interval where it is a rate."""

    at: datetime
    value: float
    low: float | None
    high: float | None
    answers: int


@dataclass(frozen=True)
class Course:
    """A rate over time."""

    watch: Watch
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Overview:
    """The guard as the store has it.

    Attributes:
        servers: those known, newest sign of life first.
        states: every gate over the window.
        courses: the rates over time that have answers.
        events: gates left and come back, newest first.
        failures: answers that failed, newest first.
        verdicts: how many checked answers of the window had which verdict.
        distances: ΔS values of the window.
        window: answers and minutes.
    """

    servers: tuple[GuardServer, ...]
    states: tuple[GateState, ...]
    courses: tuple[Course, ...]
    events: tuple[GuardEvent, ...]
    failures: tuple[GuardedAnswer, ...]
    verdicts: dict[str, int]
    distances: tuple[float, ...]
    window: tuple[int, int]

    @property
    def empty(self) -> bool:
        """Whether no guard was ever started here."""
        return not self.servers

    def alive(self, now: datetime) -> tuple[GuardServer, ...]:
        """The servers that run."""
        return tuple(s for s in self.servers if (now - s.seen_at).total_seconds() < ALIVE_S)


def read_overview(repository: GuardRepository, watched: Watched, now: datetime) -> Overview:
    """Read everything.

    Args:
        repository: the store.
        watched: the gates.
        now: the end of the window.
    """
    servers = repository.servers()
    size, minutes = watched.answers, watched.minutes
    if servers:
        size, minutes = servers[0].window_answers, servers[0].window_minutes
    recent = repository.latest(max(READ_BACK, size), checked=True)
    since = now - timedelta(minutes=minutes)
    window = [a for a in recent[:size] if a.at >= since]
    return Overview(
        servers=servers,
        states=gate_states(window, watched),
        courses=tuple(c for w in watched.gates if (c := course(w, recent)).points),
        events=repository.events(SHOWN_EVENTS),
        failures=repository.failures(SHOWN_FAILURES),
        verdicts=dict(Counter(a.verdict for a in window)),
        distances=tuple(a.distance for a in window if a.distance is not None),
        window=(size, minutes),
    )


def course(watch: Watch, answers: Sequence[GuardedAnswer], buckets: int = BUCKETS) -> Course:
    """The rate in equal spans of time; spans without an answer have no point.

    Args:
        watch: what is watched.
        answers: in any order.
        buckets: how many spans.
    """
    facts = sorted((a.at, float(f)) for a in answers if (f := getattr(a, watch.fact)) is not None)
    if not facts:
        return Course(watch, ())
    first, last = facts[0][0], facts[-1][0]
    span = max((last - first) / buckets, timedelta(seconds=1))
    held: dict[int, list[float]] = {}
    for at, fact in facts:
        held.setdefault(min(buckets - 1, int((at - first) / span)), []).append(fact)
    return Course(watch, tuple(_point(watch, first + i * span, held[i]) for i in sorted(held)))


def symptom_of(answer: GuardedAnswer, watched: Watched) -> str:
    """The symptom whose modules answer a failure."""
    as_json = answer.kind == "json" or answer.failure in set(JsonKind) - {JsonKind.TRUNCATED}
    fact = "schema_ok" if as_json else "citation_ok"
    return next(w.symptom for w in watched.gates if w.fact == fact)


def _point(watch: Watch, at: datetime, facts: list[float]) -> Point:
    value = sum(facts) / len(facts)
    if watch.of == "mean":
        return Point(at, value, None, None, len(facts))
    bounds = wilson(int(sum(facts)), len(facts))
    return Point(at, value, bounds.low, bounds.high, len(facts))
