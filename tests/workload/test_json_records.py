from __future__ import annotations

import json
import runpy
from collections import Counter
from dataclasses import replace

import jsonschema
import pytest

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.measure.json_validity import check_schema_safe, classify_json
from wfgy_triage.workload import json_records as workload


@pytest.fixture
def records() -> workload.JsonWorkload:
    return workload.load_json_workload()


def test_there_are_enough_questions_and_the_first_ones_are_balanced(records: workload.JsonWorkload):
    assert len(records.questions) >= 60
    assert set(Counter(q.record_class for q in records.questions[:20]).values()) == {4}
    assert len({q.id for q in records.questions}) == len(records.questions)
    assert len({q.text for q in records.questions}) == len(records.questions)


def test_every_gold_record_is_valid_and_stated_in_its_note(records: workload.JsonWorkload):
    for question in records.questions:
        schema = records.classes[question.record_class].schema
        check_schema_safe(schema)
        outcome = classify_json(
            records.gold_text(question), schema, truncated=False, expected=question.record
        )
        assert outcome.schema_valid
        assert outcome.value_matches
        for value in leaves(question.record):
            if isinstance(value, str):
                assert value.lower() in question.text.lower(), (question.id, value)
            elif not isinstance(value, bool):
                assert str(value) in question.text


def leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for v in value.values() for leaf in leaves(v)]
    if isinstance(value, list):
        return [leaf for v in value for leaf in leaves(v)]
    return [value]


def test_schemas_refuse_what_is_not_asked_for(records: workload.JsonWorkload):
    for record_class in records.classes.values():
        example = dict(record_class.examples[0].record)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**example, "surprise": 1}, record_class.schema)


def test_no_question_is_one_of_the_examples(records: workload.JsonWorkload):
    shown = {e.text for c in records.classes.values() for e in c.examples}
    assert not shown & {q.text for q in records.questions}


def test_prompts_of_a_class_share_everything_but_the_note(records: workload.JsonWorkload):
    first, second = [q for q in records.questions if q.record_class == "nested"][:2]
    assert records.messages(first)[:-1] == records.messages(second)[:-1]
    assert second.text in records.messages(second)[-1]["content"]


def test_the_file_is_what_its_script_writes(tmp_path, monkeypatch):
    made = runpy.run_path(str(workload.REPO_ROOT / "tools" / "make_json_records.py"))
    out = tmp_path / "records.json"
    made["main"].__globals__["OUT"] = out
    made["main"]()
    assert out.read_bytes() == workload.JSON_RECORDS.read_bytes()


@pytest.mark.parametrize(
    "content", ["", "{", '{"id": "x"}', json.dumps({"id": "x", "classes": {}, "records": [1]})]
)
def test_a_damaged_file_is_explained(tmp_path, content: str):
    broken = tmp_path / "json_records.json"
    broken.write_text(content)
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        workload.load_json_workload(broken)


def test_without_examples_the_schema_is_told(records: workload.JsonWorkload):
    question = records.questions[0]
    found = records.classes[question.record_class]
    bare = replace(records, classes={found.name: replace(found, examples=())})
    turns = bare.messages(question)
    assert len(turns) == 2
    assert json.dumps(found.schema) in turns[0]["content"]
    assert json.dumps(found.schema) not in records.messages(question)[0]["content"]
