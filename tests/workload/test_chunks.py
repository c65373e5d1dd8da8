from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage.errors import InputError
from wfgy_triage.workload.chunks import chunk_corpus, load_chunks
from wfgy_triage.workload.corpus import load_corpus, sentences
from wfgy_triage.workload.index_file import given_vectors

GOOD = [
    {"id": "a", "text": "The crane carries nine tonnes.", "questions": ["How much does the crane carry?"]},
    {
        "id": "b",
        "text": "The barge leaves at dawn from the northern quay.",
        "section": "port",
        "title": "Port",
    },
    {"id": "c", "text": "Copper roofs turn green after twenty winters."},
]


def write(tmp_path: Path, *records: Any) -> Path:
    path = tmp_path / "chunks.jsonl"
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_corpus_is_cut_so_that_each_question_has_one_gold_passage():
    corpus = load_corpus()
    found = chunk_corpus(corpus)
    assert len(found.chunks) > 100
    assert len({c.id for c in found.chunks}) == len(found.chunks)
    assert [len(q.gold) for q in found.queries] == [1] * len(corpus.questions)
    for query, question in zip(found.queries, corpus.questions, strict=True):
        (place,) = query.gold
        assert question.evidence[0] in found.chunks[place].text
        assert found.chunks[place].section == question.section
    joined = {s: " ".join(found.chunks[i].text for i in places) for s, places in found.sections.items()}
    assert joined == {s.id: s.text for s in corpus.sections.values()}


def test_evidence_over_two_sentences_or_none_at_all():
    corpus = load_corpus()
    section = corpus.sections["pump"]
    one, two, *_ = sentences(section.text)
    across = f"{one[-10:]} {two[:8]}"
    asked = [replace(corpus.questions[0], evidence=e) for e in ((across,), (), ("not there",))]
    found = chunk_corpus(replace(corpus, questions=tuple(asked))).queries
    every = set(range(len(sentences(section.text))))
    assert [set(q.gold) for q in found] == [{0, 1}, every, every]


def test_a_users_passages_with_questions(tmp_path: Path):
    shared = {**GOOD[2], "questions": ["How much does the crane carry?", "When do roofs turn green?"]}
    found = load_chunks(write(tmp_path, GOOD[0], "", GOOD[1], shared))
    assert [c.id for c in found.chunks] == ["a", "b", "c"]
    assert found.chunks[1].indexed == "Port. The barge leaves at dawn from the northern quay."
    assert found.chunks[0].section == "a"
    assert not found.known_item
    assert [(q.text, set(q.gold)) for q in found.queries] == [
        ("How much does the crane carry?", {0, 2}),
        ("When do roofs turn green?", {2}),
    ]
    assert given_vectors(found) is None


def test_without_questions_each_passage_asks_for_itself(tmp_path: Path):
    records = [{k: v for k, v in r.items() if k != "questions"} for r in GOOD]
    found = load_chunks(write(tmp_path, *records))
    assert found.known_item
    assert found.queries[0].text == "carries crane nine tonnes"
    assert [set(q.gold) for q in found.queries] == [{0}, {1}, {2}]


def test_embeddings_come_along(tmp_path: Path):
    records = [{**r, "embedding": [float(i), 2, -1.5]} for i, r in enumerate(GOOD)]
    given_index = given_vectors(load_chunks(write(tmp_path, *records)))
    assert given_index is not None
    assert given_index.vectors.dtype == np.float32
    assert given_index.vectors.tolist() == [[0.0, 2.0, -1.5], [1.0, 2.0, -1.5], [2.0, 2.0, -1.5]]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "Line 3 is not a JSON object"),
        ("[1]", "Line 3 is not a JSON object"),
        ("[" * 5000, "Line 3 is not a JSON object"),
        ('{"id": "x", "text": "t", "embedding": [NaN]}', "Line 3 is not a JSON object: NaN"),
        ({"id": "x"}, "Line 3: text has to be"),
        ({"id": 7, "text": "t"}, "Line 3: id has to be"),
        ({"id": "x", "text": " "}, "Line 3: text has to be"),
        ({"id": "x", "text": "t", "section": 4}, "Line 3: section"),
        ({"id": "x", "text": "t" * 9000}, "9,000 characters"),
        ({"id": "x", "text": "t", "questions": "one"}, "Line 3: questions"),
        ({"id": "x", "text": "t", "questions": [""]}, "Line 3: questions"),
        ({"id": "x", "text": "t", "embedding": []}, "Line 3: embedding"),
        ({"id": "x", "text": "t", "embedding": [1, True]}, "Line 3: embedding"),
        ('{"id": "x", "text": "t", "embedding": [1e999]}', "Line 3: embedding"),
        ({"id": "x", "text": "t", "embedding": [10**400]}, "Line 3: embedding"),
        ({"id": "x", "text": "t", "embedding": [1.0]}, "embeddings differ in length"),
        ({"id": "a", "text": "t"}, "'a' is given twice"),
        ({"id": "x\ud800", "text": "t"}, "Line 3: id has half of a character"),
        ({"id": "x", "text": "t \udfff"}, "Line 3: text has half of a character"),
        ({"id": "x", "text": "t", "title": "\ud800"}, "Line 3: title has half of a character"),
        ({"id": "x", "text": "t", "section": "\ud800"}, "Line 3: section has half of a character"),
        ({"id": "x", "text": "t", "questions": ["a", "\ud800"]}, "Line 3: questions has half of a character"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, record: Any, message: str):
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        load_chunks(write(tmp_path, GOOD[0], GOOD[1], record))


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_only_line_feeds_end_a_line(tmp_path: Path, ends: str):
    texts = ["one\u2028two\u2029three", "four\u0085five", "six \U0001f600"]
    path = tmp_path / "chunks.jsonl"
    rows = [json.dumps({**r, "text": t}, ensure_ascii=False) for r, t in zip(GOOD, texts, strict=True)]
    path.write_bytes(ends.join(rows).encode())
    assert [c.text for c in load_chunks(path).chunks] == texts
    path.write_bytes(ends.join([*rows, "{"]).encode())
    with pytest.raises(InputError, match="Line 4 is not a JSON object"):
        load_chunks(path)


def test_files_that_cannot_be_used(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        load_chunks(tmp_path / "none.jsonl")
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"id": "a", "text": "x"}\n{"id": "b", "text": "caf\xe9"}')
    with pytest.raises(InputError, match="line 2: this is not UTF-8"):
        load_chunks(latin)
    with pytest.raises(InputError, match="1 passages"):
        load_chunks(write(tmp_path, GOOD[0]))
    with pytest.raises(InputError, match="nothing to ask"):
        load_chunks(write(tmp_path, {"id": "a", "text": "x y"}, {"id": "b", "text": "1 2"}))
    many = [{"id": str(i), "text": "t"} for i in range(5001)]
    with pytest.raises(InputError, match="more than 5000"):
        load_chunks(write(tmp_path, *many))


@given(st.text(max_size=200))
def test_sentences_lose_nothing(text: str):
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
