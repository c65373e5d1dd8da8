"""Which tokens spell JSON structure."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.measure.json_validity import structural_positions


@pytest.mark.parametrize(
    ("tokens", "flags"),
    [
        (['{"', "name", '":', ' "', "Ann", '"}'], [1, 1, 1, 1, 0, 1]),
        ([' {"', "age", '": ', "3", "1", "}"], [1, 1, 1, 0, 0, 1]),
        (["[", "1", ",", " 2", "]"], [1, 0, 1, 0, 1]),
        (['{"a": 5}'], [0]),
        (['{"a":', " 5}"], [1, 0]),
        (['{"a"', ":", ' "x:{}[]"', "}"], [1, 1, 0, 1]),
        (['{"a', '\\"', 'b": "c', '\\"', '"}'], [1, 1, 0, 0, 1]),
        (['{"a":', '["', "b", '","', "c", '"],', '"', "d", '":{"', "e", '":', "null", "}}"],
         [1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1]),
        (["{", "\n  ", '"a"', ":", " ", "true", "\n", "}", "\n", "Done"], [1, 1, 1, 1, 1, 0, 1, 1, 0, 0]),
        (["Sure", ": ", "{", '"a":', "1", "}"], [0, 0, 1, 1, 0, 1]),
        (['"just text"'], [0]),
        (['{"a": "', "", "x", '"}'], [1, 0, 0, 1]),
        (['{"', "", "a", '": 1}'], [1, 1, 1, 0]),
        (["{name", ": ", "Ann", "}"], [1, 1, 0, 1]),
        (["}", "]", ":", "{", "}"], [0, 0, 0, 1, 1]),
        ([], []),
    ],
)  # fmt: skip
def test_tables(tokens, flags):
    assert structural_positions(tokens) == [bool(flag) for flag in flags]


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def _leaves(value):
    if isinstance(value, dict):
        return "".join(_leaves(v) for v in value.values())
    if isinstance(value, list):
        return "".join(map(_leaves, value))
    text = json.dumps(value)
    return text[1:-1] if isinstance(value, str) else text


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.sampled_from([None, 2]))
def test_one_character_tokens_leave_exactly_the_values(record, indent):
    text = json.dumps(record, indent=indent)
    flags = structural_positions(list(text))
    assert "".join(c for c, structural in zip(text, flags, strict=True) if not structural) == _leaves(record)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.data())
def test_a_token_is_structure_when_all_its_characters_are(record, data):
    text = json.dumps(record)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=8)))
    bounds = [0, *[c for c in cuts if c < len(text)], len(text)]
    tokens = [text[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    single = structural_positions(list(text))
    for token, flag, (a, b) in zip(
        tokens, structural_positions(tokens), zip(bounds[:-1], bounds[1:], strict=True), strict=True
    ):
        assert flag is all(single[a:b]), token
