from __future__ import annotations

import re

import pytest

from tests.remedies.scripts import CHAINS, PromptEngine, case_of, chain_case, counting, right_steps
from wfgy_triage.probes.json_breaks import PROBE as JSON
from wfgy_triage.remedies.base import Case, NotApplicableError
from wfgy_triage.remedies.rebirth import MOST_ROUNDS, RETRIES, TEMPERATURE, Rebirth


def tens(case: Case, count: int = 3):
    return [i.request for i in case.subject.items if CHAINS[i.question].kind.name == "tens"][:count]


def engine_of(case: Case):
    remedy = Rebirth()
    (candidate,) = remedy.candidates(case)
    with remedy.apply(case, candidate) as change:
        return change.engine


def test_a_chain_that_sticks_goes_on_from_its_last_good_step():
    engine = PromptEngine(counting(10, breaks_after=20))
    case = chain_case(engine)
    asked = tens(case)
    found = {c.id: c for c in engine_of(case).generate(asked)}
    assert set(found) == {r.id for r in asked}
    assert {right_steps(case, c) for c in found.values()} == {48}
    # 20 + 20 + 8 steps: one call and two tries, each for all chains at once.
    assert [len(call) for call in engine.calls] == [3, 3, 3]
    for completion in found.values():
        assert engine.decode(completion.token_ids) == completion.text


def test_the_first_call_is_the_run_s_own_and_a_try_is_another_draw():
    engine = PromptEngine(counting(10, breaks_after=20))
    case = chain_case(engine)
    (asked,) = tens(case, 1)
    list(engine_of(case).generate([asked]))
    first, second, third = (call[0] for call in engine.calls)
    assert first == asked
    assert (second.temperature, second.seed, third.seed) == (TEMPERATURE, 1, 2)
    chain = CHAINS[asked.id.split("/")[0]]
    assert engine.decode(second.prompt_ids).endswith(chain.gold_steps[19])
    # What is written already is not paid for again.
    assert second.max_new_tokens == asked.max_new_tokens - len("".join(chain.gold_steps[:20]))


def test_a_chain_that_shows_no_sign_is_left_alone():
    engine = PromptEngine(counting(7, breaks_after=99))  # wrong from the first step, but not visibly
    case = chain_case(engine)
    found = list(engine_of(case).generate(tens(case)))
    assert len(engine.calls) == 1
    assert {right_steps(case, c) for c in found} == {0}


def test_after_three_tries_at_a_checkpoint_the_last_stays():
    engine = PromptEngine(counting(10, breaks_after=0))  # never gets anywhere
    case = chain_case(engine)
    found = list(engine_of(case).generate(tens(case)))
    assert len(engine.calls) == 1 + RETRIES
    assert all(c.text for c in found)


def test_calls_are_bounded_however_often_a_chain_collapses():
    engine = PromptEngine(counting(10, breaks_after=1))  # one step further each time
    case = chain_case(engine)
    found = list(engine_of(case).generate(tens(case)))
    assert len(engine.calls) == MOST_ROUNDS
    assert {right_steps(case, c) for c in found} == {MOST_ROUNDS}


def test_only_the_collapsed_chains_are_asked_again():
    first = []

    def answer(prompt, request):
        first.append(request.id)
        healthy = request.id == first[0]
        return counting(10, 99 if healthy else 20)(prompt, request)

    engine = PromptEngine(answer)
    case = chain_case(engine)
    list(engine_of(case).generate(tens(case)))
    assert [len(call) for call in engine.calls] == [3, 2, 2]


def test_a_chain_that_ends_early_goes_on():
    def short(prompt, request):
        text = counting(10, 99)(prompt, request)
        return "".join(re.findall(r" \d+,", text)[:30])

    engine = PromptEngine(short)
    case = chain_case(engine)
    found = list(engine_of(case).generate(tens(case)))
    assert {right_steps(case, c) for c in found} == {48}
    assert len(engine.calls) == 2


def test_a_stop_drops_what_is_unfinished():
    engine = PromptEngine(counting(10, breaks_after=20))
    case = chain_case(engine)
    assert list(engine_of(case).generate(tens(case), lambda: len(engine.calls) >= 2)) == []
    assert len(engine.calls) == 2


def test_questions_that_are_no_chains_are_refused():
    with pytest.raises(NotApplicableError, match="no long chains"):
        Rebirth().candidates(case_of(JSON, PromptEngine(lambda p, r: "")))
