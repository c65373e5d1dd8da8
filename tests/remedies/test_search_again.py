"""A failed search: another checkpoint is tried by searching with it, on the questions that the run judged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.probes.retrieval_fakes import Desk, WordEngine
from tests.remedies.bench import CAUSE, PAIR, Clock, ScriptedRemedy, no_engine, no_findings
from wfgy_triage.remedies.base import Candidate, Case, Change, Shop
from wfgy_triage.remedies.outcome import Trial, recommend
from wfgy_triage.remedies.reading import read_trials
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.remedies.trial import Budget, TrialSearch
from wfgy_triage.result import State


class Checkpoint(ScriptedRemedy):
    """Another EXL2 model; how many are in use at a time is counted."""

    def __init__(self, engine: WordEngine) -> None:
        super().__init__("raise_bpw", {"raise_bpw 6": {}})
        self.engine, self.applied = engine, 0

    @contextmanager
    def apply(self, case: Case, candidate: Candidate) -> Iterator[Change]:
        self.applied += 1
        yield Change(self.engine, note="Made at 6 bits.")


def case_of(desk: Desk, should_stop=lambda: False) -> Case:
    context = desk.context(should_stop)
    return Case(context, desk.probe.subject(context), PAIR, CAUSE, Shop(no_engine, no_findings, Path()))


def tried(desk: Desk, remedy, should_stop=lambda: False) -> Trial:
    case = case_of(desk, should_stop)
    TrialSearch(case, desk.probe, [remedy], Budget(1e6, Clock()), lambda n: case).run()
    (trial,) = read_trials(tuple(desk.samples.values()), desk.probe, desk.settings)
    return trial


@pytest.fixture
def failed() -> Desk:
    desk = Desk(WordEngine("exl2", noise=40.0))
    desk.run()
    assert desk.evaluate().diagnosis.cause == "weights_too_few_bits"
    return desk


def test_a_checkpoint_whose_vectors_find_the_passages_again_is_recommended(failed: Desk):
    before = failed.evaluate()
    trial = tried(failed, Checkpoint(WordEngine("better")))
    assert (trial.status, trial.questions, trial.facts.asked) == ("better", 48, 48)
    assert trial.facts.note == "Made at 6 bits."
    assert trial.effect is not None
    assert trial.effect.before == before.metrics[0].exl2
    assert trial.effect.after == before.metrics[0].fp16
    found = recommend([trial], State.FAIL)
    assert found is not None
    assert (found["candidate"], found["verified"]) == ("raise_bpw 6", False)
    assert failed.evaluate() == before, "trials change nothing of what the run found"
    assert {stage for stage, _, _ in failed.stages if stage.startswith("try:")} == set()


def test_one_that_finds_no_more_is_not(failed: Desk):
    assert tried(failed, Checkpoint(WordEngine("same", noise=40.0))).status == "unclear"


def test_a_stopped_trial_goes_on_and_is_told_once(failed: Desk):
    remedy = Checkpoint(WordEngine("better"))
    limit = len(failed.samples)
    embedded = remedy.engine.embedded
    first = tried(failed, remedy, lambda: bool(embedded) or len(failed.samples) > limit)
    assert first.status == "unfinished"
    assert tried(failed, remedy).status == "better"
    assert tried(failed, remedy).status == "better"
    assert remedy.applied == 2


@pytest.mark.parametrize("remedy", ["schema_lock", "citation_contract", "segment_chain"])
def test_changes_of_prompts_and_decoding_are_not_tried_on_a_search(failed: Desk, remedy: str):
    assert tried(failed, get_remedy(remedy)).status == "skipped"
