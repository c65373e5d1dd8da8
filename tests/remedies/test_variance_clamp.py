from __future__ import annotations

from dataclasses import replace

import pytest

from tests.remedies.scripts import PromptEngine, chain_case, counting
from wfgy_triage.remedies.base import Case, NotApplicableError
from wfgy_triage.remedies.variance_clamp import BAND, VarianceClamp


def asked_at(*temperatures: float) -> Case:
    case = chain_case(PromptEngine(counting(10, 99)))
    items = tuple(replace(case.subject.items[0], temperature=t) for t in temperatures)
    return replace(case, subject=replace(case.subject, items=items))


def test_hot_questions_are_asked_in_the_band_and_cool_ones_as_before():
    case = asked_at(1.0, 0.3, 0.0)
    remedy = VarianceClamp()
    (candidate,) = remedy.candidates(case)
    with remedy.apply(case, candidate) as change:
        found = [change.restate(i) for i in case.subject.items]
        assert change.engine is case.context.exl2
    assert BAND[0] <= found[0].temperature <= BAND[1]
    assert found[0].temperature == candidate.patch["sampler.temperature"]
    assert found[1:] == list(case.subject.items[1:])
    # Question, wording and seed stay, so that the answers can be paired.
    assert replace(found[0], temperature=1.0) == case.subject.items[0]


@pytest.mark.parametrize(
    ("temperatures", "reason"), [((0.0, 0.0), "likeliest word"), ((0.4, 0.2), "0.4 already")]
)
def test_where_nothing_is_drawn_hot_it_says_so(temperatures, reason):
    with pytest.raises(NotApplicableError, match=reason):
        VarianceClamp().candidates(asked_at(*temperatures))
