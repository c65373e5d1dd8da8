from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.measure.citations import (
    CitationKind,
    citation_positions,
    cites_first,
    classify_citations,
    classify_record,
    find_citations,
    finishes_a_claim,
    unsupported_quotes,
    without_citations,
)

SUPPLIED = {
    "S1": "The mast is 96 metres tall.",
    "S2": "The pump weighs 18 kilograms.",
    "S3": "Leaves are cut.",
}
SECTIONS = {"S1": "mast", "S2": "pump", "S3": "tomatoes"}

# text, truncated, kind, cited, dangling, (present, valid, correct, cite_first), all by hand; gold is S1
GOLDEN = [
    ("The mast is 96 metres tall [S1].", False, "cites_right_passage", ["S1"], [], (1, 1, 1, 1)),
    ("[S1] 96 metres", False, "cites_right_passage", ["S1"], [], (1, 1, 1, 1)),
    ("96 metres. [S1]", False, "cites_right_passage", ["S1"], [], (1, 1, 1, 1)),
    ("It is tall. It has 96 metres [S1].", False, "cites_right_passage", ["S1"], [], (1, 1, 1, 0)),
    ("It is tall\nIt has 96 metres [S1]", False, "cites_right_passage", ["S1"], [], (1, 1, 1, 0)),
    ("96 metres [S2, S1]", False, "cites_right_passage", ["S2", "S1"], [], (1, 1, 1, 1)),
    ("96 metres [S2; S2]", False, "cites_other_passage", ["S2"], [], (1, 1, 0, 1)),
    ("96 metres [S7]", False, "cites_unknown_passage", ["S7"], ["S7"], (1, 0, 0, 1)),
    ("96 metres [S1] [S7]", False, "cites_unknown_passage", ["S1", "S7"], ["S7"], (1, 0, 1, 1)),
    ("96 metres [s1]", False, "cites_unknown_passage", ["s1"], ["s1"], (1, 0, 0, 1)),
    ("96 metres", False, "no_citation", [], [], (0, 0, 0, 0)),
    ("", False, "no_citation", [], [], (0, 0, 0, 0)),
    ("[see the first passage] 96", False, "no_citation", [], [], (0, 0, 0, 0)),
    ("[S1](http://example.org) 96", False, "no_citation", [], [], (0, 0, 0, 0)),
    ("96 metres S1", False, "no_citation", [], [], (0, 0, 0, 0)),
    # Cut off: what a continuation could still change is open.
    ("The mast is", True, "truncated", [], [], (None, None, None, None)),
    # It had finished a sentence: judged as it stands.
    ("It is tall. It is red. It", True, "no_citation", [], [], (0, 0, 0, 0)),
    ("It is tall [S1]. It is", True, "cites_right_passage", ["S1"], [], (1, 1, 1, 1)),
    ("It is tall [S1]. It is [S9] and", True, "cites_unknown_passage", ["S1", "S9"], ["S9"], (1, 0, 1, 1)),
    ("It is 3.5 m", True, "truncated", [], [], (None, None, None, None)),
    ("96 metres [S2] and", True, "truncated", ["S2"], [], (1, None, None, 1)),
    ("96 metres [S1] and", True, "truncated", ["S1"], [], (1, None, 1, 1)),
    ("96 metres [S9] and", True, "cites_unknown_passage", ["S9"], ["S9"], (1, 0, None, 1)),
]


@pytest.mark.parametrize(("text", "truncated", "kind", "cited", "dangling", "flags"), GOLDEN)
def test_golden(text, truncated, kind, cited, dangling, flags):
    outcome = classify_citations(text, SUPPLIED, "S1", truncated=truncated)
    assert outcome.kind == kind
    assert list(outcome.cited) == cited
    assert list(outcome.dangling) == dangling
    found = (outcome.present, outcome.valid, outcome.correct, outcome.cite_first)
    assert found == tuple(None if f is None else bool(f) for f in flags)


def test_decimal_points_and_closing_quotes():
    assert cites_first("It weighs 3.5 kilograms [S1].") is True
    assert cites_first('He said "no." Then he left [S1].') is False
    assert cites_first("one sentence") is None


ids = st.sampled_from(["S1", "S2", "S3", "S4", "S9", "X"])
words = st.sampled_from(["the", "mast", "is", "tall", "96"])
pieces = st.lists(st.one_of(words, ids.map(lambda i: f"[{i}]")), max_size=12)


@given(pieces, st.randoms(use_true_random=False))
def test_the_order_of_the_supplied_passages_does_not_matter(parts: list[str], r: random.Random):
    text = " ".join(parts)
    shuffled = list(SUPPLIED.items())
    r.shuffle(shuffled)
    assert classify_citations(text, dict(shuffled), "S1", truncated=False) == classify_citations(
        text, SUPPLIED, "S1", truncated=False
    )


@given(pieces, st.sampled_from(["S99", "nope", "s1"]))
def test_a_dangling_id_never_improves_anything(parts: list[str], bad: str):
    before = classify_citations(" ".join(parts), SUPPLIED, "S1", truncated=False)
    after = classify_citations(" ".join([*parts, f"[{bad}]"]), SUPPLIED, "S1", truncated=False)
    assert after.valid is False
    assert after.correct == before.correct
    assert bad in after.dangling


@given(pieces, pieces)
def test_what_is_settled_within_the_first_sentence_stays_so(parts: list[str], more: list[str]):
    cut = classify_citations(" ".join(parts), SUPPLIED, "S1", truncated=True)
    whole = classify_citations(" ".join([*parts, *more]), SUPPLIED, "S1", truncated=False)
    for name in ("present", "valid", "correct", "cite_first"):
        if getattr(cut, name) is not None:
            assert getattr(cut, name) == getattr(whole, name), name


@given(pieces)
def test_valid_means_present_and_nothing_dangling(parts: list[str]):
    outcome = classify_citations(" ".join(parts), SUPPLIED, "S1", truncated=False)
    assert outcome.valid == (outcome.present and not outcome.dangling)
    assert (outcome.kind is CitationKind.CORRECT) == bool(outcome.valid and outcome.correct)


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str):
    for citation in find_citations(text):
        assert text[citation.start] == "["
        assert text[citation.end - 1] == "]"
    classify_citations(text, SUPPLIED, "S1", truncated=False)


def test_a_long_text_of_brackets_is_read_in_no_time():
    assert find_citations("[" * 50_000 + "a," * 50_000) == []


def test_positions_of_citation_tokens():
    tokens = ["96", " metres", " [", "S", "1", "]", ".", " Red", " [S2]"]
    assert citation_positions(tokens) == [False, False, True, True, True, True, False, False, True]
    assert without_citations("96 [S1] m").split() == ["96", "m"]


def test_unsupported_quotes():
    text = 'It says "The mast is 96 metres tall" and "the mast is 97 metres tall" and calls it "tall".'
    assert unsupported_quotes(text, SUPPLIED) == ["the mast is 97 metres tall"]
    assert unsupported_quotes("“the  PUMP weighs 18 kilograms.”", SUPPLIED) == []


def record(**fields) -> str:
    return json.dumps(fields)


# text, completeness, missing, dangling, section matches, offsets; by hand
RECORDS = [
    (record(snippet_id="S1", section_id="mast", quote="96 metres"), 1, [], False, True, (12, 21)),
    (record(snippet_id="S1", section_id="pump", quote="97 metres"), 1, [], False, False, None),
    (record(snippet_id="S8", section_id="mast", quote="96 metres"), 1, [], True, False, None),
    (record(snippet_id="S1", section_id=""), 1 / 3, ["section_id", "quote"], False, False, None),
    (record(snippet_id=1, section_id="mast", quote="96"), 2 / 3, ["snippet_id"], False, False, None),
    ("[S1] 96 metres", 0, ["snippet_id", "section_id", "quote"], False, False, None),
    ('Here: {"snippet_id": "S2"} ok', 1 / 3, ["section_id", "quote"], False, False, None),
    ('{"snippet_id": "S2", "sec', 0, ["snippet_id", "section_id", "quote"], False, False, None),
]


@pytest.mark.parametrize(("text", "completeness", "missing", "dangling", "section", "offsets"), RECORDS)
def test_records(text, completeness, missing, dangling, section, offsets):
    outcome = classify_record(text, SUPPLIED, SECTIONS)
    assert outcome.completeness == pytest.approx(completeness)
    assert list(outcome.missing) == missing
    assert (outcome.dangling, outcome.section_matches, outcome.offsets) == (dangling, section, offsets)


def test_a_loop_of_newlines_is_read_in_one_go():
    """Over 200,000 characters the square of their number would take hours."""
    assert not finishes_a_claim("A refund takes\n" + "\n \n" * 70_000)
    assert finishes_a_claim("A refund takes\n" + "\n \n" * 70_000 + "days")
