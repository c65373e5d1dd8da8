from __future__ import annotations

import pytest

from tests.remedies.scripts import CHAINS, PromptEngine, case_of, chain_case, counting, paying, right_steps
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.probes.json_breaks import PROBE as JSON
from wfgy_triage.remedies.base import Case, Change, NotApplicableError
from wfgy_triage.remedies.segment_chain import SEGMENTS, SegmentChain


def requests(case: Case, kind: str):
    return [i.request for i in case.subject.items if CHAINS[i.question].kind.name == kind]


def change(case: Case, steps: int) -> Change:
    remedy = SegmentChain()
    candidate = next(c for c in remedy.candidates(case) if c.patch["chain.segment_steps"] == steps)
    with remedy.apply(case, candidate) as found:
        return found


def test_a_chain_that_breaks_in_one_go_is_right_in_segments():
    engine = PromptEngine(counting(10, breaks_after=12))
    case = chain_case(engine)
    asked = requests(case, "tens")
    assert len(asked) > 1
    whole = {c.id: right_steps(case, c) for c in engine.generate(asked)}
    assert set(whole.values()) == {12}
    engine.calls.clear()
    found = {c.id: c for c in change(case, 10).engine.generate(asked)}
    assert set(found) == {r.id for r in asked}
    assert {right_steps(case, c) for c in found.values()} == {48}
    # One call a round for all chains, and no more rounds than 48 steps in tens need.
    assert [len(call) for call in engine.calls] == [len(asked)] * 5
    for completion in found.values():
        assert engine.decode(completion.token_ids) == completion.text
        assert len(completion.logprobs) == len(completion.token_ids)


def test_segments_that_are_longer_than_the_model_lasts_break():
    case = chain_case(PromptEngine(counting(10, breaks_after=12)))
    found = list(change(case, 20).engine.generate(requests(case, "tens")))
    # The model loses the thread within the first segment, and the bridge states what it said itself.
    assert {right_steps(case, c) for c in found} == {12}


def test_the_first_segment_is_asked_with_the_very_tokens_of_the_run():
    engine = PromptEngine(counting(10, breaks_after=99))
    case = chain_case(engine)
    (asked, *_) = requests(case, "tens")
    list(change(case, 20).engine.generate([asked]))
    first, second = engine.calls[0][0], engine.calls[1][0]
    assert first.prompt_ids == asked.prompt_ids
    chain = CHAINS[asked.id.split("/")[0]]
    prompt = engine.decode(second.prompt_ids)
    assert prompt.startswith(chain.prompt)
    # The last step of the first segment, as the model stated it, is where the second begins.
    assert prompt.endswith(chain.gold_steps[19])
    assert chain.gold_steps[5] not in prompt.removeprefix(chain.prompt)


def test_numbering_goes_on_and_the_horizon_ends_the_chain():
    engine = PromptEngine(paying(breaks_after=12))
    case = chain_case(engine)
    asked = requests(case, "ledger")
    assert asked
    found = list(change(case, 10).engine.generate(asked))
    for completion in found:
        chain = CHAINS[completion.id.split("/")[0]]
        assert completion.text.strip() == chain.gold_text.strip()
        assert completion.finish_reason == "stop"


def test_a_segment_without_a_state_ends_the_chain():
    engine = PromptEngine(counting(10, breaks_after=14, then="prose"))
    case = chain_case(engine)
    (asked, *_) = requests(case, "tens")
    engine.answer = lambda prompt, r: " the end is near,"
    (completion,) = change(case, 10).engine.generate([asked])
    assert len(engine.calls) == 1
    assert right_steps(case, completion) == 0
    # There was room for more: what is missing counts as wrong, not as unknown.
    item = next(i for i in case.subject.items if i.request_id == asked.id)
    assert case.subject.judge(item, completion)["valid"] is False


def test_a_model_that_ends_a_segment_early_is_asked_again_from_there():
    engine = PromptEngine(lambda prompt, r: counting(10, breaks_after=99)(prompt, r)[:35].rpartition(",")[0])
    case = chain_case(engine)
    (asked, *_) = requests(case, "tens")
    (completion,) = change(case, 10).engine.generate([asked])
    assert right_steps(case, completion) >= 40
    assert len(engine.calls) <= 10


def test_a_stop_drops_what_is_unfinished():
    engine = PromptEngine(counting(10, breaks_after=99))
    case = chain_case(engine)
    asked = requests(case, "tens")
    found = list(change(case, 10).engine.generate(asked, lambda: len(engine.calls) >= 2))
    assert found == []
    assert len(engine.calls) == 2


def test_candidates_are_in_the_words_of_a_patch():
    case = chain_case(PromptEngine(counting(10, 99)))
    assert [c.patch for c in SegmentChain().candidates(case)] == [
        {"chain.segment_steps": n} for n in SEGMENTS
    ]
    assert max(SEGMENTS) <= 20


def test_questions_that_are_no_chains_are_refused():
    with pytest.raises(NotApplicableError, match="no long chains"):
        SegmentChain().candidates(case_of(JSON, PromptEngine(lambda p, r: "")))


def test_chains_beyond_those_of_the_run_can_be_asked_too():
    # A change is confirmed on further chains of the same set.
    engine = PromptEngine(counting(10, breaks_after=99))
    case = chain_case(engine, questions=8)
    asked = {i.question for i in case.subject.items}
    further = next(c for c in CHAINS.values() if c.kind.name == "tens" and c.id not in asked)
    request = GenerationRequest(f"{further.id}/0/0", engine.encode(further.prompt), 300)
    (completion,) = change(case, 20).engine.generate([request])
    assert completion.text == further.gold_text
