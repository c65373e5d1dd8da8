from __future__ import annotations

from dataclasses import replace

import pytest

from tests.probes.fakes import ScriptedEngine
from tests.remedies.scripts import PromptEngine, case_of, chain_case, counting
from wfgy_triage.errors import InputError
from wfgy_triage.probes.citations_missing import PROBE as CITATIONS
from wfgy_triage.probes.json_breaks import PROBE as JSON
from wfgy_triage.remedies.base import Case, NotApplicableError
from wfgy_triage.remedies.citation_contract import CitationContract
from wfgy_triage.workload.citations import ANSWER_INSTRUCTION, EXAMPLES, RECORD, load_citations
from wfgy_triage.workload.contracts import described
from wfgy_triage.workload.json_records import load_json_workload

TASKS = {t.question.id: t for t in load_citations().tasks}
SILENT = PromptEngine(lambda prompt, request: "")


def changes(case: Case):
    remedy = CitationContract()
    for candidate in remedy.candidates(case):
        with remedy.apply(case, candidate) as change:
            yield candidate, change


@pytest.mark.parametrize("probe", [CITATIONS, JSON])
def test_a_frame_changes_words_and_nothing_else(probe):
    case = case_of(probe, SILENT, questions=5)
    for candidate, change in changes(case):
        assert change.engine is SILENT
        assert candidate.patch["prompt.contract"].count("{prompt}") == 1
        for item in case.subject.items:
            asked = change.restate(item)
            assert asked.prompt_ids != item.prompt_ids
            assert replace(asked, prompt_ids=item.prompt_ids, messages=item.messages) == item


def test_the_contract_names_the_numbers_of_its_own_passages_and_keeps_the_examples():
    case = case_of(CITATIONS, SILENT, questions=4)
    for _, change in changes(case):
        for item in (i for i in case.subject.items if not i.question.endswith(RECORD)):
            prompt, before = (SILENT.decode(i.prompt_ids) for i in (change.restate(item), item))
            allowed = ", ".join(f"[{mark}]" for mark in TASKS[item.question].supplied)
            assert f"Allowed numbers: {allowed}." in prompt.partition("user:")[0]
            assert ANSWER_INSTRUCTION not in prompt
            # The right answer is not given away: what is new is the same for every task with as many passages.
            assert all(line in prompt for line in before.splitlines() if "assistant:" in line)
            assert all(e.question in prompt for e in EXAMPLES)


def test_the_reminder_stands_behind_the_question_and_behind_those_of_the_examples():
    case = case_of(CITATIONS, SILENT, questions=1)
    found = {c.id: change for c, change in changes(case)}
    item = case.subject.items[0]
    prompt = SILENT.decode(found["citation_contract reminded"].restate(item).prompt_ids)
    assert prompt.count("End the sentence with one of [S1], [S2], [S3].") == 1 + len(EXAMPLES)
    assert prompt.endswith("End the sentence with one of [S1], [S2], [S3].")


def test_records_get_their_own_required_fields():
    case = case_of(CITATIONS, SILENT, questions=1)
    record = next(i for i in case.subject.items if i.question.endswith(RECORD))
    for _, change in changes(case):
        system = SILENT.decode(change.restate(record).prompt_ids).partition("user:")[0]
        assert "quote, snippet_id, section_id" in system
        assert "Allowed snippet_id: S1, S2, S3." in system


def test_a_json_contract_lists_the_required_fields_before_the_note():
    case = case_of(JSON, SILENT, questions=5)
    workload = load_json_workload()
    for _, change in changes(case):
        for item in case.subject.items:
            kind = next(q.record_class for q in workload.questions if q.id == item.question)
            system = SILENT.decode(change.restate(item).prompt_ids).partition("user:")[0]
            assert all(name in system for name in workload.classes[kind].schema["required"])


def test_questions_beyond_those_of_the_run_can_be_asked_too():
    few, many = case_of(CITATIONS, SILENT, questions=2), case_of(CITATIONS, SILENT, questions=30)
    for _, change in changes(few):
        assert len({change.restate(i).prompt_ids for i in many.subject.items}) == len(many.subject.items)


def test_a_frame_that_does_not_fit_is_refused():
    case = case_of(CITATIONS, SILENT, questions=1)
    item = case.subject.items[0]
    small = ScriptedEngine({})
    small.info = replace(small.info, max_context=len(item.prompt_ids) + item.max_new_tokens)
    subject = CITATIONS.subject(replace(case.context, fp16=small))
    for _, change in changes(replace(case, subject=subject)):
        with pytest.raises(InputError, match="context"):
            change.restate(item)


def test_chains_have_no_contract():
    with pytest.raises(NotApplicableError, match="no frame"):
        CitationContract().candidates(chain_case(PromptEngine(counting(10, 99)), questions=1))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}, "a (text), b (whole number)"),
        ({"properties": {"a": {"enum": ["x", 1, None]}}}, "a (one of: x, 1, None)"),
        ({"properties": {"a": {"properties": {"b": {"type": "boolean"}}}}}, "a {b (true or false)}"),
        (
            {"properties": {"a": {"type": "array", "items": {"type": "string"}}, "b": {"type": "array"}}},
            "a (list of text), b (list)",
        ),
        ({"properties": {"a": True, "b": {"$ref": "#/x"}, "c": {"type": ["string", "null"]}}}, "a, b, c"),
        ({"anyOf": []}, ""),
        ({"type": "array"}, ""),
    ],
)
def test_a_schema_in_words(schema, words):
    assert described(schema) == words
