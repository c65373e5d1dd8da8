"""Schemas from strangers: no calls out, no hanging, the same verdicts as jsonschema."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from wfgy_triage.errors import InputError
from wfgy_triage.measure.schema_guard import check_schema_safe, schema_errors


@pytest.fixture
def listener():
    hits = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", hits
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda url: {"$ref": url + "/x.json"},
        lambda url: {"$dynamicRef": url + "/x#y"},
        lambda url: {"properties": {"a": {"items": {"$ref": url + "/x"}}}},
        lambda url: {"allOf": [{"not": {"$ref": url}}]},
        lambda url: {"$id": url + "/base/", "$ref": "other.json"},
        lambda url: {"$schema": url + "/meta"},
    ],
)
def test_references_never_leave_the_schema(listener, wrap):
    url, hits = listener
    with pytest.raises(InputError):
        schema_errors(wrap(url), {"a": [1]})
    assert hits == []


def test_a_base_uri_alone_fetches_nothing(listener):
    url, hits = listener
    schema = {
        "$id": url + "/s",
        "$defs": {"n": {"type": "integer"}},
        "properties": {"a": {"$ref": "#/$defs/n"}},
    }
    assert schema_errors(schema, {"a": 1}) == []
    assert len(schema_errors(schema, {"a": "x"})) == 1
    assert hits == []


def test_a_property_may_be_called_like_a_keyword():
    schema = {
        "properties": {"$ref": {"type": "string"}, "pattern": {"const": "(?=x)"}},
        "enum": [{"$ref": "http://a"}],
    }
    assert schema_errors(schema, {"$ref": "http://a"}) == []


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(.*a){12}$", "(x+x+)+y", "a*a*a*a*a*b"])
def test_hostile_patterns_are_linear(pattern):
    value = "a" * 20_000 + "!" if "x" not in pattern else "x" * 20_000
    assert len(schema_errors({"pattern": pattern}, value)) == 1
    assert (
        len(schema_errors({"patternProperties": {pattern: False}, "additionalProperties": False}, {value: 1}))
        == 1
    )


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"pattern": "(?=a)b"}, "not supported"),
        ({"pattern": r"(a)\1"}, "not supported"),
        ({"pattern": "("}, "not supported"),
        ({"pattern": "a" * 257}, "longer than 256"),
        ({"pattern": "((a{200}){200}){200}"}, "not supported"),
        ({"patternProperties": {"(?<!a)b": {}}}, "not supported"),
        ({"type": "strin"}, "not valid"),
        ({"properties": []}, "not valid"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "declares"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "#"}, "too expensive"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"enum": ["x" * 70_000]}, "larger than 64 KB"),
        ({"enum": list(range(2_001))}, "more than 2000"),
        ({"const": float("nan")}, "written as JSON"),
        ([], "must be a JSON object"),
    ],
)
def test_refused_schemas(schema, message):
    with pytest.raises(InputError, match=message) as caught:
        schema_errors(schema, {"a": 1})
    assert caught.value.hint


def test_depth_is_limited_even_far_beyond_the_stack():
    schema = {}
    for _ in range(40):
        schema = {"items": schema}
    with pytest.raises(InputError, match="deeper than 32"):
        check_schema_safe(schema)
    for _ in range(100_000):
        schema = {"items": schema}
    with pytest.raises(InputError):
        check_schema_safe(schema)


def test_exponential_and_quadratic_schemas_run_out_of_budget():
    doubling = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)}
    schema = {"$defs": {**doubling, "a40": {"type": "string"}}, "$ref": "#/$defs/a0"}
    with pytest.raises(InputError, match="too expensive"):
        schema_errors(schema, "x")
    with pytest.raises(InputError, match="too expensive"):
        schema_errors({"uniqueItems": True}, [{"a": i} for i in range(3_000)])
    # The budget is per answer: the next one starts with a full one.
    assert schema_errors({"uniqueItems": True}, [{"a": 1}, {"a": 2}]) == []


def test_recursive_schemas_for_trees_work():
    tree = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["v"]}
        },
    }
    assert schema_errors(tree, {"v": 1, "next": {"v": 2}}) == []
    assert len(schema_errors(tree, {"v": 1, "next": {}})) == 1


# After cases of the public JSON-Schema test collection: schema, value, valid.
DRAFT_CASES = [
    ({"type": "integer"}, 1.0, True),
    ({"type": "integer"}, 1.1, False),
    ({"type": "integer"}, True, False),
    ({"type": "number"}, "1", False),
    ({"const": 1}, 1.0, True),
    ({"const": 1}, True, False),
    ({"const": {"a": False}}, {"a": 0}, False),
    ({"enum": [[False]]}, [0], False),
    ({"uniqueItems": True}, [1, True], True),
    ({"uniqueItems": True}, [{"a": 1}, {"a": 1.0}], False),
    ({"multipleOf": 0.01}, 0.07, True),
    ({"multipleOf": 0.01}, 0.075, False),
    ({"multipleOf": 0.0001}, 0.00751, False),
    ({"multipleOf": 0.5}, 1e308, True),
    ({"multipleOf": 2}, 7, False),
    ({"minLength": 2}, "💩", False),
    ({"pattern": "^\\d+$"}, "12\n", False),
    ({"pattern": "a"}, 5, True),
    ({"prefixItems": [{"type": "string"}], "items": False}, ["a"], True),
    ({"prefixItems": [{"type": "string"}], "items": False}, ["a", 1], False),
    ({"contains": {"minimum": 5}, "minContains": 2}, [6, 7, 1], True),
    ({"contains": {"minimum": 5}, "minContains": 2}, [6, 1], False),
    ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, False),
    ({"if": {"const": 1}, "then": False, "else": True}, 1, False),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 3, False),
    ({"propertyNames": {"pattern": "^a"}}, {"b": 1}, False),
    ({"properties": {"foo": {}}, "patternProperties": {"^v": {}}, "additionalProperties": False},
     {"foo": 1, "vroom": 2}, True),
    ({"properties": {"foo": {}}, "patternProperties": {"^v": {}}, "additionalProperties": False},
     {"foo": 1, "quux": 2}, False),
    ({"additionalProperties": {"type": "boolean"}}, {"a": 1}, False),
    ({"additionalProperties": False}, [1], True),
    ({"patternProperties": {"f.*o": {"type": "integer"}}}, {"foo": "bar"}, False),
    ({"patternProperties": {"^á": {"type": "integer"}}}, {"ármányos": 2}, True),
    (False, 1, False),
    (True, None, True),
    ({"format": "email"}, "no mail", True),
    ({"$defs": {"a%b": {"type": "integer"}}, "$ref": "#/$defs/a%25b"}, "x", False),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "valid"), DRAFT_CASES)
def test_draft_2020_12(schema, value, valid):
    assert (schema_errors(schema, value) == []) is valid


NAMES = st.sampled_from(["a", "b", "ab"])
LEAVES = st.sampled_from(
    [
        True,
        False,
        {},
        {"type": "integer"},
        {"type": "string", "pattern": "^a+$"},
        {"minimum": 2},
        {"enum": [1, "a"]},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(NAMES, inner, max_size=2),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$", "."]), inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "required": st.lists(NAMES, unique=True, max_size=2),
        },
    ),
    max_leaves=8,
)
VALUES = st.recursive(
    st.sampled_from([None, True, 1, 2, 2.5, "a", "aa", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(SCHEMAS, VALUES)
def test_the_guarded_validator_agrees_with_the_plain_one(schema, value):
    assert (schema_errors(schema, value) == []) is Draft202012Validator(schema).is_valid(value)
