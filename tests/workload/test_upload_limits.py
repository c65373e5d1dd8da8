"""Uploads that are long, hostile or written in an unusual way: what is read, what is refused, and that it ends."""

from __future__ import annotations

import json

import pytest

from tests.workload.uploads import GOOD, OTHER, RECORD, lines, problems, read
from wfgy_triage.workload.upload_json import MAX_LINE


def test_long_runs_of_spaces_and_marks_in_headings_end():
    spaces = " " * 100_000
    for heading in (f"## a{spaces}b", f"## a{'#' * 1000}{spaces}#{spaces}b", f"##{spaces}a{spaces}#b"):
        found = problems("q.md", f"{heading}\nThe box holds 7 pens.\nQ: How many?\nA: 7 pens")
        assert "line 1: 'title' has" in found[0]
    for line in (f"{spaces}Q{spaces}x", f"-{spaces}Q{spaces}x", f"Q:{spaces}\r{spaces}"):
        assert problems("q.md", f"{line}\n## T\nx")


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("## The box", "The box"),
        ("##\tThe box  ##  ", "The box"),
        ("## Box # 7 #", "Box # 7"),
        ("## Box\r", "Box"),
    ],
)
def test_how_headings_are_written(heading: str, title: str):
    rest = "The box holds 7 pens.\nQ: How many?\nA: 7 pens\n### Deeper\n#no heading\n####### nor this\n"
    upload = read("q.md", f"# Document\n{heading}\n{rest}## Other\nIt is red.\nQ: Which?\nA: red")
    first, second = upload.content["sections"]
    assert (first["title"], second["title"]) == (title, "Other")
    assert first["text"].endswith("### Deeper\n#no heading\n####### nor this")


def test_very_many_columns_are_refused():
    (known, unknown, twice) = problems("q.csv", "a," * 400_000)
    assert ("missing" in known, "unknown" in unknown, "more than once: 'a'." in twice) == (True,) * 3


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            (GOOD, {**OTHER, "context": "Take the red one \ud83d."}),
            "line 2: 'context' has half of a character",
        ),
        ((GOOD, {**OTHER, "aliases": ["red", "\udc00"]}), "line 2: 'aliases' has half of a character"),
        ((GOOD, {**OTHER, "id": "\ud800"}), "line 2: 'id' has half of a character in it (\\ud800)"),
        ((GOOD, {**OTHER, "\ud800": 1}), "line 2: '\\ud800' has half of a character"),
        ((RECORD, {**RECORD, "record": {"n": 1, "\udfff": 2}}), "line 2: 'record' has half of a character"),
        ((RECORD, {**RECORD, "schema": {"const": "\ud800"}}), "line 2: 'schema' has half of a character"),
    ],
)
def test_half_of_a_character_is_refused_with_its_row_and_field(rows: tuple[object, ...], said: str):
    found = problems("q.jsonl", lines(*rows))
    assert said in found[0]
    "\n".join(found).encode()


def test_whole_characters_may_be_written_as_escapes():
    upload = read("q.jsonl", lines(GOOD, {**OTHER, "context": "Take the red one 😀. It is new."}))
    assert "😀" in upload.to_bytes().decode()


def test_the_longest_texts_are_read_however_they_are_written():
    text = "它" * 19_000 + "The box holds 7 pens."
    row = {
        **GOOD,
        "context": text,
        "evidence": [text],
        "paraphrases": [f"{n}" + "几" * 999 for n in range(8)],
    }
    assert len(json.dumps(row)) > 270_000
    for ascii_only in (True, False):
        written = "\n".join(json.dumps(r, ensure_ascii=ascii_only) for r in (row, OTHER))
        assert read("q.jsonl", written).content["sections"][0]["text"] == text
    emoji = {**GOOD, "context": "😀" * 19_900 + "The box holds 7 pens."}
    assert read("q.jsonl", lines(emoji, OTHER)).questions == 2


def test_a_line_beyond_its_bound_says_so():
    (found,) = problems("q.jsonl", lines(GOOD, {**OTHER, "context": "x" * MAX_LINE}, OTHER))
    assert found.startswith("q.jsonl, line 2: the line has 500,")
    assert "at most 500,000 are read" in found
    assert "not a JSON object" not in found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"question": "a", "question": "b"}', "a key is given twice"),
        ('{"record": {"n": 1, "n": 2}}', "a key is given twice"),
        ('{"record": -Infinity}', "-Infinity is not JSON"),
        ('{"record": 1e999}', "the number 1e999 is too large"),
        ('{"record": ' + "9" * 5000 + "}", "a number with too many digits"),
        ('{"record": ' + "[" * 65 + "]" * 65 + "}", "nested deeper than 64 levels"),
        ('{"record": ' + '{"a":' * 65 + "1" + "}" * 66, "nested deeper than 64 levels"),
        ("[" * 10_000 + "]" * 10_000, "nested deeper than 64 levels"),
        ('{"question": "a"} {', "text after the JSON value, at character 18"),
        ('{"question": "a\tb"}', "Invalid control character at character 16"),
    ],
)
def test_json_is_read_strictly(line: str, said: str):
    (found,) = problems("q.jsonl", lines(GOOD, OTHER) + "\n" + line)
    assert found.startswith("q.jsonl, line 3: not a JSON object: ")
    assert said in found


def test_a_record_may_be_as_long_as_is_said_in_any_language():
    schema = {"type": "object"}
    record = {"n": "字" * 7_900}
    assert read("r.jsonl", lines({"text": "a", "record": record, "schema": schema})).questions == 1
    long = {"n": "字" * 8_000}
    found = problems("r.jsonl", lines({"text": "a", "record": long, "schema": schema}))
    assert "'record' is longer than 8,000 characters" in found[0]


def test_a_question_with_fewer_than_three_wordings_is_noted():
    two, three = {**GOOD, "paraphrases": ["What number?"]}, {**OTHER, "paraphrases": ["Which one?", "What?"]}
    assert (
        read("q.jsonl", lines(two, three)).notes[0].startswith("1 of 2 questions have fewer than 3 wordings;")
    )
    assert read("q.jsonl", lines(three, {**GOOD, "paraphrases": list("abcd")})).notes == ()
