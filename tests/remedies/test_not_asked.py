"""Questions that are not answered with a change: none of them counts as brought back, nor is the rest taken for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.probes.fakes import ScriptedEngine
from tests.remedies.bench import BROKEN, GOLD, ORDER, FailedRun, ScriptedRemedy, mended
from wfgy_triage.remedies.registry import get_remedy
from wfgy_triage.result import State


def short(answers: dict[str, str], context: int) -> ScriptedRemedy:
    """A change whose engine holds no more than so many tokens."""
    remedy = ScriptedRemedy("alternate_paths", {"a": answers})
    engine = remedy.engines["a"] = ScriptedEngine(answers)
    engine.info = replace(engine.info, max_context=context)
    return remedy


def needed(bench: FailedRun, questions: int = 20) -> dict[str, int]:
    """Tokens of each question with its answer."""
    items = bench.case(questions=questions).subject.items
    return {i.question: len(i.prompt_ids) + i.max_new_tokens for i in items}


@pytest.mark.parametrize("fitting", [0, 12, 19])
def test_a_change_with_which_not_all_fit_is_not_tried_and_says_so(fitting: int):
    bench = FailedRun()
    tokens = [0, *sorted(needed(bench).values())]
    remedy = short(GOLD, tokens[fitting])
    (trial,) = bench.search(remedy)
    left = sum(n > tokens[fitting] for n in tokens)
    assert (trial.status, trial.facts.restored, trial.state) == ("skipped", 0, None)
    words = f"EXL2's context of {tokens[fitting]:,} tokens is too short for {left} of 20 questions"
    assert words in trial.facts.reason
    assert remedy.engines["a"].asked == [], "nothing is asked in vain"
    assert bench.recommended()["summary"] == "No change could be tried on this pair."


def test_a_frame_is_held_against_the_engine_that_is_asked_in_it():
    bench = FailedRun()
    bench.exl2.info = replace(bench.exl2.info, max_context=max(needed(bench).values()))
    trials = bench.search(get_remedy("citation_contract"))
    assert {t.status for t in trials} == {"skipped"}
    assert all("EXL2's context of" in t.facts.reason for t in trials)


def test_further_questions_that_do_not_fit_leave_what_the_runs_own_showed():
    bench = FailedRun()
    context = max(needed(bench).values())
    assert max(needed(bench, 200).values()) > context
    (trial,) = bench.search(short(GOLD, context))
    assert (trial.status, trial.state, trial.questions) == ("better", State.INCONCLUSIVE, 20)
    assert trial.facts.reason.startswith("A PASS would need about 163 more questions. EXL2's context of ")


def test_what_a_stop_left_unanswered_was_not_brought_back():
    for answers, restored in ((GOLD, 3), (mended(1), 1)):
        bench = FailedRun()
        stop, remedy = len(bench.samples) + 3, ScriptedRemedy("alternate_paths", {"a": answers})
        (trial,) = bench.search(remedy, should_stop=lambda b=bench, n=stop: len(b.samples) >= n)
        assert (trial.status, trial.facts.restored, trial.facts.lost) == ("unfinished", restored, 8)


@pytest.mark.parametrize("dropped", [ORDER[1], ORDER[2]])
def test_an_engine_that_leaves_out_answers_shows_nothing(dropped: str):
    """One of the lost questions, or one of the others: what was answered is not taken for all."""

    class Dropping(ScriptedEngine):
        def generate(self, requests, should_stop=None) -> Iterator:
            kept = [r for r in requests if r.id.partition("/")[0] != dropped]
            yield from super().generate(kept, should_stop)

    assert BROKEN[ORDER[1]] != GOLD[ORDER[1]]
    assert BROKEN[ORDER[2]] == GOLD[ORDER[2]]
    bench = FailedRun()
    remedy = ScriptedRemedy("alternate_paths", {"a": GOLD})
    remedy.engines["a"] = Dropping(GOLD)
    (trial,) = bench.search(remedy)
    assert (trial.status, trial.state) == ("skipped", None)
    assert "EXL2 did not answer 1 of " in trial.facts.reason
