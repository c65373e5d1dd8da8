"""The classes of JSON failure, case by case."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.errors import InputError
from wfgy_triage.measure.json_validity import JsonKind, classify_json, same_value

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "plan": {"enum": ["free", "paid"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "home": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
GOOD = {"name": "Ann", "age": 31, "plan": "free"}
GOOD_TEXT = json.dumps(GOOD)

CASES = [
    # text, truncated, kind, recoverable
    (GOOD_TEXT, False, JsonKind.VALID, False),
    ("\n  " + GOOD_TEXT + " \n", False, JsonKind.VALID, False),
    (GOOD_TEXT, True, JsonKind.VALID, False),
    ('{"name": "Ann"}', False, JsonKind.SCHEMA_MISMATCH, False),
    ('{"name": "Ann"}', True, JsonKind.SCHEMA_MISMATCH, False),
    ('"Ann"', False, JsonKind.SCHEMA_MISMATCH, False),
    ('"Ann"', True, JsonKind.TRUNCATED, False),
    ("12", True, JsonKind.TRUNCATED, False),
    ('{"name": "An', True, JsonKind.TRUNCATED, False),
    ("", True, JsonKind.TRUNCATED, False),
    ("Sure, here it is", True, JsonKind.TRUNCATED, False),
    ("As [1] says, the answer is", True, JsonKind.TRUNCATED, False),
    ('{"home": {"city": "Rome"}, "na', True, JsonKind.TRUNCATED, False),
    (GOOD_TEXT + " I hope this helps", False, JsonKind.TRAILING_TEXT, True),
    (GOOD_TEXT + " I hope this hel", True, JsonKind.TRAILING_TEXT, True),
    (GOOD_TEXT + GOOD_TEXT, False, JsonKind.TRAILING_TEXT, True),
    (GOOD_TEXT + "}", False, JsonKind.TRAILING_TEXT, True),
    ('{"name": 1} and more', False, JsonKind.TRAILING_TEXT, False),
    ("Sure! " + GOOD_TEXT, False, JsonKind.LEADING_TEXT, True),
    ("Sure! " + GOOD_TEXT + " Done.", False, JsonKind.LEADING_TEXT, True),
    ("Use [brackets]: " + GOOD_TEXT, False, JsonKind.LEADING_TEXT, True),
    ("```json\n" + GOOD_TEXT + "\n```", False, JsonKind.CODE_FENCE, True),
    ("Here:\n```\n" + GOOD_TEXT + "\n```\nBye", False, JsonKind.CODE_FENCE, True),
    ("```json\n" + GOOD_TEXT, False, JsonKind.CODE_FENCE, True),
    ("", False, JsonKind.EMPTY, False),
    (" \n\t", False, JsonKind.EMPTY, False),
    ("no idea", False, JsonKind.MALFORMED, False),
    ('{"name": "Ann", "age": 31', False, JsonKind.MALFORMED, False),
    ("{'name': 'Ann', 'age': 31}", False, JsonKind.MALFORMED, False),
    ('{"name": "Ann", "age": 31,}', False, JsonKind.MALFORMED, False),
    ('{"name": "Ann", age: 31}', False, JsonKind.MALFORMED, False),
    ('{"home": {"city": "Rome"}, name: 1}', False, JsonKind.MALFORMED, False),
    ('{"name": "Ann", "age": NaN}', False, JsonKind.MALFORMED, False),
    ('{"name": "Ann", "age": -Infinity}', False, JsonKind.MALFORMED, False),
    ('{"name": "Ann", "age": 1e999}', False, JsonKind.MALFORMED, False),
    ('{"name": "Ann", "name": "Bob", "age": 1}', False, JsonKind.MALFORMED, False),
    ('{"name": "A\nB", "age": 1}', False, JsonKind.MALFORMED, False),
    ('{"name": "\\x", "age": 1}', False, JsonKind.MALFORMED, False),
]


@pytest.mark.parametrize(("text", "truncated", "kind", "recoverable"), CASES)
def test_class_of_an_answer(text, truncated, kind, recoverable):
    outcome = classify_json(text, SCHEMA, truncated)
    assert outcome.kind is kind
    assert outcome.recoverable is recoverable
    assert outcome.schema_valid is (kind is JsonKind.VALID)
    assert outcome.parse_valid is (kind in (JsonKind.VALID, JsonKind.SCHEMA_MISMATCH))
    assert outcome.truncated is (kind is JsonKind.TRUNCATED)
    assert outcome.detail


def test_trailing_text_is_flagged_wherever_it_stands():
    assert classify_json(GOOD_TEXT + " x", SCHEMA, False).trailing_text
    assert classify_json("a " + GOOD_TEXT + " x", SCHEMA, False).trailing_text
    assert not classify_json("a " + GOOD_TEXT, SCHEMA, False).trailing_text
    assert not classify_json(GOOD_TEXT, SCHEMA, False).trailing_text


def test_drift_names_the_places():
    text = '{"age": "31", "plan": "gold", "tags": ["a", 2], "home": {"town": "Rome"}}'
    outcome = classify_json(text, SCHEMA, False)
    assert outcome.missing_keys == ("home.city", "name")
    assert outcome.extra_keys == ("home.town",)
    assert outcome.type_drift == ("age", "tags[1]")
    assert outcome.enum_drift == ("plan",)
    assert "schema objects" in outcome.detail


def test_drift_against_the_expected_record_sees_what_the_schema_allows():
    outcome = classify_json('{"name": "Ann", "age": 31, "tags": []}', SCHEMA, False, GOOD)
    assert outcome.kind is JsonKind.VALID
    assert outcome.missing_keys == ("plan",)
    assert outcome.extra_keys == ("tags",)
    assert outcome.value_matches is False


@pytest.mark.parametrize(
    ("text", "truncated", "expected", "matches"),
    [
        ('{"age": 31, "plan": "free", "name": "Ann"}', False, GOOD, True),
        ('{"name": "Ann", "age": 31.0, "plan": "free"}', False, GOOD, True),
        ('{"name": "Bob", "age": 31, "plan": "free"}', False, GOOD, False),
        ("no idea", False, GOOD, False),
        (GOOD_TEXT + " bye", False, GOOD, False),
        ('{"name": "An', True, GOOD, None),
        (GOOD_TEXT, False, None, None),
    ],
)
def test_value_match(text, truncated, expected, matches):
    assert classify_json(text, SCHEMA, truncated, expected).value_matches is matches


def test_json_equality_keeps_booleans_and_numbers_apart():
    assert same_value({"a": [1, 2.0]}, {"a": [1.0, 2]})
    assert not same_value(True, 1)
    assert not same_value([1, 2], [2, 1])
    assert not same_value(0, False)
    assert not same_value(None, 0)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100 + "]" * 100,
        '{"a":' * 5_000,
        '{"name": "' + "x" * 40_000 + '", "age": 1}',
        '{"name": "Ann", "age": ' + "9" * 6_000 + "}",
        "{" * 30_000 + "x",
        "[1]" * 10_000,
    ],
    ids=["open", "deep", "deep-objects", "long", "digits", "braces", "many"],
)
def test_bombs_are_answers_like_any_other(text):
    outcome = classify_json(text, SCHEMA, False)
    assert not outcome.parse_valid
    assert not outcome.schema_valid
    assert len(outcome.detail) < 400


def test_lone_surrogates_do_not_escape_into_reports():
    outcome = classify_json('{"name": "Ann", "age": 1, "\\ud800": 2}', SCHEMA, False)
    assert outcome.extra_keys == ("?",)
    outcome.detail.encode()


def test_an_unsafe_schema_is_the_schemas_fault_even_when_the_answer_is_not_json():
    with pytest.raises(InputError, match="outside itself"):
        classify_json("no idea", {"$ref": "http://127.0.0.1/x"}, False)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_every_json_value_is_valid_under_the_open_schema(value):
    text = json.dumps(value)
    outcome = classify_json(text, True, False)
    assert outcome.kind is JsonKind.VALID


@given(st.dictionaries(st.text(), JSON_VALUES, min_size=1, max_size=4), st.data())
def test_a_cut_record_is_truncated_never_invalid(record, data):
    text = json.dumps(record)
    cut = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
    assert classify_json(text[:cut], SCHEMA, True).kind is JsonKind.TRUNCATED


@given(st.text() | st.text(alphabet='{}[]":,\\ntrue1 `json\n'), st.booleans())
def test_any_text_has_exactly_one_class(text, truncated):
    outcome = classify_json(text, SCHEMA, truncated, GOOD)
    assert outcome.kind in set(JsonKind)
    if outcome.schema_valid:
        assert outcome.parse_valid
        json.loads(text)
