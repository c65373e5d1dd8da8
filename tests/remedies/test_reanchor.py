from __future__ import annotations

import re

import pytest

from tests.remedies.scripts import CHAINS, PromptEngine, TwoWords, case_of, chain_case, right_steps
from tests.remedies.test_chain_trials import Run
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.citations_missing import PROBE as CITATIONS
from wfgy_triage.remedies.base import NotApplicableError
from wfgy_triage.remedies.reanchor import Reanchor

WORD = "Count"
"""Stands in the beginning of the chains of tens and in none of their steps."""
COUNTED = [c for c in CHAINS.values() if c.kind.name == "tens" and c.kind.level == "standard"]


def drifting(prompt: str, request) -> str:
    """Right for some steps behind the beginning, then stuck, until the beginning stands at the end again."""
    tail = prompt.rpartition(WORD)[2]
    value, text = int(re.findall(r"\d+", prompt)[-1]), ""
    steps = tail.count(",")
    for _ in range(60):
        value += 10 if steps < 25 else 0
        steps += 1
        text += f" {value},"
    return text


@pytest.fixture(scope="module")
def samples():
    return tuple(Run(ProbeSettings(questions=8)).samples.values())


def far(word: str = WORD) -> Reanchor:
    return Reanchor(lambda: TwoWords(word))


def test_where_a_chain_drifts_its_beginning_is_put_back(samples):
    engine = PromptEngine(drifting)
    case = chain_case(engine, samples)
    remedy = far()
    (candidate,) = remedy.candidates(case)
    assert candidate.patch == {"chain.anchor_every": 10, "chain.anchor_distance": 0.60}
    asked = [i.request for i in case.subject.items if i.question in {c.id for c in COUNTED[:3]}]
    with remedy.apply(case, candidate) as change:
        found = list(change.engine.generate(asked))
    assert [len(call) for call in engine.calls] == [3] * 5
    assert {c.id for c in found} == {r.id for r in asked}
    second = engine.prompts(1)[0]
    chain = next(c for c in COUNTED if second.startswith(c.prompt))
    written = "".join(chain.gold_steps[:10])
    # The whole text stays; behind it stand the beginning and the last steps.
    assert second.startswith(chain.prompt + written)
    assert second.count(chain.prompt) == 2
    assert second.endswith(chain.gold_steps[9])
    assert {right_steps(case, c) for c in found} == {48}


def test_where_nothing_drifts_nothing_is_put_back(samples):
    engine = PromptEngine(drifting)
    case = chain_case(engine, samples)
    remedy = far()
    (candidate,) = remedy.candidates(case)
    near = far(",")  # stands in beginning and steps alike
    asked = [i.request for i in case.subject.items if i.question == COUNTED[0].id]
    with near.apply(case, candidate) as change:
        list(change.engine.generate(asked))
    assert all(p.count(WORD) == 1 for call in range(len(engine.calls)) for p in engine.prompts(call))


def test_a_run_without_drift_is_refused_with_the_largest_distance(samples):
    with pytest.raises(NotApplicableError, match=r"largest is 0\.00"):
        far("no such word").candidates(chain_case(PromptEngine(drifting), samples))


def test_a_run_without_lost_chains_is_refused():
    with pytest.raises(NotApplicableError, match="none is long enough"):
        far().candidates(chain_case(PromptEngine(drifting)))


def test_short_answers_are_refused_with_their_length():
    case = case_of(CITATIONS, PromptEngine(drifting), questions=3)
    longest = max(i.max_new_tokens for i in case.subject.items)
    with pytest.raises(NotApplicableError) as refused:
        far().candidates(case)
    assert (f"at most {longest} tokens" in str(refused.value)) == (longest < 200)
