"""Verdict, cause, fix and provenance as HTML: what must be said is said, and nothing foreign gets through."""

from __future__ import annotations

import dataclasses

import pytest

from tests.browser.scripted import sample_result
from wfgy_triage.catalog import load_catalog
from wfgy_triage.report.diagnosis import cause_card
from wfgy_triage.report.figures import figure_table
from wfgy_triage.report.fix import fix_head, fix_rest
from wfgy_triage.report.provenance import provenance_panel
from wfgy_triage.report.verdict import baseline_note, metrics_table, verdict_header
from wfgy_triage.report.words import check_words, class_words
from wfgy_triage.result import Check, Diagnosis, Gate, Metric, State

CATALOG = load_catalog()
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def result():
    return sample_result("run-1", State.FAIL)


def test_header_says_state_headline_rule_questions_floor_and_pair(result):
    html = verdict_header(result, CATALOG)
    for text in (
        "Fail",
        result.headline,
        "page&#x27;s literal rule",
        "20",
        "5 pts",
        "4.21 bits per weight, 6-bit head",
    ):
        assert text in html


def test_header_counts_the_questions_that_could_be_used(result):
    short = dataclasses.replace(
        result, metrics=(dataclasses.replace(result.metrics[0], n=17), *result.metrics[1:])
    )
    assert "17 of 20" in verdict_header(short, CATALOG)


def test_an_unmeasured_floor_is_not_a_zero(result):
    bare = dataclasses.replace(result, metrics=(dataclasses.replace(result.metrics[0], floor=None),))
    assert "not measured" in verdict_header(bare, CATALOG)


def test_stopped_runs_say_that_the_data_is_partial(result):
    assert "stopped early" in verdict_header(result, CATALOG, stopped=True)
    assert "stopped early" not in verdict_header(result, CATALOG)


def test_baseline_note_is_shown_where_there_is_one(result):
    assert "its numbers mean nothing" in baseline_note(result)
    assert baseline_note(dataclasses.replace(result, pair={"id": "x"})) == ""


def test_table_leads_with_the_metric_that_decides_and_names_the_gates_source(result):
    html = metrics_table(dataclasses.replace(result, metrics=tuple(reversed(result.metrics))), CATALOG)
    assert html.index("Answers that fit the schema") < html.index("Answers that are JSON at all")
    assert "JSON mode page" in html
    assert "−42 to −2" in html
    assert CATALOG.metrics["schema_valid_rate"].meaning in html


def test_missing_values_are_dashes_and_the_reason_is_given(result):
    missing = Metric("kld", "KL", "nats", None, None, state=State.NOT_MEASURED, note="Too few tokens: 40.")
    html = metrics_table(dataclasses.replace(result, metrics=(missing,)), CATALOG)
    assert "Not measured" in html
    assert "Too few tokens: 40." in html
    assert '<td data-l="EXL2">—</td>' in html


def test_finer_metrics_are_behind_a_click(result):
    extra = Metric("enum_drift_rate", "Enum drift", "share", 0.0, 0.1, 0.1, (-0.1, 0.3), n=20)
    html = metrics_table(dataclasses.replace(result, metrics=(*result.metrics, extra)), CATALOG)
    assert "1 more metrics" not in html
    assert html.index('<details class="more"><summary>1 more metric</summary>') < html.index("Enum drift")


def test_no_metrics_at_all(result):
    assert "No metric was computed" in metrics_table(dataclasses.replace(result, metrics=()), CATALOG)


def test_cause_has_words_evidence_and_what_was_ruled_out(result):
    html = cause_card(result, CATALOG)
    for text in (
        "The weights have too few bits",
        "FP16 itself passes",
        "The tokenizers differ",
        "0.061 nats",
    ):
        assert text in html


def test_a_check_that_few_questions_leave_open_is_neither_yes_nor_no(result):
    rung = Check("baseline_passes", "inconclusive", "Too few.")
    html = cause_card(dataclasses.replace(result, diagnosis=Diagnosis("unknown", "low", (rung,))), CATALOG)
    assert "Too few questions to say" in html
    assert ">Yes<" not in html


def test_unknown_ids_are_shown_not_dropped(result):
    odd = dataclasses.replace(
        result, diagnosis=Diagnosis("new_cause", "low", (Check("new_check", "ok", "d"),))
    )
    html = cause_card(odd, CATALOG)
    assert "new_cause" in html
    assert "New check" in html
    assert class_words("odd_kind") == "Odd kind"
    assert check_words("Plain words") == "Plain words"


def test_fix_never_claims_what_was_not_tried(result):
    html = fix_head(result, CATALOG) + fix_rest(result, CATALOG)
    assert "No change was tried" in html
    assert "Verified" not in html
    cause = CATALOG.causes["weights_too_few_bits"]
    assert html.count("not tried on your models") == len(cause.remedies)
    assert "BBAM (schema lock and variance clamp)" in html


def test_a_pass_has_nothing_to_fix():
    passed = sample_result("r", State.PASS)
    html = fix_head(passed, CATALOG) + fix_rest(passed, CATALOG)
    assert "nothing to fix" in html
    assert "No change was tried" not in html
    assert "Candidate changes" not in html


def test_provenance_nests_and_leaves_empty_values_out(result):
    html = provenance_panel(result)
    assert "exl2_reference" in html
    assert "json-records-1" in html
    assert "None" not in html


def test_chart_tables_hold_the_charts_numbers(result):
    kld = figure_table("kld", result.charts)
    assert "95 to 100 % sure" in kld
    assert "611" in kld
    assert "Text after the JSON" in figure_table("failures", result.charts)
    assert figure_table("kld", {}) == ""


def test_everything_foreign_is_escaped(result):
    metric = dataclasses.replace(result.metrics[0], label=EVIL, note=EVIL, gate=Gate(">=", 0.5, EVIL))
    bad = dataclasses.replace(
        result,
        headline=EVIL,
        page_rule=EVIL,
        symptom=EVIL,
        pair={"id": EVIL, "name": EVIL, "note": EVIL, "fp16": {"x": EVIL}, "exl2": {EVIL: EVIL}},
        metrics=(metric,),
        diagnosis=Diagnosis(EVIL, "high", (Check(EVIL, "fault", EVIL),), (EVIL,)),
        versions={EVIL: EVIL},
    )
    pages = (verdict_header, metrics_table, cause_card, fix_head, fix_rest)
    html = "".join(page(bad, CATALOG) for page in pages) + baseline_note(bad) + provenance_panel(bad)
    assert "<script" not in html


def test_checks_that_the_doctor_lists_anyway_are_folded_where_they_passed(result):
    finding = {"check": "same_rope"}
    evidence = (Check("same_rope", "ok", "theta"), Check("above_noise", "ok", "real"))
    changed = dataclasses.replace(
        result,
        diagnosis=dataclasses.replace(result.diagnosis, evidence=evidence),
        charts={**result.charts, "doctor": [finding]},
    )
    html = cause_card(changed, CATALOG)
    assert "1 check of folders and models passed" in html
    assert html.index("theta") < html.index("</details>") < html.index("real")
    broken = dataclasses.replace(
        changed, diagnosis=dataclasses.replace(result.diagnosis, evidence=(Check("same_rope", "fault", "x"),))
    )
    assert "passed" not in cause_card(broken, CATALOG)
