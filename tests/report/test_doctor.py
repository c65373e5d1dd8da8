"""The doctor's list as HTML: everything that was found is told, and foreign text stays text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.browser.scripted import sample_result
from wfgy_triage.doctor.finding import Finding, Outcome, failed, finding, passed, skipped, warned
from wfgy_triage.doctor.patches import environment_patch, json_patch, pin_patch
from wfgy_triage.doctor.summary import as_chart
from wfgy_triage.report.doctor import checks_so_far, counts_words, doctor_panel, exact_changes, findings_of
from wfgy_triage.result import Result, State

FINDINGS = (
    passed("same_token_ids", "10 samples"),
    failed("same_rope", "theta 5000", json_patch("config.json", {"rope_theta": 5000.0})),
    warned("attention_backend", "no flash-attn", environment_patch("EXLLAMA_NO_SDPA=1")),
    skipped("extension_imports", "no GPU"),
)


def result(findings: tuple[Finding, ...] = FINDINGS) -> Result:
    return replace(sample_result("r1", State.FAIL), charts={"doctor": as_chart(findings)})


def test_every_finding_is_told_with_state_in_words():
    html = doctor_panel(result(), asks_questions=False)
    for f in FINDINGS:
        assert f.title in html
        assert f.seen in html
    for word in ("Passed", "Failed", "Warning", "Not checked"):
        assert f"<span>{word}</span>" in html
    rope = FINDINGS[1]
    assert rope.means in html
    assert "rope_theta (at the top level)" in html
    assert "&quot;rope_theta&quot;: 5000.0" in html
    assert html.count("data-copy") == 2


def test_what_failed_comes_before_what_is_only_to_know():
    html = doctor_panel(result(FINDINGS[::-1]), asks_questions=False)
    assert html.index("theta 5000") < html.index("no flash-attn")


@pytest.mark.parametrize(
    ("asks", "urgent", "open_groups"), [(False, False, True), (False, True, False), (True, False, False)]
)
def test_the_long_list_is_open_only_where_it_is_the_point(asks: bool, urgent: bool, open_groups: bool):
    findings = FINDINGS if urgent else (FINDINGS[0], FINDINGS[3])
    assert (" open>" in doctor_panel(result(findings), asks)) == open_groups


def test_foreign_text_is_escaped():
    bad = finding(
        "same_rope", Outcome.FAIL, "<script>alert(1)</script>", patch=pin_patch("</pre><img src=x>")
    )
    for html in (
        doctor_panel(result((bad,)), False),
        exact_changes(result((bad,))),
        checks_so_far((bad,), True),
    ):
        assert "<script" not in html
        assert "<img" not in html


def test_exact_changes_are_those_of_failures_and_warnings():
    html = exact_changes(result())
    assert "EXLLAMA_NO_SDPA=1" in html
    assert "Not tried on your models" in html
    assert exact_changes(result(FINDINGS[:1])) == ""


def test_results_from_before_the_doctor_have_no_list():
    old = replace(sample_result("r1", State.FAIL), charts={})
    assert doctor_panel(old, True) == exact_changes(old) == ""
    assert findings_of(old.charts) == ()


def test_counts_are_words():
    assert (
        counts_words(FINDINGS)
        == "1 failed \N{MIDDLE DOT} 1 to know about \N{MIDDLE DOT} 1 passed \N{MIDDLE DOT} 1 not checked"
    )
    assert "in a moment" in checks_so_far((), False)
    assert "No check was made" in checks_so_far((), True)
