from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.measure.json_prefix import could_go_on, judge_prefix

SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "maximum": 99},
        "c": {"enum": ["a", "b", "a,b"]},
        "w": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
        "o": {"type": "object", "properties": {"x": {"type": "boolean"}}, "additionalProperties": False},
    },
    "required": ["n", "c", "w", "o"],
    "additionalProperties": False,
}
RECORDS = st.fixed_dictionaries(
    {
        "n": st.integers(-99, 99),
        "c": st.sampled_from(["a", "b", "a,b"]),
        "w": st.lists(st.text(max_size=8), max_size=3),
        "o": st.fixed_dictionaries({"x": st.booleans()}),
    }
)


@given(RECORDS, st.data())
def test_no_prefix_of_a_good_answer_is_ever_given_up(record, data):
    text = json.dumps(
        record, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 2]))
    )
    cut = data.draw(st.integers(0, len(text)))
    assert judge_prefix(text[:cut], SCHEMA).reason == ""
    assert cut == len(text) or could_go_on(text[:cut], SCHEMA)


@pytest.mark.parametrize(
    "text", ["Sure! {", "I cannot", "```json\n{", '{"n" = 1}', '{"n": 1} and', '{"n": "1", "c": "a', "{]"]
)
def test_what_no_text_can_mend_cannot_go_on(text):
    assert not could_go_on(text, SCHEMA)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"w": ["a", "b", "c", "d", "e', "too long"),
        ('{"n": 1, "surprise": 2, "c": ', "surprise"),
        ('{"n": "1", "c": "a', "not of type 'integer'"),
        ('{"n": 100, "c": "a', "greater than the maximum"),
        ('{"c": "z", "n": 1', "not one of"),
        ('{"o": {"x": true, "y": 2, "z', "y"),
        ('{"w": ["far too long a word", "b', "too long"),
        ('[{"n": 1}, {"n"', "not of type 'object'"),
    ],
)
def test_what_already_breaks_the_schema_is_named(text, said):
    verdict = judge_prefix(text, SCHEMA)
    assert (verdict.never_parses, verdict.never_fits) == (False, True)
    assert said in verdict.reason


@pytest.mark.parametrize(
    "text", ['{"n": 1, "n": 2, "c', '{"n": 1, "c" "a", "w": [', '{"n": 1], "c": "a', '{"n": NaN, "c']
)
def test_what_can_no_longer_be_json_is_named(text):
    verdict = judge_prefix(text, SCHEMA)
    assert verdict.never_parses
    assert verdict.never_fits


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"n": 1', '{"n": 123456', '{"w": ["a", "b', "Here is the record: {", '{"w": [1', '"n", 1, 2'],
)
def test_what_may_still_come_right_stays_open(text):
    assert judge_prefix(text, SCHEMA).reason == ""


def test_conditions_that_more_text_may_turn_stay_open():
    schema = {"type": "object", "anyOf": [{"required": ["b"]}, {"properties": {"a": {"const": 1}}}]}
    assert judge_prefix('{"a": 2, "c": ', schema).reason == ""
    schema = {"if": {"required": ["b"]}, "else": {"properties": {"a": {"const": 1}}}}
    assert judge_prefix('{"a": 2, "c": ', schema).reason == ""
