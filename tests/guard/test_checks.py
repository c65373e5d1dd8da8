"""The checks as a library: verdict, class, reason; what is not measured stays so; nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.guard import Guard, Snippet, Verdict, check_citations, check_json

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
CATS = Snippet("S1", "Cats sleep for most of the day.", section="cats", target=True)
DOGS = Snippet("S2", "Dogs run in packs.", section="dogs")


def test_it_imports_neither_torch_nor_gradio_nor_a_web_server():
    code = (
        "import sys, wfgy_triage.guard; "
        "print([m for m in ('torch', 'gradio', 'transformers', 'fastapi', 'httpx', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "failure", "parse_ok", "schema_ok"),
    [
        ('{"a": 1}', "", True, True),
        ('{"a": "x"}', "schema_mismatch", True, False),
        ('Here: {"a": 1}', "leading_text", False, False),
        ('{"a": 1} Done.', "trailing_text", False, False),
        ("no", "malformed", False, False),
        ("", "empty", False, False),
    ],
)
def test_json(text, failure, parse_ok, schema_ok):
    check = Guard().check_json(text, SCHEMA)
    assert (check.failure, check.parse_ok, check.schema_ok) == (failure, parse_ok, schema_ok)
    assert check.verdict is (Verdict.FAILED if failure else Verdict.OK)


def test_json_that_was_cut_off_fails_but_counts_as_neither():
    check = check_json('{"a": 1', SCHEMA, truncated=True)
    assert (check.verdict, check.failure, check.parse_ok, check.schema_ok) == (
        "failed",
        "truncated",
        None,
        None,
    )
    assert check_json("[1, 2, 3", {"type": "array", "maxItems": 1}, truncated=True).schema_ok is False


def test_the_told_reason_holds_no_word_of_the_answer():
    check = check_json('{"a": "hush", "hidden-key": 1}', SCHEMA | {"additionalProperties": False})
    assert "hush" in check.reason or "hidden-key" in check.reason
    assert "hush" not in check.told
    assert "hidden" not in check.told
    assert (
        check.told
        == "It is JSON and does not fit the schema. Fields not asked for: 1. Fields of another type: 1."
    )


@pytest.mark.parametrize("schema", [{"$ref": "http://x/y"}, {"pattern": "(?=a)"}, {"type": "nonsense"}])
def test_a_schema_that_cannot_be_used_is_no_fault_of_the_answer(schema):
    check = check_json("{}", schema)
    assert (check.verdict, check.failure) == ("unjudged", "schema_refused")


def test_citations():
    good = check_citations("Cats sleep most of the day [S1].", [CATS, DOGS])
    assert (good.verdict, good.citation_ok, good.cited, good.coverage) == ("ok", True, ("S1",), 1.0)
    assert good.grounded == 1.0
    made_up = check_citations("Cats sleep [S1], birds fly [S7].", [CATS, DOGS])
    assert (made_up.failure, made_up.citation_ok) == ("cites_unknown_passage", False)
    assert "S7" in made_up.reason
    assert "S7" not in made_up.told
    silent = check_citations("Cats sleep.", {"S1": CATS.text})
    assert (silent.failure, silent.coverage, silent.grounded) == ("no_citation", None, None)
    assert check_citations("Cats sl", [CATS], truncated=True).verdict is Verdict.UNJUDGED


def test_coverage_is_of_the_target_section():
    # content words of the target: cats, sleep, day; "most" is no content word
    assert check_citations("Cats run [S2].", [CATS, DOGS]).coverage == pytest.approx(1 / 3)
    assert check_citations("Cats run [S2].", [DOGS]).coverage is None


def record(**more: str) -> str:
    fields = {"snippet_id": "S1", "section_id": "cats", "quote": "Cats sleep", **more}
    return "{" + ", ".join(f'"{k}": "{v}"' for k, v in fields.items()) + "}"


@pytest.mark.parametrize(
    ("text", "failure", "fields"),
    [
        (record(), "", 1.0),
        (f'{{"answer": "x", "citations": [{record()}, {record()}]}}', "", 1.0),
        (f"[{record()}, {record(quote='Birds fly')}]", "quote_elsewhere", 1.0),
        (record(quote=""), "incomplete_record", 2 / 3),
        (record(snippet_id="S9"), "cites_unknown_passage", 1.0),
        (record(section_id="dogs"), "wrong_section", 1.0),
        ("no record", "no_citation", 0.0),
        ('{"citations": ["S1"]}', "incomplete_record", 0.0),
    ],
)
def test_records(text, failure, fields):
    check = check_citations(text, [CATS, DOGS], record=True)
    assert (check.failure, check.fields) == (failure, pytest.approx(fields))
    assert check.citation_ok is (failure == "")


def test_distance_is_measured_with_an_embedder_only():
    def embed(texts):
        return np.array([[1.0, 0.0] if "cat" in t.lower() else [0.0, 1.0] for t in texts])

    asked = {"question": "What do cats do?"}
    assert Guard().check_citations("x [S1]", [CATS], **asked).distance is None
    assert Guard(embed).check_citations("x [S1]", [CATS], **asked).distance == pytest.approx(0.0)
    assert Guard(embed).check_citations("x [S2]", [DOGS], **asked).distance == pytest.approx(1.0)
    assert Guard(embed).check_citations("x [S2]", [DOGS]).distance is None


@given(st.text(max_size=300), st.booleans(), st.booleans())
def test_any_text_gets_a_verdict(text, record, truncated):
    assert check_json(text, SCHEMA, truncated=truncated).verdict in ("ok", "failed")
    assert check_citations(text, [CATS], record=record, truncated=truncated).verdict != "unchecked"


def test_hostile_texts_are_read_in_bounded_steps():
    for text in ("a" + "\n" * 30_000 + "!", "[a," * 10_000, "```\n" * 8_000, '"' * 30_000, "[" * 32_000):
        check_citations(text, [CATS])
        check_citations(text, [CATS], record=True)
        check_json(text, SCHEMA)
    assert check_json("x" * 40_000, SCHEMA).failure == "too_long"
    assert check_citations("x", {f"S{i}": "y" for i in range(500)}).failure == "too_long"
