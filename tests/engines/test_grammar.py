"""Answers that are held to a grammar fit it, end where it ends, and do not depend on the batch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.test_reproducible import few_shot_requests
from wfgy_triage.engines.base import Engine, GenerationRequest, Grammar, ScoreRequest
from wfgy_triage.engines.decoding import Decoder, DecodingOptions
from wfgy_triage.engines.grammar import GrammarCompiler
from wfgy_triage.engines.grammar_builders import (
    citation_record_grammar,
    cited_sentence_grammar,
    record_grammar,
)
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.engines.tokens import tokenizer_definition
from wfgy_triage.engines.transformers_engine import TransformersEngine
from wfgy_triage.errors import InputError, ProbeError
from wfgy_triage.measure.citations import classify_citations, classify_record
from wfgy_triage.measure.json_validity import classify_json
from wfgy_triage.measure.strict_json import parse_json
from wfgy_triage.workload.citations import load_citations
from wfgy_triage.workload.json_records import RECORD_LEVELS, load_json_workload

RECORD = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "count": {"type": "integer", "minimum": 1, "maximum": 400},
        "kind": {"enum": ["big", "bigger", None]},
        "parts": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "count", "kind", "parts"],
    "additionalProperties": False,
}


def leaf() -> st.SearchStrategy[dict]:
    """Schemas of values that end after a few tokens."""
    bounds = st.tuples(st.integers(-99, 99), st.integers(0, 50))
    return st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        bounds.map(lambda b: {"type": "integer", "minimum": b[0], "maximum": b[0] + b[1]}),
        st.integers(0, 4).map(lambda n: {"type": "string", "minLength": n, "maxLength": n + 2}),
        st.lists(st.one_of(st.text(max_size=4), st.integers(-9, 9)), min_size=1, max_size=3).map(
            lambda v: {"enum": v}
        ),
        st.sampled_from(["^[a-c]{2}-[0-9]$", "^x?y$"]).map(lambda p: {"type": "string", "pattern": p}),
    )


def compound(inner: st.SearchStrategy[dict]) -> st.SearchStrategy[dict]:
    """Arrays, objects and alternatives of them."""
    names = st.dictionaries(st.text('abé"\\ ', max_size=3), inner, min_size=1, max_size=3)
    return st.one_of(
        names.map(
            lambda p: {
                "type": "object",
                "properties": p,
                "required": list(p)[:1],
                "additionalProperties": False,
            }
        ),
        inner.map(lambda s: {"type": "array", "items": s, "minItems": 1, "maxItems": 2}),
        st.lists(inner, min_size=1, max_size=2).map(lambda s: {"anyOf": s}),
    )


SCHEMAS = st.recursive(leaf(), compound, max_leaves=4)


def asked(engine: Engine, grammar: Grammar | None, count: int = 1, **values) -> list[GenerationRequest]:
    """Requests that begin alike, with seeds of their own."""
    settings = {"max_new_tokens": 90, **values}
    requests = few_shot_requests(engine, count, **settings)
    return [dataclasses.replace(r, seed=i, grammar=grammar) for i, r in enumerate(requests)]


@given(
    schema=SCHEMAS, spacing=st.sampled_from(["any", "compact", "spaced"]), warmth=st.sampled_from([0.0, 1.5])
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_finished_answers_fit_their_schema(engine, schema, spacing, warmth):
    grammar = Grammar("json_schema", json.dumps(schema), spacing)
    for answer in engine.generate(asked(engine, grammar, 2, temperature=warmth)):
        if answer.finish_reason == "stop":
            value = json.loads(answer.text)
            jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
            if spacing != "any":
                separators = (",", ":") if spacing == "compact" else (", ", ": ")
                assert json.loads(json.dumps(value)) == value
                assert _spaces(answer.text) == _spaces(json.dumps(value, separators=separators))
        else:
            # Any white space may go on for ever.
            assert answer.finish_reason == "length"
            assert len(answer.token_ids) == 90


def _spaces(text: str) -> int:
    """White space outside of strings."""
    parts = text.replace("\\\\", "").replace('\\"', "").split('"')
    return sum(c.isspace() for part in parts[::2] for c in part)


def test_a_truncated_answer_is_a_prefix_of_the_whole(engine):
    grammar = record_grammar(RECORD)
    [whole] = engine.generate(asked(engine, grammar))
    assert whole.finish_reason == "stop"
    [cut] = engine.generate(asked(engine, grammar, max_new_tokens=9))
    assert (cut.finish_reason, cut.token_ids) == ("length", whole.token_ids[:9])


def test_a_complete_answer_ends_on_its_last_token(engine):
    """It needs no token for the end, and is complete even where the budget ends with it."""
    grammar = Grammar("regex", "abc")
    [answer] = engine.generate(asked(engine, grammar, max_new_tokens=3))
    assert (answer.text, answer.finish_reason, len(answer.token_ids)) == ("abc", "stop", 3)


def test_the_end_is_allowed_only_where_the_grammar_accepts(engine):
    compiler = GrammarCompiler(_definition(engine), {257}, 258)
    state = compiler.start(Grammar("regex", "a{2,3}"), "r")
    a = engine.encode("a")[0]
    allowed = []
    for _ in range(3):
        allowed.append(set(np.flatnonzero(~compiler.barred([state])[0]).tolist()))
        last = state.push(a)
    assert allowed == [{a}, {a}, {a, 257}]
    assert last


def _definition(engine: Engine) -> str:
    assert isinstance(engine, TransformersEngine)
    return tokenizer_definition(engine._tokenizer)


def test_ungrammared_rows_of_a_mixed_batch_are_what_they_were(engine):
    free = asked(engine, None, 4, max_new_tokens=30)
    bound = [dataclasses.replace(r, id=f"g{r.id}") for r in asked(engine, record_grammar(RECORD), 4)]
    alone = {c.id: c for c in engine.generate(free)} | {c.id: c for c in engine.generate(bound)}
    mixed = {c.id: c for c in engine.generate([*free[:2], *bound, *free[2:]])}
    assert {k: v.token_ids for k, v in mixed.items()} == {k: v.token_ids for k, v in alone.items()}
    for request in bound:
        classed = classify_json(mixed[request.id].text, RECORD, truncated=False)
        assert classed.schema_valid, mixed[request.id].text


def test_logprobs_are_those_of_the_model_itself(engine):
    """A forced token keeps the probability that the model gave it."""
    [answer] = engine.generate(asked(engine, Grammar("regex", "zq"), max_new_tokens=4))
    prompt = asked(engine, None)[0].prompt_ids
    [chunk] = engine.logits([ScoreRequest("s", prompt + answer.token_ids, len(prompt))])
    expected = chunk.logits.log_softmax(-1)[range(2), list(answer.token_ids)]
    assert answer.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert max(answer.logprobs) < 0


def test_a_stop_string_ends_a_grammared_answer(engine):
    request = asked(engine, Grammar("regex", "abcdef"), stop_strings=("d",))
    [answer] = engine.generate(request)
    assert (answer.text, answer.finish_reason) == ("abc", "stop_string")


@pytest.mark.parametrize(
    ("grammar", "named"),
    [
        (record_grammar({"type": "array", "contains": {"const": 1}}), "contains"),
        (
            record_grammar({"type": "array", "x-guidance": {"lenient": True}, "uniqueItems": True}),
            "uniqueItems",
        ),
        (
            record_grammar({"type": "object", "propertyNames": {"pattern": "a"}, "not": {}}),
            "not, propertyNames",
        ),
        (record_grammar({"oneOf": [{"minimum": 1}, {"maximum": 4}]}), "oneOf"),
        (record_grammar({"$ref": "https://example.com/schema.json"}), "outside itself"),
        (record_grammar({"type": "integer", "minimum": 4, "maximum": 3}), "minimum"),
        (record_grammar(False), "no value"),
        (Grammar("json_schema", "{"), "not JSON"),
        (Grammar("json_schema", " "), "empty"),
        (Grammar("regex", ""), "empty"),
        (Grammar("regex", "(?=a)b"), "look-around"),
        (Grammar("lark", "start: nowhere"), "nowhere"),
        (Grammar("lark", "start: " + "a" * 300_000), "longer than"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_computed(engine, grammar, named):
    with pytest.raises(InputError, match=named):
        engine.generate(asked(engine, grammar))


def test_a_grammar_that_leaves_no_token_names_its_request(make_folder):
    """The vocabulary of these logits ends before the letter that the grammar asks for."""
    engine = open_engine(make_folder("llama"), side="fp16")
    assert isinstance(engine, TransformersEngine)
    cut = GrammarCompiler(_definition(engine), {10}, 60)
    options = DecodingOptions("cut", settle_ties=True)
    decoder = Decoder(engine.runner, engine.decode, frozenset({10}), 512, options, lambda: cut)
    with pytest.raises(ProbeError, match="'r0' leaves no token"):
        list(decoder.run(asked(engine, Grammar("regex", "z+"))))
    without = Decoder(engine.runner, engine.decode, frozenset({257}), 512, options)
    with pytest.raises(InputError, match="cannot follow a grammar"):
        without.run(asked(engine, Grammar("regex", "z+")))


SENTENCES = [
    ("The well is 3.5 metres deep [S1].", True),
    ("The well is deep. [S2]", True),
    ("It is deep [S1, S2]!", True),
    ("It is deep [S3].", False),
    ("It is deep.", False),
    ("It is deep. It is wet [S1].", False),
    ("[S1]", False),
    ("It is [S1](x)", False),
]


@pytest.mark.parametrize(("text", "fits"), SENTENCES)
def test_the_cited_sentence_is_what_the_measure_calls_valid(engine, text, fits):
    assert _fits(engine, cited_sentence_grammar(["S1", "S2"]), text) == fits
    outcome = classify_citations(text, {"S1": "", "S2": ""}, "S1", truncated=False)
    if fits:
        assert outcome.valid
        assert outcome.cite_first


def test_a_citation_record_names_only_what_was_supplied(engine):
    grammar = citation_record_grammar({"S1": "bus", "S2": "lamp"})
    right = '{"quote": "It has a switch.", "snippet_id": "S2", "section_id": "lamp"}'
    assert _fits(engine, grammar, right)
    assert classify_record(right, {"S2": "It has a switch."}, {"S2": "lamp"}).completeness == 1
    assert not _fits(engine, grammar, right.replace("S2", "S3"))
    assert not _fits(engine, grammar, right.replace("lamp", "bus"))
    assert not _fits(engine, grammar, right.replace("It has a switch.", ""))
    assert not _fits(engine, grammar, right.replace(" ", ""))


def test_a_citation_record_can_be_held_to_sentences_of_its_passage(engine):
    quotes = {"S1": ["The bus is late.", "It is red."], "S2": ["It has a switch."]}
    grammar = citation_record_grammar({"S1": "bus", "S2": "lamp"}, quotes=quotes)
    right = '{"quote": "It is red.", "snippet_id": "S1", "section_id": "bus"}'
    assert _fits(engine, grammar, right)
    assert not _fits(engine, grammar, right.replace("It is red.", "It has a switch."))
    assert not _fits(engine, grammar, right.replace("red", "blue"))
    [answer] = engine.generate(asked(engine, grammar))
    record = json.loads(answer.text)
    assert record["quote"] in quotes[record["snippet_id"]]


@pytest.mark.parametrize("ids", [[], ["S 1"], ["S1]"], ["x" * 65]])
def test_passages_that_cannot_be_cited_are_refused(ids):
    with pytest.raises(InputError, match=r"no passage|cannot be cited"):
        cited_sentence_grammar(ids)


@pytest.mark.parametrize("level", sorted(RECORD_LEVELS))
def test_the_lock_lets_every_right_record_through_and_no_damaged_one(engine, level):
    records = load_json_workload(RECORD_LEVELS[level])
    compiler = GrammarCompiler(_definition(engine), {257}, 258)
    for question in records.questions:
        grammar = record_grammar(records.classes[question.record_class].schema)
        state = compiler.start(grammar, question.id)
        for token in engine.encode(records.gold_text(question)):
            state.push(token)  # raises where the grammar does not allow it
        assert not compiler.barred([state])[0, 257]
        last = next(reversed(question.record))
        damaged = {**question.record, last: {"surprise": question.record[last]}}
        assert not _fits(engine, grammar, json.dumps(damaged), compiler)


def _fits(engine: Engine, grammar: Grammar, text: str, compiler: GrammarCompiler | None = None) -> bool:
    """Whether the grammar allows every token of the text, and the end behind it."""
    compiler = compiler or GrammarCompiler(_definition(engine), {257}, 258)
    state = compiler.start(grammar, "t")
    return _follow(compiler, state, engine.encode(text))


def _follow(compiler: GrammarCompiler, state, tokens: Sequence[int]) -> bool:
    complete = False
    for token in tokens:
        if complete or compiler.barred([state])[0, token]:
            return False
        complete = state.push(token)
    return complete or not compiler.barred([state])[0, 257]


@pytest.mark.demo
def test_the_lock_on_the_demo_model(demo_pair):
    """Three bits a weight break JSON and citations; the lock mends their form."""
    engine = open_engine(demo_pair["demo-3bpw"], side="exl2")
    records, citations = load_json_workload(), load_citations()
    requests, checks = [], {}
    for question in records.questions[:3]:
        schema = records.classes[question.record_class].schema
        ids = engine.encode(engine.render_chat(records.messages(question)))
        requests.append(GenerationRequest(question.id, ids, 120, grammar=record_grammar(schema)))
        checks[question.id] = lambda text, s=schema: jsonschema.validate(parse_json(text), s) is None
    for task in citations.tasks[:2]:
        ids = engine.encode(engine.render_chat(citations.messages(task)))
        requests.append(
            GenerationRequest(task.question.id, ids, 120, grammar=cited_sentence_grammar(task.supplied))
        )
        checks[task.question.id] = lambda text, t=task: (
            classify_citations(text, t.supplied, t.gold, truncated=False).valid
        )
    for answer in engine.generate(requests):
        assert answer.finish_reason == "stop", answer.text
        assert checks[answer.id](answer.text), answer.text
    engine.close()
