from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from wfgy_triage.errors import InputError
from wfgy_triage.measure.citations import classify_citations, classify_record
from wfgy_triage.measure.tension import K_SWEEP
from wfgy_triage.workload.citations import EXAMPLES, LEVELS, load_citations, load_sweep, marked, record
from wfgy_triage.workload.corpus import load_corpus
from wfgy_triage.workload.stored import store_upload
from wfgy_triage.workload.upload import UploadedFile, read_upload
from wfgy_triage.workload.upload_questions import WORDINGS

CORPUS = load_corpus()


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_the_evidence_is_in_the_gold_passage_and_in_no_other(level: str):
    for task in load_citations(level=level).tasks:
        assert len(task.snippets) == LEVELS[level].passages
        assert len(set(task.sections.values())) == len(task.snippets)
        assert task.sections[task.gold] == task.question.section
        for snippet in task.snippets:
            held = all(span in snippet.text for span in task.question.evidence)
            assert held == (snippet.id == task.gold)


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("passages", K_SWEEP)
def test_the_sweep_asks_the_same_questions_with_more_and_shorter_passages(level: str, passages: int):
    first, swept = load_citations(level=level), load_sweep(passages, level=level)
    assert [t.question for t in swept.tasks] == [t.question for t in first.tasks]
    for before, task in zip(first.tasks, swept.tasks, strict=True):
        assert len(task.snippets) == passages
        assert task.snippets != before.snippets
        assert all(span in task.supplied[task.gold] for span in task.question.evidence)
        assert sum(task.question.evidence[0] in s.text for s in task.snippets) == 1


def test_every_question_has_the_wordings_that_stability_takes_at_both_levels():
    for level in LEVELS:
        assert all(len(set(t.question.paraphrases)) >= WORDINGS for t in load_citations(level=level).tasks)


def test_the_right_passage_is_at_every_place_about_as_often():
    places = Counter(task.gold for task in load_citations().tasks[:20])
    assert set(places) == {"S1", "S2", "S3"}
    assert max(places.values()) - min(places.values()) <= 1


def test_only_the_hard_level_shows_lookalikes():
    def lookalikes(level: str) -> int:
        tasks = load_citations(level=level).tasks
        return sum(
            CORPUS.sections[s].distractor_of == t.question.section for t in tasks for s in t.sections.values()
        )

    assert lookalikes("standard") == 0
    assert lookalikes("hard") == sum(bool(CORPUS.distractors(q.section)) for q in CORPUS.questions)


def test_prompts_share_everything_but_the_last_message():
    workload = load_citations()
    first, second = (workload.messages(task) for task in workload.tasks[:2])
    assert first[:-1] == second[:-1]
    assert first[-1] != second[-1]
    assert workload.tasks[0].question.text in first[-1]["content"]


def test_the_examples_are_right_by_the_probe_s_own_measures():
    for example in EXAMPLES:
        supplied = {s.id: s.text for s in example.snippets}
        sections = {s.id: s.section for s in example.snippets}
        outcome = classify_citations(
            marked(example.answer, example.gold), supplied, example.gold, truncated=False
        )
        assert outcome.kind == "cites_right_passage"
        assert outcome.cite_first
        found = classify_record(
            record(example.gold, sections[example.gold], example.quote), supplied, sections
        )
        assert found.completeness == 1
        assert found.section_matches
        assert found.offsets is not None
        assert all(s.section not in CORPUS.sections for s in example.snippets)


def test_marks_stand_inside_the_end_of_every_sentence():
    assert marked("It is 3.5 m tall. It is red!", "S2") == "It is 3.5 m tall [S2]. It is red [S2]!"
    assert marked("no full stop", "S1") == "no full stop [S1]"


def test_unknown_levels_are_refused():
    with pytest.raises(InputError, match="no level 'easy'"):
        load_citations(level="easy")
    with pytest.raises(InputError, match="no level 'easy'"):
        load_sweep(5, level="easy")


def test_a_users_set_of_two_related_texts_still_gives_tasks(tmp_path: Path):
    rows = (
        '{"section": "a", "text": "The red box holds 5 pens. It is new."}\n'
        '{"section": "b", "text": "The red crate holds 9 pens. It is old.", "distractor_of": "a"}\n'
        '{"question": "How many pens does the box hold?", "answer": "5 pens", "section": "a"}\n'
    )
    stored = store_upload(tmp_path, read_upload([UploadedFile("two.jsonl", rows.encode())]))
    workload = load_citations(stored.path)
    assert workload.id == "two/citations/standard"
    assert workload.sha256 == stored.id
    (task,) = workload.tasks
    assert list(task.sections.values()) == ["a", "b"]


def test_evidence_over_several_sentences_is_shown_whole(tmp_path: Path):
    text = "One is red. Two is blue. Three holds 7 pens. Four is old. Five is new. Six is gone."
    rows = (
        f'{{"question": "How many?", "answer": "7 pens", "context": "{text}", "evidence": '
        '["Two is blue. Three holds 7 pens. Four is old. Five is new."]}\n'
        '{"question": "What?", "answer": "a door", "context": "It is a door. It is shut."}\n'
    )
    stored = store_upload(tmp_path, read_upload([UploadedFile("long.jsonl", rows.encode())]))
    task = load_citations(stored.path).tasks[0]
    assert task.question.evidence[0] in task.supplied[task.gold]
