"""Reading complaints: what is accepted, and the line that is named when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.complaints import MAX_TEXT, NONE, Match, check_complaint, read_complaints
from wfgy_triage.errors import InputError


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_file_is_read_in_order_and_empty_lines_are_passed_over(tmp_path: Path):
    file = write(
        tmp_path / "in.jsonl",
        '\ufeff{"id": "b", "text": "JSON\\n breaks"}\r\n\n{"id": "a", "text": "壊れる"}',
    )
    assert [(c.id, c.text) for c in read_complaints(file)] == [("b", "JSON breaks"), ("a", "壊れる")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"id": "a", "text": "x"}\n{"id": "b", "text": "\xff"}', "line 2: this is not UTF-8"),
        ('{"id": "a", "text": "x"}\n\n{"id": ', "line 3: this is not JSON"),
        ("[" * 100_000, "line 1: this is not JSON"),
        ('["a"]', "line 1: this is not a JSON object"),
        ('{"text": "x"}', "line 1: id must be there"),
        ('{"id": 7, "text": ""}', "line 1: id and text must be there"),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}', "line 2: the id 'a' was used in line 1"),
        ('{"id": "a", "text": "  "}', "line 1: There is no text"),
        (json.dumps({"id": "a", "text": "x" * (MAX_TEXT + 1)}), "line 1: The text has 2,001 characters"),
        (json.dumps({"id": "a", "text": "x\x1b[31m"}), "line 1: The text has control characters"),
        ('{"id": "a", "text": "\\ud800"}', "line 1: The text has half of a character"),
        (
            '{"id": "a", "text": "x"}\n{"id": "b\\ud83d", "text": "x"}',
            "line 2: the id 'b\\ud83d' has half of a",
        ),
        ("", "has no complaints"),
        (" \n\n", "has no complaints"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes | str, said: str):
    with pytest.raises(InputError) as caught:
        read_complaints(write(tmp_path / "in.jsonl", content))
    assert said in caught.value.message


def test_a_missing_file_and_a_folder_are_explained(tmp_path: Path):
    for path in (tmp_path / "nothing.jsonl", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_complaints(path)


@given(st.text(max_size=300))
def test_text_is_refused_or_keeps_its_words(text: str):
    try:
        plain = check_complaint(text)
    except InputError:
        return
    assert plain.split() == text.split()
    assert check_complaint(plain) == plain


def test_a_match_offers_at_most_three_and_nothing_when_none_wins():
    scores = {"a": 0.5, NONE: 0.2, "b": 0.12, "c": 0.1, "d": 0.05, "e": 0.03}
    assert Match("a", scores).offered == (("a", "good"), ("b", "weak"), ("c", "weak"))
    assert Match(NONE, {NONE: 0.6, "a": 0.4}).offered == ()


@pytest.mark.parametrize(
    ("scores", "nearest"),
    [
        ({NONE: 0.9, "a": 0.06, "b": 0.03, "c": 0.01}, ("a", "b")),
        ({NONE: 0.9, "a": 0.08, "b": 0.02}, ("a",)),
        ({NONE: 0.96, "a": 0.04}, ()),
        ({"a": 0.6, NONE: 0.3, "b": 0.1}, ()),
        ({}, ()),
    ],
)
def test_what_comes_nearest_is_named_only_where_none_fits_and_something_comes_near(scores, nearest):
    assert Match(next(iter(scores), NONE), scores).nearest == nearest


def test_a_match_survives_the_way_between_processes():
    match = Match("a", {"a": 0.75, NONE: 0.25})
    assert Match.from_json(json.loads(json.dumps(match.to_json()))) == match
