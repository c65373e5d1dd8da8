"""A failed run on long chains, searched from the first change to the one that passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.probes.desk import Desk
from tests.probes.fakes import ScriptedEngine
from tests.remedies.bench import CAUSE, PAIR, no_engine, no_findings
from tests.remedies.scripts import CHAINS, PromptEngine, TwoWords, context_of, following
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.probes.long_chain import LongChain
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.remedies.base import Case, Shop
from wfgy_triage.remedies.outcome import recommend
from wfgy_triage.remedies.reading import read_trials
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.result import State

GOLD = {c.id: c.gold_text for c in CHAINS.values()}
STUCK = {c.id: "".join(c.gold_steps[:14]) + c.gold_steps[13] * 34 for c in CHAINS.values()}


class Run(Desk):
    """The answers of a failed run; tokens are not compared, which says nothing about right steps."""

    def __init__(self, settings: ProbeSettings) -> None:
        super().__init__(LongChain(lambda: TwoWords("-")), GOLD, STUCK, settings)
        context = self.context(self.exl2, settings.questions)
        subject = self.probe.subject(context)
        assert subject is not None
        measuring = Measuring(context, subject.symptom, subject.items)
        for side, engine in (("fp16", self.fp16), ("exl2", self.exl2), ("fp16_floor", self.twin)):
            measuring.answer(side, engine, subject.judge)

    def context(self, exl2: ScriptedEngine, questions: int) -> ProbeContext:
        return replace(
            context_of(replace(self.settings, questions=questions), exl2),
            fp16=self.fp16,
            stored=lambda: tuple(self.samples.values()),
            save=self.save,
        )


def searched(engine: PromptEngine, remedies: Sequence[str]):
    run = Run(ProbeSettings(questions=20))
    assert run.evaluate().state is State.FAIL

    def case(questions: int) -> Case:
        context = run.context(engine, questions)
        return Case(context, run.probe.subject(context), PAIR, CAUSE, Shop(no_engine, no_findings, Path()))

    TrialSearch(case(20), run.probe, [get_remedy(r) for r in remedies], Budget(1e6), case).run()
    return read_trials(tuple(run.samples.values()), run.probe, run.settings)


def test_segments_of_ten_pass_where_segments_of_twenty_stick():
    trials = searched(PromptEngine(following(14)), ["variance_clamp", "citation_contract", "segment_chain"])
    assert [(t.facts.id, t.status) for t in trials] == [
        ("variance_clamp", "skipped"),
        ("citation_contract", "skipped"),
        ("segment_chain 20", "hopeless"),
        ("segment_chain 10", "verified"),
    ]
    found = recommend(trials, State.FAIL)
    assert found is not None
    assert (found["verified"], found["patch"]) == (True, {"chain.segment_steps": 10})


def test_rolling_back_passes_where_the_collapse_shows():
    (trial,) = searched(PromptEngine(following(14)), ["rebirth"])
    # Cycles repeat by right, so sticking shows in every chain: the same value stands twice in a row.
    assert trial.status == "verified"
    assert trial.effect is not None
    assert trial.effect.after == 1.0
