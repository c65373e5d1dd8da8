"""A failed JSON run on scripted engines, and remedies whose effect is known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from tests.probes.desk import Desk
from tests.probes.fakes import ScriptedEngine
from wfgy_triage.engines.base import Engine
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.remedies.base import Candidate, Case, Change, NotApplicableError, Shop
from wfgy_triage.remedies.outcome import Trial, recommend
from wfgy_triage.remedies.reading import read_trials
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.result import Diagnosis, State
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.json_records import load_json_workload

WORKLOAD = load_json_workload()
GOLD = {q.id: WORKLOAD.gold_text(q) for q in WORKLOAD.questions}
BROKEN = {k: v.replace("}", "", 1) if i % 2 else v for i, (k, v) in enumerate(GOLD.items())}
"""Every second answer lacks a brace."""
ORDER = list(GOLD)
CAUSE = Diagnosis("weights_too_few_bits", "high")
PAIR = Pair("p", "Pair", Path("/fp16"), Path("/exl2"))


def mended(count: int) -> dict[str, str]:
    """Broken answers of which the first `count` lost ones are right again."""
    lost = [q for q in ORDER if BROKEN[q] != GOLD[q]]
    return {**BROKEN, **{q: GOLD[q] for q in lost[:count]}}


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slow(ScriptedEngine):
    """Takes a fifth of a second an answer."""

    def __init__(self, answers: dict[str, str], clock: Clock) -> None:
        super().__init__(answers)
        self.clock = clock

    def generate(self, requests, should_stop=None):
        self.clock.now += 0.2 * len(requests)
        yield from super().generate(requests, should_stop)


class ScriptedRemedy:
    """Candidates by name, each with the answers that EXL2 gives with the change in place."""

    def __init__(self, remedy_id: str, answers: Mapping[str, Mapping[str, str]]) -> None:
        self.id, self._answers = remedy_id, answers
        self.engines: dict[str, ScriptedEngine] = {}
        self.fails: Exception | None = None

    def candidates(self, case: Case) -> Sequence[Candidate]:
        return [Candidate(name, self.id, f"Change {name}", {"paths.count": 3}) for name in self._answers]

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        if self.fails is not None:
            raise self.fails
        engine = self.engines.setdefault(candidate.id, ScriptedEngine(self._answers[candidate.id]))
        yield Change(engine)


class Impossible(ScriptedRemedy):
    def candidates(self, case: Case) -> Sequence[Candidate]:
        raise NotApplicableError("Not with these models.")


class FailedRun(Desk):
    """A run that has failed, ready for a search."""

    def __init__(self, exl2: Mapping[str, str] = BROKEN) -> None:
        super().__init__(PROBE, GOLD, exl2)
        self.samples.update(_failed_run(tuple(exl2.items())))
        self.clock = Clock()

    def case(self, should_stop: Callable[[], bool] = lambda: False, questions: int | None = None) -> Case:
        settings = replace(self.settings, questions=questions or self.settings.questions)
        context = self.context(should_stop, settings)
        return Case(context, PROBE.subject(context), PAIR, CAUSE, Shop(no_engine, no_findings, Path()))

    def search(
        self, *remedies: ScriptedRemedy, seconds: float = 1e6, should_stop: Callable[[], bool] = lambda: False
    ) -> tuple[Trial, ...]:
        case = self.case(should_stop)
        budget = Budget(seconds, self.clock)
        TrialSearch(case, PROBE, remedies, budget, lambda n: self.case(should_stop, n)).run()
        return self.trials()

    def trials(self) -> tuple[Trial, ...]:
        return read_trials(tuple(self.samples.values()), PROBE, self.settings)

    def recommended(self) -> Mapping[str, object]:
        found = recommend(self.trials(), State.FAIL)
        assert found is not None
        return found


@cache
def _failed_run(exl2: tuple[tuple[str, str], ...]) -> Mapping[object, Sample]:
    desk = Desk(PROBE, GOLD, dict(exl2))
    desk.run()
    return desk.samples


def no_engine(folder: Path) -> Engine:
    raise AssertionError("no other model is needed")


def no_findings(folder: Path) -> Sequence[object]:
    raise AssertionError("no folder is examined")
