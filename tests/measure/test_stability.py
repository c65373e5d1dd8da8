from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.measure.stability import RIGHT, RunAnswer, claim_of, convergent_share, label_run, label_runs
from wfgy_triage.measure.tension import Lambda

C, R, D, X = Lambda.CONVERGENT, Lambda.RECURSIVE, Lambda.DIVERGENT, Lambda.CHAOTIC


def run(claim: str, *sources: str, aborted: bool = False) -> RunAnswer:
    return RunAnswer((claim,), frozenset(sources), aborted)


def test_the_four_labels_by_hand():
    modal = run("4", "a")
    runs = [modal, modal, run("4", "b"), run("5", "a"), run("5", "b"), run("4", "a", aborted=True)]
    assert label_runs(runs) == (C, C, R, R, X, D)


def test_the_sample_of_the_lambda_page_has_a_rate_of_four_sixths():
    labels = (C, C, R, C, X, C)
    assert convergent_share(labels) == pytest.approx(0.667, abs=0.001)
    assert convergent_share(labels) < 0.80


def test_of_equally_frequent_answers_the_first_is_the_mode():
    assert label_runs([run("4", "a"), run("5", "b")]) == (C, X)


def test_without_a_usable_run_everything_is_divergent():
    assert label_runs([run("4", aborted=True)] * 3) == (D, D, D)
    assert label_run(run("4"), None) is D
    with pytest.raises(ValueError, match="no runs"):
        convergent_share(())


def test_answers_that_cite_nothing_share_no_source():
    assert label_run(run("5"), run("4")) is X
    assert label_run(run("4"), run("4")) is C
    assert label_run(run("4"), run("4", "a")) is R
    assert label_runs([run("4"), run("4"), run("5"), run("6", "a")]) == (C, C, X, X)


def test_nothing_can_be_held_against_an_answer_that_was_cut_off():
    for sources in ((), ("a",)):
        assert label_run(run("4", *sources), run("4", *sources, aborted=True)) is D


@pytest.mark.parametrize(
    ("answer", "claim"),
    [
        ("The well is 29 metres deep [S1].", RIGHT),
        ("It is 29 m deep", RIGHT),
        ("It is 31 metres deep [S2].", ("31",)),
        ("It is very deep.", ("deep", "very")),
        ("[S1]", ()),
    ],
)
def test_claims(answer: str, claim: tuple[str, ...]):
    assert claim_of(answer, "29 metres", ("29 m",)) == claim


RUNS = st.lists(
    st.builds(
        RunAnswer,
        st.sampled_from([("4",), ("5",), RIGHT]),
        st.frozensets(st.sampled_from("abc"), max_size=2),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(RUNS)
def test_the_modal_answer_is_convergent_and_equal_runs_have_equal_labels(runs):
    labels = label_runs(runs)
    assert len(labels) == len(runs)
    by_run = {}
    for r, label in zip(runs, labels, strict=True):
        assert by_run.setdefault(r, label) is label
        assert (label is D) == r.aborted
    assert (C in labels) == any(not r.aborted for r in runs)
