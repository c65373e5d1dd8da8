"""The JUnit file: what a CI server reads, and that no text can break it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.browser.scripted import sample_result
from tests.report.sessions_made import HOSTILE, made_session
from wfgy_triage.report.junit import junit_xml
from wfgy_triage.result import Gate, Metric, State
from wfgy_triage.store.records import RunRecord, RunStatus


def recorded(state: State, **changes) -> RunRecord:
    result = replace(sample_result("0abc", state), **changes)
    return replace(made_session().record, result=result.to_json(), state=str(state), id="0abc")


def read(record: RunRecord) -> tuple[ElementTree.Element, list[ElementTree.Element]]:
    suite = ElementTree.fromstring(junit_xml(record)).find("testsuite")  # noqa: S314 - written here
    assert suite is not None
    return suite, suite.findall("testcase")


def outcome(case: ElementTree.Element) -> str:
    return next((tag for tag in ("failure", "skipped", "error") if case.find(tag) is not None), "passed")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (State.PASS, "passed"),
        (State.FAIL, "failure"),
        (State.INCONCLUSIVE, "skipped"),
        (State.NOT_MEASURED, "skipped"),
    ],
)
def test_each_state(state: State, said: str):
    suite, cases = read(recorded(state))
    assert [c.get("name") for c in cases] == ["verdict", "schema_valid_rate"]
    assert [outcome(c) for c in cases] == [said, said]
    counts = {k: int(suite.get(k) or 0) for k in ("tests", "failures", "errors", "skipped")}
    assert counts == {
        "tests": 2,
        "failures": 2 * (said == "failure"),
        "errors": 0,
        "skipped": 2 * (said == "skipped"),
    }
    rule = ElementTree.tostring(cases[1], encoding="unicode")
    assert "73.7 %" in rule
    assert "98 %" in rule


def test_a_reason_is_given_where_there_is_no_verdict():
    _, cases = read(recorded(State.INCONCLUSIVE))
    skipped = cases[1].find("skipped")
    assert skipped is not None
    assert "About 60 questions would decide it." in (skipped.get("message") or "")


def test_one_case_a_rule_and_the_verdict_is_that_of_the_exit_code():
    def rule(number: int, state: State | None) -> Metric:
        return Metric(f"rule{number}", f"Rule {number}", "share", 0.9, 0.8, n=20, gate=Gate(">=", 0.5, "page"),
                      state=state, primary=True)  # fmt: skip

    states = [State.PASS, State.FAIL, State.INCONCLUSIVE, State.NOT_MEASURED, None]
    metrics = tuple(rule(i, s) for i, s in enumerate(states))
    beside = Metric("beside", "Beside", "share", 0.9, 0.1, gate=Gate(">=", 0.5, "page"), state=State.FAIL)
    _, cases = read(recorded(State.NOT_MEASURED, metrics=(*metrics, beside)))
    assert [outcome(c) for c in cases] == [
        "skipped",
        "passed",
        "failure",
        "skipped",
        "skipped",
        "skipped",
    ]


def test_a_run_without_a_result_is_an_error():
    record = replace(
        made_session().record,
        result=None,
        status=RunStatus.FAILED,
        error_message="The weights <are> gone.",
        error_hint="Fetch them.",
    )
    _, (case,) = read(record)
    error = case.find("error")
    assert error is not None
    assert (error.get("message"), error.text) == ("The weights <are> gone.", "Fetch them.")


@given(st.text(st.characters(exclude_categories=[]), max_size=80))
def test_any_text_is_xml(text: str):
    result = sample_result("0abc", State.FAIL)
    metric = replace(result.metrics[0], label=text, note=text, gate=Gate(">=", 0.98, text))
    record = recorded(State.FAIL, headline=text or "x", metrics=(metric,), versions={text or "x": text})
    _, cases = read(record)
    assert len(cases) == 2


def test_markup_stays_text():
    _, cases = read(recorded(State.FAIL, headline=HOSTILE))
    failure = cases[0].find("failure")
    assert failure is not None
    assert "<script>boom()</script>" in (failure.get("message") or "")
    assert list(failure) == []
