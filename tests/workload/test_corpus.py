from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.workload.corpus import Corpus, load_corpus


@pytest.fixture
def corpus() -> Corpus:
    return load_corpus()


def test_size_and_balance(corpus: Corpus):
    own = [s for s in corpus.sections.values() if s.distractor_of is None]
    assert len(own) >= 12
    assert len(corpus.questions) >= 72  # fewer could never show 0.95 or more
    assert len({q.id for q in corpus.questions}) == len(corpus.questions)
    first = Counter(q.section for q in corpus.questions[:20])
    assert set(first) == {s.id for s in own}
    assert max(first.values()) - min(first.values()) <= 1


def test_sections_are_short(corpus: Corpus):
    for section in corpus.sections.values():
        assert 60 <= len(section.text.split()) <= 130, section.id


def test_evidence_is_exact_and_states_the_answer(corpus: Corpus):
    for question in corpus.questions:
        section = corpus.sections[question.section]
        assert question.evidence
        for span in question.evidence:
            assert span in section.text, question.id
        answer = question.answer.removeprefix("the ").removeprefix("a ")
        assert any(answer in span for span in question.evidence), question.id


def test_three_different_wordings_and_none_gives_the_answer_away(corpus: Corpus):
    wordings = [p for q in corpus.questions for p in q.paraphrases]
    assert len(wordings) == len(set(wordings)) == 3 * len(corpus.questions)
    for question in corpus.questions:
        assert all(question.answer not in wording for wording in question.paraphrases), question.id


def test_distractors_share_words_but_not_the_answer(corpus: Corpus):
    for question in corpus.questions:
        for other in corpus.distractors(question.section):
            assert question.answer not in other.text, (question.id, other.id)
            shared = words(other.text) & words(corpus.sections[question.section].text)
            assert len(shared) >= 0.5 * len(words(other.text))


def words(text: str) -> set[str]:
    return set(text.lower().replace(",", "").replace(".", "").split())


def test_a_damaged_file_is_a_clear_error(tmp_path: Path):
    broken = tmp_path / "corpus.json"
    broken.write_text('{"id": "x"}')
    with pytest.raises(PrerequisiteError, match="corpus.json"):
        load_corpus(broken)
