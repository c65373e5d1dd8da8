from __future__ import annotations

from dataclasses import replace

import pytest

from tests.remedies.bench import (
    BROKEN,
    GOLD,
    ORDER,
    WORKLOAD,
    FailedRun,
    Impossible,
    ScriptedRemedy,
    Slow,
    mended,
)
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.remedies.outcome import WORDS, recommend
from wfgy_triage.remedies.told import FP16_MORE
from wfgy_triage.remedies.trial import FIRST_LOST
from wfgy_triage.result import State


def test_a_change_that_mends_everything_is_confirmed_on_further_questions():
    bench = FailedRun()
    good = ScriptedRemedy("alternate_paths", {"alternate_paths 3": GOLD})
    (trial,) = bench.search(good)
    assert trial.status == "verified"
    assert trial.state is State.PASS
    # 20 right answers cannot show a rate of 0.98; the run's questions and enough further ones can.
    assert trial.questions > 180
    assert len(bench.side(FP16_MORE)) == trial.questions - 20
    assert trial.effect is not None
    assert (trial.effect.before, trial.effect.after, trial.effect.n) == (0.5, 1.0, 20)
    found = bench.recommended()
    assert (found["verified"], found["remedy"]) == (True, "alternate_paths")


def test_the_run_itself_is_judged_as_before():
    bench = FailedRun()
    before = bench.evaluate()
    bench.search(ScriptedRemedy("alternate_paths", {"a": GOLD}))
    assert bench.evaluate() == before


def test_the_search_ends_at_the_first_change_that_passes():
    bench = FailedRun()
    later = ScriptedRemedy("segment_chain", {"b": GOLD})
    trials = bench.search(ScriptedRemedy("alternate_paths", {"a": GOLD}), later)
    assert [t.facts.id for t in trials] == ["a"]
    assert later.engines == {}


def test_a_change_that_brings_nothing_back_is_given_up_early():
    bench = FailedRun()
    useless = ScriptedRemedy("alternate_paths", {"a": BROKEN})
    (trial,) = bench.search(useless)
    assert trial.status == "hopeless"
    assert len(useless.engines["a"].asked) == FIRST_LOST
    assert "0 of 8 lost answers" in trial.facts.reason
    assert bench.recommended()["remedy"] is None
    assert "did not help" in str(bench.recommended()["summary"])


def test_what_cannot_reach_the_gate_is_put_off_and_measured_to_the_end_when_nothing_passes():
    bench = FailedRun()
    some = ScriptedRemedy("alternate_paths", {"a": mended(5)})
    other = ScriptedRemedy("rebirth", {"b": BROKEN})
    first, second = bench.search(some, other)
    assert [first.facts.id, second.facts.id] == ["a", "b"]
    assert (first.facts.lost, first.facts.restored) == (8, 5)
    assert second.status == "hopeless"
    # Tried to the end after the other, so that its worth is known.
    assert first.status in ("better", "unclear")
    assert (first.questions, first.facts.settled) == (60, True)
    assert len(some.engines["a"].asked) == 60


def test_what_cannot_reach_the_gate_is_left_at_its_first_questions_when_another_change_passes():
    bench = FailedRun()
    some = ScriptedRemedy("alternate_paths", {"a": mended(5)})
    first, second = bench.search(some, ScriptedRemedy("rebirth", {"b": GOLD}))
    assert (first.status, second.status) == ("hopeless", "verified")
    assert len(some.engines["a"].asked) == FIRST_LOST
    assert "would be missed" in first.facts.reason


def test_a_partial_improvement_is_reported_as_what_it_is():
    bench = FailedRun()
    trials = bench.search(ScriptedRemedy("alternate_paths", {"a": mended(4 + 4)}))
    (trial,) = trials
    assert trial.status == "better"
    assert trial.state is State.FAIL or trial.state is State.INCONCLUSIVE
    found = bench.recommended()
    assert found["verified"] is False
    assert found["remedy"] == "alternate_paths"
    assert "did not pass" in str(found["summary"])


def test_a_change_that_breaks_a_guard_is_not_recommended():
    # Fits the schema, and says something else than was asked for.
    swapped = dict(GOLD)
    by_class: dict[str, list[str]] = {}
    for q in WORKLOAD.questions:
        by_class.setdefault(q.record_class, []).append(q.id)
    for ids in by_class.values():
        for here, there in zip(ids, [*ids[1:], ids[0]], strict=True):
            swapped[here] = GOLD[there]
    bench = FailedRun()
    (trial,) = bench.search(ScriptedRemedy("alternate_paths", {"a": swapped}))
    # No lost answer is of use to the schema alone; values are guarded.
    assert trial.state is not State.FAIL
    assert trial.status == "broke"
    assert any(g.id == "value_match_rate" and g.better is False for g in trial.guards)
    assert bench.recommended()["remedy"] is None


def test_what_cannot_be_tried_says_why_and_loses_nothing():
    bench = FailedRun()
    full = ScriptedRemedy("segment_chain", {"b": GOLD})
    full.fails = PrerequisiteError("The disk is full.", "Make room.")
    trials = bench.search(Impossible("alternate_paths", {}), full, ScriptedRemedy("rebirth", {"c": BROKEN}))
    assert [(t.status, t.facts.reason) for t in trials][:2] == [
        ("skipped", "Not with these models."),
        ("skipped", "The disk is full. Make room."),
    ]
    assert trials[2].status == "hopeless"
    assert [t.facts.order for t in trials] == sorted({t.facts.order for t in trials})


def test_time_over_leaves_what_was_tried():
    bench = FailedRun()

    class Slow(ScriptedRemedy):
        def apply(self, case, candidate):
            bench.clock.now += 100
            return super().apply(case, candidate)

    trials = bench.search(Slow("alternate_paths", {"a": mended(8), "b": GOLD}), seconds=90)
    assert [t.status for t in trials] == ["better", "skipped"]
    assert "time" in trials[1].facts.reason


def test_confirming_waits_for_no_longer_than_there_is_time():
    bench = FailedRun()

    slow = ScriptedRemedy("alternate_paths", {"a": GOLD})
    slow.engines["a"] = Slow(GOLD, bench.clock)
    later = ScriptedRemedy("segment_chain", {"b": GOLD})
    # The dearer change would need the same time to be confirmed, so it is not tried.
    (trial,) = bench.search(slow, later, seconds=20)
    assert trial.questions == 20
    assert trial.status == "better"
    assert "did not allow" in trial.facts.reason


@pytest.mark.parametrize("at", [3, 12, 60])
def test_a_stopped_search_goes_on_where_it_was(at: int):
    bench, whole = FailedRun(), FailedRun()
    whole.search(ScriptedRemedy("alternate_paths", {"a": mended(1), "b": GOLD}))
    before = len(bench.samples)

    def stop() -> bool:
        return len(bench.samples) >= before + at

    remedy = ScriptedRemedy("alternate_paths", {"a": mended(1), "b": GOLD})
    cut = bench.search(remedy, should_stop=stop)
    assert cut[-1].status in ("unfinished", "hopeless")
    bench.search(remedy)
    assert [t.to_json() for t in bench.trials()] == [t.to_json() for t in whole.trials()]
    assert len(remedy.engines["b"].asked) == len(set(remedy.engines["b"].asked))


def test_intervals_are_corrected_for_the_number_of_trials():
    one, two = FailedRun(), FailedRun()
    (single,) = one.search(ScriptedRemedy("alternate_paths", {"a": mended(9)}))
    first, second = two.search(ScriptedRemedy("alternate_paths", {"a": mended(9), "b": mended(9)}))
    assert single.effect is not None
    assert first.effect is not None
    assert first.effect.level == pytest.approx(0.975)
    assert first.effect.interval[0] < single.effect.interval[0]
    assert second.effect == first.effect


def test_every_status_has_words():
    assert all(WORDS.values())


def test_what_meets_the_gate_on_few_changes_is_called_promising():
    lost = [q for q in ORDER[:20] if BROKEN[q] != GOLD[q]][:5]
    few = {q: BROKEN[q] if q in lost else GOLD[q] for q in GOLD}
    bench = FailedRun(few)
    slow = ScriptedRemedy("alternate_paths", {"a": few, "b": GOLD})
    slow.engines["b"] = Slow(GOLD, bench.clock)
    hopeless, trial = bench.search(slow, seconds=20)
    assert (hopeless.status, trial.status) == ("hopeless", "promising")
    assert (trial.effect.before, trial.effect.after) == (0.75, 1.0)
    assert trial.effect.interval[0] <= 0
    found = bench.recommended()
    assert (found["remedy"], found["verified"]) == ("alternate_paths", False)
    assert "too few to verify" in str(found["summary"])


def test_answers_that_cannot_be_judged_are_what_keeps_a_change_from_being_verified():
    lost = [q for q in ORDER[:20] if BROKEN[q] != GOLD[q]][:5]
    bench = FailedRun({q: BROKEN[q] if q in lost else GOLD[q] for q in GOLD})
    # One of the further questions is cut off where it may still have come right.
    late = next(q for q in ORDER[20:] if GOLD[q].startswith("{"))
    cut = {**GOLD, late: GOLD[late][:-1] + " " * 5000}
    (trial,) = bench.search(ScriptedRemedy("alternate_paths", {"a": cut}))
    assert (trial.questions, trial.state) == (183, State.INCONCLUSIVE)
    assert "1 of 183 questions could not be judged" in str(bench.recommended()["summary"])
    # The same where the effect on the run's own questions is no more than chance.
    trial = replace(trial, status="promising")
    found = recommend([trial], State.FAIL)
    assert found is not None
    assert "that is not verified. 1 of 183" in str(found["summary"])
