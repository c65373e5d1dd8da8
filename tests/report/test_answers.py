"""Answers side by side: pairing, classes, marks, and that model text stays text."""

from __future__ import annotations

import re
from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.report.answers import answers_table, both_answers, collect_rows, marked
from wfgy_triage.store.records import Sample, SampleKey


def sample(question, side, text, kind="valid", **more):
    payload = {"text": text, "kind": kind, "schema_valid": kind == "valid", "finish_reason": "stop", **more}
    return Sample(SampleKey("json_breaks", question, 0, 0, side), payload)


def stripped(marked_text):
    return unescape(re.sub(r"</?mark>", "", marked_text))


def test_rows_pair_both_sides_and_pass_over_the_rest():
    rows = collect_rows(
        [
            sample("q1", "fp16", "a"),
            sample("q2", "fp16", "b"),
            sample("q1", "exl2", "c", "malformed"),
            sample("q1", "fp16_floor", "z"),
            Sample(SampleKey("json_breaks", "q1", 0, 0, "pair"), {"kl": [0.1]}),
        ],
        {"q1": "First?"},
    )
    assert [(r.question, r.different) for r in rows] == [("First?", True), ("q2", False)]
    assert rows[0].exl2.valid is False
    assert rows[1].exl2 is None
    assert rows[0].latest > rows[1].latest


def test_cut_off_is_a_class_of_its_own_not_invalid():
    (row,) = collect_rows(
        [sample("q", "fp16", "{}"), sample("q", "exl2", "{", "truncated", truncated=True)], {}
    )
    assert "cut-off" in row.classes
    assert "exl2-invalid" not in row.classes
    assert "Cut off" in answers_table([row])


def test_length_limit_counts_as_cut_off_when_the_probe_did_not_judge():
    (row,) = collect_rows([sample("q", "exl2", "{", "", finish_reason="length")], {})
    assert row.exl2.truncated


def test_filters_count_their_rows():
    rows = collect_rows(
        [sample(q, s, t, k) for q, s, t, k in [
            ("1", "fp16", "a", "valid"), ("1", "exl2", "a", "valid"),
            ("2", "fp16", "a", "valid"), ("2", "exl2", "b", "malformed"),
        ]],
        {},
    )  # fmt: skip
    table = answers_table(rows)
    assert "All <b>2</b>" in table
    assert "Only different <b>1</b>" in table
    assert "EXL2 invalid <b>1</b>" in table
    assert "FP16 invalid" not in table


def test_no_answers_is_said():
    assert "No answers were recorded" in answers_table([])


def test_only_the_differing_part_is_marked():
    left, right = marked('{"age": 45}', '{"age": 54}')
    assert left == "{&quot;age&quot;: <mark>45</mark>}"
    assert right == "{&quot;age&quot;: <mark>54</mark>}"


def test_equal_texts_carry_no_marks_and_say_so():
    (row,) = collect_rows([sample("q", "fp16", "same"), sample("q", "exl2", "same")], {})
    html = both_answers(row)
    assert "<mark>" not in html
    assert "exactly the same text" in html


def test_model_text_question_and_detail_are_escaped():
    evil = "<img src=x onerror=alert(1)>"
    (row,) = collect_rows(
        [sample(evil, "fp16", evil, "malformed", detail=evil), sample(evil, "exl2", "ok")], {}
    )
    html = both_answers(row) + answers_table([row])
    assert "<img" not in html
    assert "&lt;img" in html


@given(st.text(max_size=80), st.text(max_size=80))
def test_marking_never_changes_the_texts(left, right):
    a, b = marked(left, right)
    assert (stripped(a), stripped(b)) == (left, right)
    assert "<" not in re.sub(r"</?mark>", "", a + b)


def test_very_long_texts_are_shown_without_comparison():
    left, right = marked("a " * 3000, "b " * 3000)
    assert "<mark>" not in left + right
    assert left == "a " * 3000


def test_a_probe_may_give_its_badges_words_of_their_own():
    rows = collect_rows(
        [
            sample("q", "fp16", "1, 2, 3"),
            sample("q", "exl2", "1, 2, 2", "chain_slip", mark="Wrong at step 3"),
        ],
        {},
    )
    assert "Wrong at step 3" in answers_table(rows)
    assert "One slip, then consistent" in both_answers(rows[0])
