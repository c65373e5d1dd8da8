"""Numbers in words: units, signs, gaps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.report.format import (
    difference,
    duration,
    gate_text,
    interval,
    moment,
    number,
    quantity,
    size,
    state_chip,
    typeset,
)
from wfgy_triage.result import Gate, State


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.16634, "0.166"), (0.00110, "0.0011"), (0.000012, "0.000012"), (1234.5, "1,234"), (-0.5, "−0.5"),
     (99.6, "99.6"), (float("nan"), "—")],
)  # fmt: skip
def test_number(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.95, "share", "95 %"), (0.737, "share", "73.7 %"),
     (0.05882, "share", "5.9 %"), (0.00042, "share", "0.042 %"),
     (0.166, "nats", "0.166 nats"), (1.08, "ratio", "1.08 ×"),
     (None, "share", "—"), (12, "tokens", "12 tokens"), (3, "count", "3"), (0.107, "distance", "0.107")],
)  # fmt: skip
def test_quantity(value, unit, text):
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(-0.213, "share", "−21.3 pts"), (0.05, "share", "+5 pts"), (0.0, "share", "0 pts"), (0.2, "nats", "+0.2 nats"),
     (None, "share", "—")],
)  # fmt: skip
def test_difference(value, unit, text):
    assert difference(value, unit) == text


def test_interval_is_in_the_scale_of_its_unit():
    assert interval((-0.42, -0.02), "share") == "−42 to −2"
    assert interval((0.131, 0.204), "nats") == "0.131 to 0.204"
    assert interval(None, "share") == ""


def test_gate():
    assert gate_text(Gate(">=", 0.98, "page"), "share") == "≥ 98 %"
    assert gate_text(Gate("<=", 0.1, "page"), "") == "≤ 0.1"
    assert gate_text(Gate("<=", 0.1, "page"), "distance") == "≤ 0.1"
    assert gate_text(Gate("<=", 0.02, "page", "loss"), "share") == "≤ 2 pts lost"
    assert gate_text(Gate(">=", 0.05, "page", "gain"), "share") == "≥ 5 pts gained"
    assert gate_text(None, "share") == "—"


def test_a_stored_sentence_gets_the_signs_of_all_other_numbers():
    stored = "On this sample EXL2 (-1.67 points lost) meets the page's literal rule (<= 2 points lost)."
    shown = "On this sample EXL2 (−1.67 points lost) meets the page's literal rule (≤ 2 points lost)."
    assert typeset(stored) == shown
    assert typeset("6-bit head, A-1, 98 % >= 95 %") == "6-bit head, A-1, 98 % ≥ 95 %"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 second"), (61.8, "62 seconds"), (600, "10 minutes"), (4830, "1 h 20 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_moment_and_size():
    assert moment(datetime(2026, 11, 3, 7, 5, tzinfo=UTC)) == "3 Nov 2026, 07:05 UTC"
    assert moment(None) == "—"
    assert (size(269_000_000), size(4_200_000_000)) == ("269 MB", "4.2 GB")


@pytest.mark.parametrize(
    ("state", "word"),
    [(State.PASS, "Pass"), (State.FAIL, "Fail"), (State.INCONCLUSIVE, "Inconclusive"),
     (State.NOT_MEASURED, "Not measured")],
)  # fmt: skip
def test_every_state_has_icon_and_word(state, word):
    badge = state_chip(state)
    assert f"<span>{word}</span>" in badge
    assert "<svg" in badge


@given(st.floats(-1e6, 1e6, allow_nan=False))
def test_number_never_uses_exponents_and_keeps_the_value(value):
    text = number(value).replace(",", "").replace("−", "-")
    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=0.006, abs=5e-7)
