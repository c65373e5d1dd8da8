from __future__ import annotations

from dataclasses import replace

from tests.remedies.scripts import PromptEngine, chain_case, counting
from wfgy_triage.engines.base import GenerationRequest
from wfgy_triage.remedies.alternate_paths import PATHS, TEMPERATURE, AlternatePaths, VotingEngine


def request(name: str) -> GenerationRequest:
    return GenerationRequest(name, (65,), 20, seed=7)


def test_the_majority_is_given_under_the_request_s_own_id_from_one_call():
    engine = PromptEngine(lambda prompt, r: "wrong" if r.temperature == 0 else "right")
    found = {c.id: c.text for c in VotingEngine(engine, 3).generate([request("a/0/7"), request("b/0/7")])}
    assert found == {"a/0/7": "right", "b/0/7": "right"}
    (call,) = engine.calls
    assert len(call) == 6
    drawn = [(TEMPERATURE, 1_007), (TEMPERATURE, 2_007)]
    assert sorted((r.temperature, r.seed) for r in call[:3]) == [(0.0, 7), *drawn]


def test_runs_whose_seeds_follow_each_other_share_no_draw():
    engine = PromptEngine(lambda prompt, r: "x")
    asked = [replace(request(f"a/0/{n}"), seed=n, temperature=0.5) for n in range(8)]
    list(VotingEngine(engine, max(PATHS)).generate(asked))
    (call,) = engine.calls
    assert len({r.seed for r in call}) == len(call) == 8 * max(PATHS)


def test_without_a_majority_the_first_of_the_likeliest_counts():
    engine = PromptEngine(lambda prompt, r: f"answer {r.seed}")
    (found,) = VotingEngine(engine, 3).generate([request("a/0/7")])
    assert found.text == "answer 7"


def test_a_question_with_paths_missing_is_not_answered():
    engine = PromptEngine(lambda prompt, r: "x")
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 4

    assert len(list(VotingEngine(engine, 3).generate([request("a/0/7"), request("b/0/7")], stop))) == 1


def test_candidates_are_in_the_words_of_a_patch():
    case = chain_case(PromptEngine(counting(10, 99)), questions=1)
    assert [c.patch["paths.count"] for c in AlternatePaths().candidates(case)] == list(PATHS)
