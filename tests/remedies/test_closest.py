"""Where nothing passes: which change comes closest is named, and settled on further questions."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.probes.fakes import ScriptedEngine
from tests.remedies.bench import BROKEN, GOLD, ORDER, FailedRun, ScriptedRemedy, Slow, mended
from wfgy_triage.remedies.outcome import recommend
from wfgy_triage.remedies.told import EXL2_MORE
from wfgy_triage.result import State


def test_where_nothing_helped_measurably_the_closest_is_named_and_what_would_tell():
    lost = [q for q in ORDER[:20] if BROKEN[q] != GOLD[q]]
    answered = {q: BROKEN[q] if q in lost[:6] else GOLD[q] for q in GOLD}
    bench = FailedRun(answered)
    remedies = {
        "a": {**answered, lost[0]: GOLD[lost[0]]},
        "b": {**answered, **{q: GOLD[q] for q in lost[:5]}},
    }
    first, second = bench.search(ScriptedRemedy("alternate_paths", remedies))
    trials = [replace(t, status="unclear") for t in (first, second)]
    assert [(t.facts.restored, t.facts.lost) for t in trials] == [(1, 6), (5, 6)]
    found = recommend(trials, State.FAIL)
    assert found is not None
    assert (found["candidate"], found["verified"]) == (None, False)
    said = str(found["summary"])
    assert said.startswith("None of the 2 changes that were tried helped measurably. Closest was “")
    assert f"“{second.facts.label}”. It brings back 5 of 6 lost answers" in said
    none = recommend([trials[0]], State.FAIL)
    assert none is not None
    assert none["summary"] == "The one change that was tried did not help measurably."


def close_call() -> tuple[dict[str, str], dict[str, str]]:
    """EXL2 as it is and with a change: of the run's 20 questions 3 come back and one is lost, of the next 40 ten do."""
    lost = {*ORDER[:3], *ORDER[20:30]}
    before = {q: GOLD[q].replace("}", "", 1) if q in lost else GOLD[q] for q in GOLD}
    after = {**GOLD, ORDER[10]: GOLD[ORDER[10]].replace("}", "", 1)}
    return before, after


def test_what_comes_closest_is_settled_on_questions_that_had_no_part_in_choosing_it():
    before, after = close_call()
    bench = FailedRun(before)
    (trial,) = bench.search(ScriptedRemedy("alternate_paths", {"a": after}))
    assert (trial.status, trial.questions) == ("better", 60)
    assert trial.effect is not None
    assert (trial.effect.before, trial.effect.after, trial.effect.n) == (0.75, 1.0, 40)
    assert trial.effect.level == pytest.approx(0.95), "one change was picked, so nothing is corrected"
    assert {s.key.question for s in bench.side(EXL2_MORE)} == set(ORDER[20:60])
    assert "40 further questions, which had no part" in trial.facts.note
    assert bench.recommended()["candidate"] == "a"
    # The run itself is judged on its own questions, as before.
    assert len(bench.side("exl2")) == 20


def test_nothing_is_settled_without_time_or_where_a_change_is_better_already():
    before, after = close_call()
    short = FailedRun(before)
    slow = ScriptedRemedy("alternate_paths", {"a": after})
    slow.engines["a"] = Slow(after, short.clock)
    (trial,) = short.search(slow, seconds=8)
    assert trial.status == "unclear"
    assert short.side(EXL2_MORE) == []
    assert "Closest was" in str(short.recommended()["summary"])
    half = FailedRun(before)
    slow.engines["a"] = Slow(after, half.clock)
    (trial,) = half.search(slow, seconds=17)
    assert len(half.side(EXL2_MORE)) == 20, "time for as many questions as the run had, and no more"
    other = FailedRun()
    other.search(ScriptedRemedy("alternate_paths", {"a": mended(9)}))
    assert other.side(EXL2_MORE) == []


def test_what_making_a_change_took_is_no_part_of_what_a_further_question_takes():
    before, after = close_call()
    bench = FailedRun(before)

    class MadeFirst(ScriptedRemedy):
        """Takes a minute to make, once."""

        @contextmanager
        def apply(self, case, candidate):
            bench.clock.now += 0 if candidate.id in self.engines else 60
            with super().apply(case, candidate) as change:
                yield change

    made = MadeFirst("raise_bpw", {"a": after})
    (trial,) = bench.search(made, seconds=100)
    assert trial.facts.seconds == 60
    assert (trial.status, trial.questions) == ("better", 60)


@pytest.mark.parametrize("stopped", [0, 2, 11, 15])
def test_what_an_earlier_pass_answered_makes_no_question_seem_quick(stopped: int):
    """There is time for 20 further questions on three sides, not for 40; a pass before may have asked some already."""
    before, after = close_call()
    bench = FailedRun(before)

    class Steady(ScriptedEngine):
        def generate(self, requests, should_stop=None):
            for completion in super().generate(requests, should_stop):
                bench.clock.now += 0.2
                yield completion

    slow, there = ScriptedRemedy("alternate_paths", {"a": after}), len(bench.samples)
    slow.engines["a"] = Steady(after)
    if stopped:
        bench.search(slow, seconds=17, should_stop=lambda: len(bench.samples) >= there + stopped)
    bench.search(slow, seconds=17)
    assert len(bench.side(EXL2_MORE)) == 20


@pytest.mark.parametrize("at", [30, 50, 70])
def test_a_search_stopped_while_it_settles_goes_on_there(at: int):
    before, after = close_call()
    whole, bench = FailedRun(before), FailedRun(before)
    whole.search(ScriptedRemedy("alternate_paths", {"a": after}))
    remedy, there = ScriptedRemedy("alternate_paths", {"a": after}), len(bench.samples)
    bench.search(remedy, should_stop=lambda: len(bench.samples) >= there + at)
    assert len(bench.samples) < len(whole.samples)
    bench.search(remedy)
    assert [t.to_json() for t in bench.trials()] == [t.to_json() for t in whole.trials()]
    bench.search(remedy)
    assert len(remedy.engines["a"].asked) == len(set(remedy.engines["a"].asked)), "nothing is asked twice"


def test_of_several_that_brought_everything_back_the_one_with_most_right_answers_is_closest():
    before, after = close_call()
    worse = {**after, ORDER[11]: GOLD[ORDER[11]].replace("}", "", 1)}
    bench = FailedRun(before)
    trials = bench.search(ScriptedRemedy("alternate_paths", {"a": worse, "b": after, "c": after}))
    assert [t.facts.restored for t in trials] == [3, 3, 3]
    assert [t.facts.settled for t in trials] == [False, True, False], (
        "of equals the cheaper, which comes first"
    )
