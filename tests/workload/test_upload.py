from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workload.uploads import GOOD, OTHER, SCHEMA, lines, problems, read
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.workload.corpus import load_corpus
from wfgy_triage.workload.json_records import load_json_workload
from wfgy_triage.workload.stored import BUILTIN, store_upload, stored_workload, workload_path
from wfgy_triage.workload.upload import MAX_BYTES, UploadedFile, read_path, read_upload
from wfgy_triage.workload.upload_formats import MAX_ROWS, SHOWN_PROBLEMS

PASSAGES_TEMPLATE = "passages.jsonl"  # tests/ui/test_own_passages.py reads it
TEMPLATES = REPO_ROOT / "assets" / "templates"

QUESTION_TEMPLATES = sorted(p for p in TEMPLATES.iterdir() if p.name != PASSAGES_TEMPLATE)


@pytest.mark.parametrize("path", QUESTION_TEMPLATES, ids=lambda p: p.name)
def test_every_template_can_be_used_as_it_is(path: Path, tmp_path: Path):
    upload = read_path(path)
    stored = store_upload(tmp_path, upload)
    loaded = load_corpus(stored.path) if upload.kind == "questions" else load_json_workload(stored.path)
    assert len(loaded.questions) == upload.questions >= 2
    assert loaded.id == path.stem


def test_jsonl_in_full(tmp_path: Path):
    upload = read_path(TEMPLATES / "questions.jsonl")
    corpus = load_corpus(store_upload(tmp_path, upload).path)
    deposit = corpus.questions[0]
    assert len(deposit.paraphrases) == 3
    assert deposit.evidence == ("Keys are handed out against a deposit of 12 crowns.",)
    assert corpus.sections["day-desk"].distractor_of == "night-desk"
    assert corpus.sections["text-1"].title == "Laundry"
    assert "3 of 4 questions have fewer than 3 wordings" in upload.notes[0]


def test_markdown_in_full(tmp_path: Path):
    corpus = load_corpus(store_upload(tmp_path, read_path(TEMPLATES / "questions.md")).path)
    assert list(corpus.sections) == ["night-desk", "bicycle-shed"]
    assert corpus.sections["bicycle-shed"].text.endswith("Its gate is locked at 23:00.")
    assert len(corpus.questions[0].paraphrases) == 2
    assert corpus.questions[0].aliases == ("twelve crowns",)
    assert corpus.questions[1].evidence == ("Lost keys are reported to the Harrow office.",)


def test_csv_with_other_delimiters_bom_and_line_ends():
    text = "\ufeffquestion;answer;context\r\nHow many?;7 pens;The box holds 7 pens. Red.\r\nWhich?;red;It is red.\r\n"
    assert read("q.csv", text).questions == 2


def test_rows_of_several_files_make_one_set(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(lines({"section": "s", "text": "The box holds 7 pens."}, OTHER))
    (tmp_path / "b.jsonl").write_text(lines({"question": "How many?", "answer": "7 pens", "section": "s"}))
    (tmp_path / "notes.txt").write_text("not read")
    upload = read_path(tmp_path)
    assert (upload.questions, upload.passages, upload.name) == (2, 2, "a-and-1-more")


def test_all_rows_are_checked_at_once_and_named_by_line():
    text = lines(GOOD, {"question": "?", "context": "x"}, OTHER, {**GOOD, "anwser": "7"}) + "\n{oops\n[1]"
    found = problems("q.jsonl", text)
    assert [p.partition(":")[0] for p in found] == [f"q.jsonl, line {n}" for n in (5, 6, 2, 4)]
    assert "not a JSON object" in found[0]
    assert "'answer' is missing" in found[2]
    assert "unknown field 'anwser'" in found[3]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("q.jsonl", "", "the file is empty"),
        ("q.jsonl", " \n\n", "the file is empty"),
        ("q.txt", "x", "use .jsonl, .csv or .md"),
        ("q", "x", "use .jsonl, .csv or .md"),
        ("q.jsonl", b'{"a": 1}\n{"b": "\xe4"}', "line 2: not UTF-8 (byte 0xE4)"),
        ("q.csv", b"a,b\0c", "line 1: holds binary data"),
        ("q.jsonl", "[" * 10_000 + "]" * 10_000, "line 1: not a JSON object"),
        ("q.jsonl", '{"question": ' * 10_000, "line 1: not a JSON object"),
        ("q.jsonl", '{"question": NaN}', "line 1: not a JSON object"),
        ("q.csv", "question,reply,context\na,b,c", "columns missing: 'answer'"),
        ("q.csv", "question,reply,context\na,b,c", "columns unknown: 'reply'"),
        ("q.csv", "question,answer,context,answer\na,b,c,d", "more than once: 'answer'"),
        ("q.csv", "question,answer,context\na,b", "line 2: 2 cells where the first line has 3"),
        ("q.csv", 'question,answer,context\n"a,b,c', "cannot be read on from here"),
        ("q.csv", "question,answer,context\n", "There is no row in the set"),
        ("q.md", "# Title\n\nQ: a?\nA: b", "before the first '## ' heading"),
        ("q.md", "## T\nA: b", "line 2: 'A:' without a 'Q:' line"),
        ("q.md", "## T\nText.\nQ: What?", "line 3: 'answer' is missing"),
        ("q.md", "## T\nThe text.\n## T\nMore.\nQ: a?\nA: More", "the section 't' is there twice"),
        (
            "q.jsonl",
            lines({**GOOD, "id": "x"}, {**OTHER, "id": "x"}),
            "line 2: the question id 'x' is there twice",
        ),
        ("q.jsonl", lines({**GOOD, "id": "../x"}), "'id' is '../x'"),
        ("q.jsonl", lines({"question": "a?", "answer": "b", "section": "s"}), "there is no section 's'"),
        ("q.jsonl", lines({**GOOD, "answer": "8 pens"}), "stands in no sentence of the section"),
        (
            "q.jsonl",
            lines({**GOOD, "evidence": ["the box holds"]}),
            "does not stand in the section word for word",
        ),
        ("q.jsonl", lines({**GOOD, "question": "x" * 1001}), "'question' has 1,001 characters"),
        ("q.jsonl", lines({**GOOD, "context": "x" * 20_001}), "'context' has 20,001 characters"),
        ("q.jsonl", lines({**GOOD, "aliases": ["x"] * 9}), "'aliases' has 9 entries"),
        ("q.jsonl", lines({**GOOD, "answer": ["7 pens"]}), "'answer' must be a text"),
        ("q.jsonl", lines({**GOOD, "answer": True}), "'answer' must be a text"),
        ("q.jsonl", lines(GOOD), "All questions are about one text"),
        (
            "q.jsonl",
            lines({"section": "a", "text": "x"}, {"section": "b", "text": "y"}),
            "There is no question",
        ),
        (
            "q.jsonl",
            lines(GOOD, OTHER, {"section": "a", "text": "x", "distractor_of": "z"}),
            "of 'z', which is not",
        ),
        ("q.jsonl", lines(GOOD, {"text": "a", "record": {}, "schema": SCHEMA}), "among JSON records"),
        ("r.jsonl", lines({"text": "a", "record": {"n": 1}}), "'schema' must be a JSON Schema object"),
        ("r.jsonl", lines({"text": "a", "record": "n", "schema": SCHEMA}), "'record' must be a JSON object"),
        (
            "r.jsonl",
            lines({"text": "a", "record": {"n": "1"}, "schema": SCHEMA}),
            "does not fit its own schema",
        ),
        (
            "r.jsonl",
            lines({"text": "a", "record": {"n": 1}, "schema": SCHEMA, "example": True}),
            "all rows are examples",
        ),
        (
            "r.jsonl",
            lines({"text": "a", "record": {"n": 1}, "schema": {"$ref": "https://example.org/s.json"}}),
            "outside itself",
        ),
        (
            "r.jsonl",
            lines({"text": "a", "record": {"n": 1}, "schema": {"pattern": "(a+)+\\1$"}}),
            "is not supported",
        ),
    ],
)
def test_what_cannot_be_used_says_why(name: str, text: str | bytes, said: str):
    assert any(said in p for p in problems(name, text)), problems(name, text)


def test_a_deep_schema_is_refused_by_its_own_limit():
    schema: dict[str, object] = {"type": "integer"}
    for _ in range(29):
        schema = {"properties": {"n": schema}}
    assert "nested deeper" in problems("r.jsonl", lines({"text": "a", "record": {}, "schema": schema}))[0]


def test_numbers_may_be_answers_in_json():
    upload = read("q.jsonl", lines({**GOOD, "answer": 7}, OTHER))
    assert upload.content["questions"][0]["answer"] == "7"


def test_many_problems_are_capped():
    found = problems("q.jsonl", lines(*[{"question": str(n), "context": "x"} for n in range(100)]))
    assert len(found) == SHOWN_PROBLEMS + 1
    assert found[-1] == "… and 80 more."


def test_too_many_rows_and_bytes_are_refused():
    rows = [{**GOOD, "question": f"How many {n}?"} for n in range(MAX_ROWS + 1)]
    assert "at most 1,000" in problems("q.jsonl", lines(*rows))[0]
    with pytest.raises(InputError, match="too large"):
        read("q.jsonl", b"x" * (MAX_BYTES + 1))
    with pytest.raises(InputError, match="too large"):
        read_upload([UploadedFile(f"{n}.jsonl", b"{}") for n in range(51)])
    with pytest.raises(InputError, match="No file"):
        read_upload([])


def test_paths_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read"):
        read_path(tmp_path / "none.csv")
    with pytest.raises(InputError, match="holds no question files"):
        read_path(tmp_path)
    big = tmp_path / "big.csv"
    big.write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(InputError, match="At most"):
        read_path(big)


@given(st.binary(max_size=300), st.sampled_from(["a.jsonl", "a.csv", "a.md"]))
def test_any_bytes_are_read_or_refused_with_words(data: bytes, name: str):
    with suppress(InputError):
        read_upload([UploadedFile(name, data)])


def test_equal_sets_are_kept_once_and_found_by_id(tmp_path: Path):
    upload = read("q.jsonl", lines(GOOD, OTHER))
    first, again = (store_upload(tmp_path, upload) for _ in range(2))
    assert first == again == stored_workload(tmp_path, first.id)
    assert [p.name for p in (tmp_path / "workloads").iterdir()] == [f"{first.id}.json"]
    assert workload_path(tmp_path, "citations_missing", first.id) == first.path
    assert workload_path(tmp_path, "citations_missing", BUILTIN) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"{}"])
def test_a_damaged_file_is_mended_by_giving_the_set_again(tmp_path: Path, damage: bytes):
    upload = read("q.jsonl", lines(GOOD, OTHER))
    first = store_upload(tmp_path, upload)
    first.path.write_bytes(damage)
    with pytest.raises(PrerequisiteError, match="damaged") as caught:
        stored_workload(tmp_path, first.id)
    assert "Give the file again" in caught.value.hint
    assert store_upload(tmp_path, upload) == first == stored_workload(tmp_path, first.id)


def test_a_full_disk_is_not_filled_with_parts_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    upload = read("q.jsonl", lines(GOOD, OTHER))
    with monkeypatch.context() as patch:
        patch.setattr("wfgy_triage.workload.stored.os.replace", full)
        with pytest.raises(PrerequisiteError, match="No space left"):
            store_upload(tmp_path, upload)
    assert list((tmp_path / "workloads").iterdir()) == []
    store_upload(tmp_path, upload)


def test_a_set_that_is_given_again_is_as_young_as_a_new_one(tmp_path: Path):
    upload = read("q.jsonl", lines(GOOD, OTHER))
    path = store_upload(tmp_path, upload).path
    os.utime(path, (1_000_000_000, 1_000_000_000))
    store_upload(tmp_path, upload)
    assert path.stat().st_mtime > 1_000_000_000


def test_ids_that_are_not_there_or_not_ids(tmp_path: Path):
    for wrong in ("0" * 64, "../../etc/passwd", "", "x" * 200):
        with pytest.raises(InputError, match="no question set"):
            stored_workload(tmp_path, wrong)


def test_a_changed_copy_is_not_used(tmp_path: Path):
    stored = store_upload(tmp_path, read("q.jsonl", lines(GOOD, OTHER)))
    stored.path.write_text("{}")
    with pytest.raises(PrerequisiteError, match="was changed"):
        stored_workload(tmp_path, stored.id)


def test_a_set_of_the_wrong_kind_is_refused(tmp_path: Path):
    questions = store_upload(tmp_path, read("q.jsonl", lines(GOOD, OTHER)))
    records = store_upload(tmp_path, read_path(TEMPLATES / "records.jsonl"))
    with pytest.raises(InputError, match="needs JSON records"):
        workload_path(tmp_path, "json_breaks", questions.id)
    with pytest.raises(InputError, match="needs questions about texts"):
        workload_path(tmp_path, "citations_missing", records.id)
    with pytest.raises(InputError, match="own questions only"):
        workload_path(tmp_path, "long_chain", questions.id)
