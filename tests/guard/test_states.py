"""Rates against gates: when one is left, when it is back, and how often a healthy one rings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from scipy import stats

from wfgy_triage.guard.states import LEFT, RETURNED, Alarms, gate_states
from wfgy_triage.guard.watched import load_watched
from wfgy_triage.result import State
from wfgy_triage.store.guard import GuardedAnswer

WATCHED = load_watched()
GOOD = GuardedAnswer(datetime.now(UTC), "m", "chat", "json", "ok", parse_ok=True, schema_ok=True)
BAD = replace(GOOD, verdict="failed", failure="schema_mismatch", schema_ok=False)
CUT = replace(GOOD, verdict="failed", failure="truncated", parse_ok=None, schema_ok=None)


def state_of(gate: str, answers):
    return next(s for s in gate_states(answers, WATCHED) if s.watch.gate.id == gate)


def test_bounds_are_one_sided():
    state = state_of("json_schema_valid", [GOOD] * 190 + [BAD] * 10)
    low, high = state.judgement.interval.bounds
    # Clopper-Pearson by its definition: the tail beyond each bound is 1 % .
    assert stats.binom.sf(189, 200, low) == pytest.approx(0.01, rel=1e-3)
    assert stats.binom.cdf(190, 200, high) == pytest.approx(0.01, rel=1e-3)
    assert state.value == 0.95


@pytest.mark.parametrize(
    ("bad", "expected"),
    [(0, State.INCONCLUSIVE), (9, State.INCONCLUSIVE), (10, State.FAIL), (40, State.FAIL)],
)
def test_left_when_the_interval_lies_beyond(bad, expected):
    assert state_of("json_schema_valid", [GOOD] * (200 - bad) + [BAD] * bad).state is expected
    # 0.98 itself would show so many failures in at most 1 % of windows.
    assert (stats.binom.sf(bad - 1, 200, 0.02) <= 0.01) == (expected is State.FAIL)


def test_within_needs_enough_answers():
    assert state_of("json_schema_valid", [GOOD] * 230).state is State.PASS
    assert state_of("json_schema_valid", [GOOD] * 4).state is State.NOT_MEASURED
    assert state_of("coverage", [GOOD] * 200).state is State.NOT_MEASURED


def test_answers_that_were_cut_off_may_be_either():
    assert state_of("json_schema_valid", [GOOD] * 100 + [CUT] * 100).state is State.INCONCLUSIVE
    assert state_of("json_schema_valid", [GOOD] * 100 + [CUT] * 100).answers == 100


def test_what_says_nothing_about_the_model_is_left_out():
    refused = replace(GOOD, verdict="unjudged", failure="schema_refused", parse_ok=None, schema_ok=None)
    assert state_of("json_schema_valid", [GOOD] * 230 + [refused] * 100).state is State.PASS


def test_means_are_judged_as_means():
    cites = replace(GOOD, kind="citations", parse_ok=None, schema_ok=None, citation_ok=True)
    low = [replace(cites, coverage=c) for c in (0.4, 0.5, 0.6) * 20]
    assert state_of("coverage", low).state is State.FAIL
    assert state_of("coverage", [replace(cites, coverage=c) for c in (0.9, 1.0) * 20]).state is State.PASS


def test_hysteresis():
    alarms = Alarms()

    def step(good: int, bad: int):
        states = gate_states([GOOD] * good + [BAD] * bad, WATCHED)
        return [(s.watch.gate.id, change) for s, change in alarms.step(states)]

    assert step(191, 9) == []
    assert step(190, 10) == [("json_schema_valid", LEFT)]
    assert step(190, 10) == []
    assert step(194, 6) == []  # no longer clearly outside, not inside either
    assert alarms.left == {"json_schema_valid"}
    assert step(2, 0) == []  # too few to say anything
    assert step(196, 4) == [("json_schema_valid", RETURNED)]
    assert step(195, 5) == []
    assert Alarms(["json_schema_valid"]).step(gate_states([BAD] * 50, WATCHED)) == ()
