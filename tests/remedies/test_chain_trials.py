"""A failed run on long chains, searched from the first change to the one that passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.probes.desk import Desk
from tests.probes.fakes import ScriptedEngine
from tests.remedies.bench import CAUSE, PAIR, no_engine, no_findings
from tests.remedies.scripts import CHAINS, PromptEngine, TwoWords, context_of, following
from wfgy_triage.catalog import load_catalog
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.probes.long_chain import LongChain
from wfgy_triage.probes.measuring import Measuring
from wfgy_triage.remedies.base import Case, Shop
from wfgy_triage.remedies.outcome import Trial, recommend
from wfgy_triage.remedies.reading import read_trials
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.report.charts_fix import before_after
from wfgy_triage.report.fix import fix_head, why_not_tried
from wfgy_triage.result import Result, State
from wfgy_triage.runs.sessions import changed_sides
from wfgy_triage.runs.trial_options import TrialOptions
from wfgy_triage.runs.trials import try_changes
from wfgy_triage.workload.chains import STANDARD, load_chains

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


def stuck_share(after: int) -> float:
    """Right steps of the run's chains where each stays at its step `after`; in circles that is right at times."""
    truths = [c.truth for c in load_chains().level(STANDARD)[:20]]
    again = [sum(state == truth[after - 1] for state in truth[after:]) for truth in truths]
    return sum((after + n) / len(truth) for n, truth in zip(again, truths, strict=True)) / len(truths)


STUCK_SHARE = stuck_share(14)


class AlikeRun(Run):
    """A run whose FP16 loses the thread as well; both sides answer by what stands in the prompt."""

    def __init__(self, fp16: int, exl2: int) -> None:
        self.settings, self.samples, self.stages = ProbeSettings(questions=20), {}, []
        self.probe = LongChain(lambda: TwoWords("-"))
        self.fp16, self.exl2 = PromptEngine(following(fp16)), PromptEngine(following(exl2))
        context = self.context(self.exl2, 20)
        subject = self.probe.subject(context)
        measuring = Measuring(context, subject.symptom, subject.items)
        for side, engine in (("fp16", self.fp16), ("exl2", self.exl2), ("fp16_floor", self.fp16)):
            measuring.answer(side, engine, subject.judge)
        self.before = self.evaluate()

    def search(
        self, wanted: bool = True, should_stop: Callable[[], bool] = lambda: False
    ) -> tuple[Trial, ...]:
        context = replace(self.context(self.exl2, 20), should_stop=should_stop)
        shop = Shop(no_engine, no_findings, Path())
        try_changes(self.probe, context, self.before, PAIR, shop, TrialOptions(wanted, 1e6))
        return read_trials(tuple(self.samples.values()), self.probe, self.settings)

    def result(self, trials: Sequence[Trial]) -> Result:
        found = self.before
        fix = recommend(trials, found.state)
        return Result(
            run_id="r", created_at="2026-01-01T00:00:00+00:00", symptom="long_chain", state=found.state,
            headline=found.headline, page_rule=found.page_rule, pair={}, workload={}, settings={},
            metrics=found.metrics, diagnosis=found.diagnosis, modules=(), recommendation=fix, timings={}, versions={},
        )  # fmt: skip


@pytest.fixture(scope="module")
def alike() -> tuple[AlikeRun, tuple[Trial, ...]]:
    run = AlikeRun(14, 14)
    return run, run.search()


def test_where_fp16_fails_too_changes_are_tried_on_both_sides(alike: tuple[AlikeRun, tuple[Trial, ...]]):
    run, trials = alike
    assert (run.before.state, run.before.diagnosis.cause) == (State.INCONCLUSIVE, "baseline_also_fails")
    made = [t for t in trials if t.status != "skipped"]
    assert [(t.facts.id, t.status) for t in made] == [
        ("segment_chain 20", "hopeless"),
        ("segment_chain 10", "verified"),
    ]
    assert made[0].facts.reason == "It mends 0 of 8 failed answers, so the other questions were not asked."
    assert not run.side("try:fp16:segment_chain 20"), "FP16 is not asked what EXL2 gives up"
    both = [{s.key.question for s in run.side(f"try:{of}segment_chain 10")} for of in ("", "fp16:")]
    assert both[0] == both[1]
    assert len(both[0]) > 20, "confirmed on further chains, on both sides"
    assert not run.side("fp16_more")
    for effect in (made[1].effect, made[1].baseline):
        assert effect is not None
        # Fourteen of 48 steps as it is; every step with segments that are shorter than that.
        assert (effect.before, effect.after) == (pytest.approx(STUCK_SHARE), 1.0)
        assert effect.better
        assert effect.n == 20


def test_what_helps_both_sides_is_told_as_no_matter_of_quantization(
    alike: tuple[AlikeRun, tuple[Trial, ...]],
):
    run, trials = alike
    result = run.result(trials)
    fix = result.recommendation
    assert fix is not None
    assert (fix["candidate"], fix["state_before"], fix["state_after"]) == (
        "segment_chain 10",
        "INCONCLUSIVE",
        "PASS",
    )
    assert "FP16 gains by it as well" in fix["summary"]
    assert "34.8 % → 100 %" in fix_head(result, load_catalog()).partition("FP16 with it")[2]
    drawn = before_after(result)
    assert drawn is not None
    assert [(r["name"], r["value"]) for r in drawn["rows"]] == [
        ("FP16", pytest.approx(STUCK_SHARE)),
        ("EXL2 as it is", pytest.approx(STUCK_SHARE)),
        ("FP16 with the change", 1.0),
        ("EXL2 with the change", 1.0),
    ]
    assert drawn["gate"] == pytest.approx(0.95), "five points below FP16 with the change"
    # Answers are read beside those that FP16 gave without it.
    assert changed_sides(result, tuple(run.samples.values())) == ("fp16", "exl2", "try:segment_chain 10")


def test_what_helps_exl2_alone_is_not_told_of_fp16():
    run = AlikeRun(6, 14)
    trials = run.search()
    found = next(t for t in trials if t.facts.id == "segment_chain 10")
    assert found.effect is not None
    assert found.baseline is not None
    assert (found.effect.better, found.baseline.better) == (True, None)
    # FP16 still leaves the path early, so that EXL2 loses little against it shows nothing.
    assert (found.status, found.state) == ("better", State.INCONCLUSIVE)
    fix = recommend((found,), run.before.state)
    assert fix is not None
    assert "On FP16 it has no clear effect." in fix["summary"]


@pytest.mark.parametrize("at", [11, 45])
def test_a_search_on_both_sides_that_was_stopped_goes_on(at: int, alike: tuple[AlikeRun, tuple[Trial, ...]]):
    run = AlikeRun(14, 14)
    limit = len(run.samples) + at
    run.search(should_stop=lambda: len(run.samples) >= limit)
    # A key that is stored twice is refused by the desk.
    told = [t.to_json() | {"seconds": 0} for t in run.search()]
    assert told == [t.to_json() | {"seconds": 0} for t in alike[1]]


def test_an_open_verdict_that_fp16_does_not_explain_tries_nothing():
    run = AlikeRun(100, 100)
    assert (run.before.state, run.before.diagnosis.cause) == (State.INCONCLUSIVE, "within_noise")
    assert run.search() == ()
    assert "a FAIL only" in why_not_tried(run.result(()), load_catalog())


def test_nobody_who_asked_for_the_measurement_alone_gets_a_search():
    run = AlikeRun(14, 14)
    assert run.search(wanted=False) == ()
    result = replace(run.result(()), settings={"fix": "no"})
    assert why_not_tried(result, load_catalog()).startswith("You asked for the measurement alone.")
