"""The factor on `none`: which of right and forced answers it weighs, on cases that can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tools.train_matcher import KNOWN, factor_on_none, taught
from wfgy_triage.complaints import NONE
from wfgy_triage.matching import Example, read_restated

CLASSES = [NONE, "json_breaks"]


def chosen(fitting: list[float], unrelated: list[float]) -> float:
    """The factor for complaints by the logarithm of the odds of their symptom against `none`."""
    held = [Example("", "json_breaks")] * len(fitting) + [Example("", NONE)] * len(unrelated)
    logits = np.array([[0.0, odds] for odds in (*fitting, *unrelated)])
    return math.log(factor_on_none(logits, CLASSES, held))


def test_where_one_factor_tells_all_apart_it_is_the_middle_one():
    assert chosen([3.0] * 10, [1.0] * 10) == pytest.approx(2.0, abs=0.06)


def test_of_factors_that_meet_both_goals_it_is_the_one_with_most_right_less_forced():
    # Above 2 one in twenty is lost, below 1 one in twenty is forced, between neither.
    assert 1.0 < chosen([2.0] + [4.0] * 19, [1.0] + [0.0] * 19) < 2.0


@pytest.mark.parametrize(
    ("fitting", "unrelated", "low", "high"),
    [
        # Half the unrelated ones forced is missed by 0.45, a fifth of the complaints lost by 0.1.
        ([1.0] * 2 + [3.0] * 8, [0.0] * 5 + [2.0] * 5, 2.0, 3.0),
        # A tenth of the unrelated ones forced is missed by 0.05, half of the complaints lost by 0.4.
        ([1.0] * 5 + [3.0] * 5, [0.0] * 9 + [2.0], 0.0, 1.0),
    ],
)
def test_where_the_goals_cannot_both_be_met_the_smaller_miss_is_taken(fitting, unrelated, low, high):
    assert low < chosen(fitting, unrelated) < high


def test_a_finished_file_is_taught_what_is_new_amid_a_part_of_what_it_knows():
    complaints, everything = read_restated(), taught(None)
    further = taught(1764)
    assert further[: len(complaints) - 1764] == complaints[1764:]
    known = further[len(complaints) - 1764 :]
    assert len(known) == sum(KNOWN.values())
    assert set(known) <= set(everything) - set(complaints[1764:])
