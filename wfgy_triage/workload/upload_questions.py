"""Rows about texts: sections, questions on them, and questions that bring their own text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wfgy_triage.measure.answers import answer_matches
from wfgy_triage.workload.corpus import sentences
from wfgy_triage.workload.upload_fields import MAX_ANSWER, MAX_QUESTION, MAX_TEXT, Fields
from wfgy_triage.workload.upload_formats import Problems, Row

_SECTION = ("section", "title", "text", "distractor_of")
_QUESTION = ("id", "question", "answer", "aliases", "paraphrases", "evidence", "section")
_WITH_TEXT = ("id", "question", "answer", "aliases", "paraphrases", "evidence", "context", "title")
WORDINGS = 3
"""How many wordings of a question λ_observe asks: the first ones. A question with fewer does not count there."""


def questions_file(
    name: str, rows: Sequence[Row], problems: Problems
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """A corpus file (format of assets/workloads/corpus.json) from rows, and notes for the reader."""
    sections: dict[str, dict[str, Any]] = {}
    for row in rows:
        if "question" not in row.fields and "context" not in row.fields:
            _add_section(row, sections, problems)
    contexts: dict[str, str] = {}
    questions: dict[str, dict[str, Any]] = {}
    for row in rows:
        if "question" in row.fields or "context" in row.fields:
            _add_question(row, sections, contexts, questions, problems)
    _check_whole(sections, questions, problems)
    content = {
        "kind": "questions",
        "id": name,
        "sections": list(sections.values()),
        "questions": list(questions.values()),
    }
    return content, _notes(list(questions.values()))


def _add_section(row: Row, sections: dict[str, dict[str, Any]], problems: Problems) -> None:
    fields = Fields(row, _SECTION, problems)
    section = fields.id("section")
    title, text = fields.text("title", MAX_ANSWER, required=False), fields.text("text", MAX_TEXT)
    distractor_of = fields.text("distractor_of", 64, required=False) or None
    if section in sections:
        fields.complain(f"the section {section!r} is there twice.")
    if fields.ok:
        sections[section] = {
            "id": section,
            "title": title or section,
            "text": text,
            "distractor_of": distractor_of,
        }


def _add_question(
    row: Row,
    sections: dict[str, dict[str, Any]],
    contexts: dict[str, str],
    questions: dict[str, dict[str, Any]],
    problems: Problems,
) -> None:
    own_text = "context" in row.fields
    fields = Fields(row, _WITH_TEXT if own_text else _QUESTION, problems)
    question, answer = fields.text("question", MAX_QUESTION), fields.text("answer", MAX_ANSWER)
    aliases = fields.texts("aliases", MAX_ANSWER)
    wordings = list(dict.fromkeys([question, *fields.texts("paraphrases", MAX_QUESTION)]))
    found = fields.id("id", default=f"q{len(questions) + 1}")
    section = _own_section(fields, sections, contexts) if own_text else fields.id("section")
    if found in questions:
        fields.complain(f"the question id {found!r} is there twice.")
    if section and section not in sections:
        fields.complain(f"there is no section {section!r}.")
    evidence = fields.texts("evidence", MAX_TEXT)
    if fields.ok:
        evidence = _evidence(fields, sections[section]["text"], evidence, answer, aliases)
    if fields.ok:
        questions[found] = {
            "id": found,
            "paraphrases": wordings,
            "answer": answer,
            "aliases": aliases,
            "section": section,
            "evidence": evidence,
        }


def _own_section(fields: Fields, sections: dict[str, dict[str, Any]], contexts: dict[str, str]) -> str:
    """The section made of a question's own text; equal texts share one."""
    text, title = fields.text("context", MAX_TEXT), fields.text("title", MAX_ANSWER, required=False)
    if not text:
        return ""
    if text not in contexts:
        number = len(contexts) + 1
        while f"text-{number}" in sections:
            number += 1
        contexts[text] = f"text-{number}"
        sections[contexts[text]] = {
            "id": contexts[text],
            "title": title or f"Text {number}",
            "text": text,
            "distractor_of": None,
        }
    return contexts[text]


def _evidence(
    fields: Fields, text: str, given: Sequence[str], answer: str, aliases: Sequence[str]
) -> list[str]:
    """The given spans, which must stand in the text word for word, or else the sentences that hold the answer."""
    if given:
        for span in given:
            if span not in text:
                fields.complain(f"the evidence {span[:60]!r} does not stand in the section word for word.")
        return list(given)
    found = [s for s in sentences(text) if answer_matches(s, answer, aliases)]
    if not found:
        fields.complain(
            f"the answer {answer[:60]!r} stands in no sentence of the section; give 'evidence', or correct it."
        )
    return found[:1]


def _check_whole(
    sections: Mapping[str, Mapping[str, Any]], questions: Mapping[str, Any], problems: Problems
) -> None:
    if problems.found:
        return
    if not questions:
        problems.found.append("There is no question in the set.")
    elif len(sections) < 2:
        problems.found.append(
            "All questions are about one text. To tell right from wrong sources, two or more texts are needed."
        )
    for section in sections.values():
        if section["distractor_of"] is not None and section["distractor_of"] not in sections:
            problems.found.append(
                f"The section {section['id']!r} is a distractor of {section['distractor_of']!r}, which is not there."
            )


def _notes(questions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    few = sum(len(q["paraphrases"]) < WORDINGS for q in questions)
    if not few:
        return ()
    return (
        f"{few} of {len(questions)} questions have fewer than {WORDINGS} wordings; whether answers stay the same when "
        "a question is reworded is not measured for these.",
    )
