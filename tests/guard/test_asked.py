"""What a request asks for, and what a policy may say."""

from __future__ import annotations

import json

import pytest

from wfgy_triage.errors import InputError
from wfgy_triage.guard.asked import read_request
from wfgy_triage.guard.checks import Snippet
from wfgy_triage.guard.policy import Policy, Rule, SnippetSource, load_policy
from wfgy_triage.guard.watched import load_watched

FIELDS = load_watched().schema_fields


def asked(body, policy=None, route="chat"):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_request(route, raw, policy or Policy(), FIELDS)


def test_the_request_says_what_is_checked():
    schema = {"type": "array"}
    forms = (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
        {"json_schema": schema},
        {"json_schema": json.dumps(schema)},
        {"guided_json": schema},
    )
    for form in forms:
        found = asked({"messages": [], **form})
        assert (found.schema, found.checked) == (schema, True)
    assert asked({"response_format": {"type": "json_object"}}).schema == {"type": "object"}
    assert not asked({"messages": []}).checked


def test_a_rule_adds_a_schema_where_the_request_has_none():
    policy = Policy("p", (Rule("one", model="big-*", schema={"type": "array"}), Rule("rest", sample=0.0)))
    assert asked({"model": "big-1"}, policy).schema == {"type": "array"}
    assert asked({"model": "big-1", "json_schema": {"type": "null"}}, policy).schema == {"type": "null"}
    assert not asked({"model": "small", "json_schema": {}}, policy).checked


def test_passages_in_a_message():
    text = "Use these:\n[S1] Cats sleep.\nA lot.\n [doc:2#a]: Dogs run.\nQuestion: who [S1] sleeps?"
    rule = Rule("r", snippets=SnippetSource("message"))
    found = asked(
        {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}, Policy("p", (rule,))
    )
    assert found.snippets[0] == Snippet("S1", "Cats sleep.\nA lot.")
    assert found.snippets[1].id == "doc:2#a"
    assert found.cites
    assert found.question == text


def test_the_prompts_hash_is_of_its_content():
    one = asked(b'{"messages":[{"role":"user","content":"hi"}],"seed":1}')
    two = asked(b'{"seed":2, "messages": [{"role": "user", "content": "hi"}]}')
    assert one.prompt_sha256 == two.prompt_sha256 != asked({"prompt": "hi"}).prompt_sha256


def test_a_body_without_our_field_goes_on_as_it_is():
    raw = b'{"model": "m", "n": 1.0, "n": 2}'
    assert asked(raw).body is raw
    assert json.loads(asked({"model": "m", "wfgy_snippets": {"S1": "x"}}).body) == {"model": "m"}


def test_model_names_are_made_fit_for_a_log():
    assert asked({"model": "a\nb\x00\ud800" + "x" * 500}).model == "a?b??" + "x" * 123
    assert asked({"model": ["m"]}).model == ""


def write(tmp_path, text):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return path


def test_a_policy_file(tmp_path):
    (tmp_path / "s.json").write_text('{"type": "object"}')
    path = write(
        tmp_path,
        "policy: shop\nrules:\n  - {id: a, model: 'q*', route: chat, schema_file: s.json, sample: 0.5, "
        "store_texts: true, mode: enforce, on_failure: retry}\n"
        "  - {id: b, citations: record, snippets: {from: message, role: system, which: first}}\n",
    )
    policy = load_policy(path)
    first, second = policy.rules
    assert (policy.id, first.schema, first.sample, first.store_texts) == (
        "shop",
        {"type": "object"},
        0.5,
        True,
    )
    assert second.snippets == SnippetSource("message", "system", "first")
    assert policy.rule_for("qwen", "chat") is first
    assert policy.rule_for("qwen", "completions") is second
    assert Policy().rule_for("x", "chat").id == "by-request"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: []", "policy"),
        ("policy: p\nrules: [{id: a, sampel: 1}]", "sampel"),
        ("policy: p\nrules: [{id: a, sample: 2}]", "sample"),
        ("policy: p\nrules: [{id: a}, {id: a}]", "twice"),
        ("policy: p\nrules: [{id: a, schema: {$ref: 'http://x'}}]", "outside itself"),
        ("policy: p\nrules: [{id: a, schema_file: gone.json}]", "gone.json"),
        ("policy: [", "cannot be read"),
    ],
)
def test_a_wrong_policy_is_refused_and_the_spot_named(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        load_policy(write(tmp_path, text))


def test_sampling_draws_about_the_share():
    drawn = sum(Rule("r", sample=0.3).drawn() for _ in range(5_000))
    assert 1_250 < drawn < 1_750  # seven standard deviations
    assert not any(Rule("r", sample=0.0).drawn() for _ in range(100))
