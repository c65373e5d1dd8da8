"""Step 2: a visitor's own passages and index, through the page's handlers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest

from tests.ui.conftest import Stage
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.retrieval_plan import make_plan
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.store.records import RunSpec
from wfgy_triage.workload import passages as passages_module
from wfgy_triage.workload import stored
from wfgy_triage.workload.stored import workload_path

TEMPLATE = (REPO_ROOT / "assets" / "templates" / "passages.jsonl").read_bytes()
ROWS = np.random.default_rng(3).standard_normal((8, 16)).astype(np.float32)
CHOICES = ("wrong_snippet", "demo", 20)


def index_file(tmp_path: Path, index: faiss.Index | None = None, rows: np.ndarray = ROWS) -> bytes:
    index = index if index is not None else faiss.IndexFlatIP(rows.shape[1])
    index.train(rows)
    index.add(rows)
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    return (tmp_path / "index.faiss").read_bytes()


def give(stage: Stage, name: str, path: str, workload: str = "", symptom: str = "wrong_snippet") -> str:
    """Upload a file; the id of the set that is then in use, as the page holds it."""
    stage.call(name, symptom, "demo", 20, workload, "off", path)
    new = stage.said("workload")
    return workload if new is None else str(new)


def test_passages_and_index_are_kept_and_searched(stage: Stage, sent, tmp_path: Path):
    first = give(stage, "upload_passages", sent("handbook.jsonl", TEMPLATE))
    assert "“handbook.jsonl”, 8 passages, 8 questions" in stage.said("upload_note")
    assert stage.said("upload_index")["visible"] is True
    both = give(stage, "upload_index", sent("mine.faiss", index_file(tmp_path)), first)
    assert "mine.faiss" in stage.said("upload_note")
    assert first != both
    stage.call("start", *CHOICES, both, "off", 0, '{"k": "7"}')
    assert stage.said("notice") == ""
    spec = stage.context.service.get(stage.said("run_id")).spec
    assert (spec.workload_id, spec.options) == (both, {"k": "7", "fix": "no"})
    home = stage.context.settings.home
    plan = make_plan(
        ProbeSettings(20, options={"k": "7"}, workload=workload_path(home, "wrong_snippet", both))
    )
    assert (plan.mode, plan.k, len(plan.chunks.chunks)) == ("given", 7, 8)
    np.testing.assert_array_equal(plan.given.vectors, ROWS)
    assert "When is the night desk open?" in stage.context.texts("wrong_snippet", both).values()
    names = {f.suffix for f in (home / "workloads").iterdir()}
    assert names == {".json", ".jsonl", ".faiss"}


def test_the_files_that_were_sent_are_taken_off_the_disk(stage: Stage, sent, tmp_path: Path):
    for name, file, data in (
        ("upload_passages", "a.jsonl", TEMPLATE),
        ("upload_passages", "b.jsonl", b"nothing"),
        ("upload_index", "c.faiss", index_file(tmp_path)),
    ):
        path = Path(sent(file, data))
        give(stage, name, str(path))
        assert not path.exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"id": "a", "text": ""}\n', "Line 1: text has to be a text"),
        (b'{"id": "a", "text": "<b>"}\n', "has 1 passages"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"id": "a", "text": "x"}\n' * 2, "given twice"),
    ],
)
def test_passages_that_cannot_be_used_say_why(stage: Stage, sent, data: bytes, message: str):
    assert give(stage, "upload_passages", sent("mine.jsonl", data)) == ""
    note = stage.said("upload_note")
    assert message in note
    assert "The built-in questions are used." in note


def test_an_index_that_cannot_be_used_leaves_the_passages(stage: Stage, sent, tmp_path: Path):
    first = give(stage, "upload_passages", sent("mine.jsonl", TEMPLATE))
    for data, message in (
        (index_file(tmp_path, rows=ROWS[:7]), "7 vectors for 8 passages"),
        (index_file(tmp_path)[:-5], "damaged"),
        (b"\x80\x05pickle" + b"0" * 60, "not a FAISS index"),
        (index_file(tmp_path, faiss.index_factory(16, "IVF2,Flat")), "only faiss itself can read"),
    ):
        assert give(stage, "upload_index", sent("mine.faiss", data), first) == first
        note = stage.said("upload_note")
        assert message in note
        assert "It is not used." in note
        assert "8 passages" in note


def test_faiss_is_never_asked_about_a_visitors_file(
    stage: Stage, sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def never(*args: object, **more: object) -> None:
        raise AssertionError("a process was started for a visitor's file")

    monkeypatch.setattr("subprocess.run", never)
    first = give(stage, "upload_passages", sent("mine.jsonl", TEMPLATE))
    for make in ("HNSW4,Flat", "Flat", "IVF2,Flat"):
        give(
            stage, "upload_index", sent("x.faiss", index_file(tmp_path, faiss.index_factory(16, make))), first
        )
    stage.call("start", *CHOICES, first, "off", 0, "{}")
    assert stage.said("notice") == ""


def test_an_index_needs_its_passages(stage: Stage, sent, tmp_path: Path):
    questions = stage.call(
        "upload", *CHOICES, "", "off",
        [sent("q.csv", (REPO_ROOT / "assets" / "templates" / "questions.csv").read_bytes())],
    ).said("workload")  # fmt: skip
    for workload in ("", "0" * 64, "../../etc/passwd", questions):
        give(stage, "upload_index", sent("x.faiss", index_file(tmp_path)), workload)
        assert "without its passages" in stage.said("upload_note")


def test_no_path_of_a_visitor_reaches_a_run(stage: Stage, tmp_path: Path):
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(TEMPLATE)
    for workload, options in (
        (str(secret), "{}"),
        ("", json.dumps({"chunks": str(secret)})),
        ("", json.dumps({"index": str(secret)})),
        ("", json.dumps({"fix_seconds": 1})),
    ):
        stage.call("start", *CHOICES, workload, "off", 0, options)
        assert 'role="alert"' in stage.said("notice")
    assert stage.context.service.count() == 0


def test_passages_are_for_the_symptom_that_searches(stage: Stage, sent):
    first = give(stage, "upload_passages", sent("mine.jsonl", TEMPLATE))
    assert give(stage, "upload_passages", sent("mine.jsonl", TEMPLATE), symptom="json_breaks") == ""
    assert "searches no passages" in stage.said("upload_note")
    stage.call("start", "json_breaks", "demo", 20, first, "off", 0, "{}")
    assert "holds passages to search" in stage.said("notice")
    shown = {s: stage.call("models", s, "demo", 20, "", "off").said("own_passages")["visible"]
             for s in stage.context.probed}  # fmt: skip
    assert [s for s, visible in shown.items() if visible] == ["wrong_snippet"]


def test_too_large_or_no_room_left(stage: Stage, sent, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stored, "MOST_KEPT_BYTES", 100)
    give(stage, "upload_passages", sent("mine.jsonl", TEMPLATE))
    assert "is used up" in stage.said("upload_note")
    monkeypatch.setattr("wfgy_triage.ui.upload.MAX_UPLOAD", 100)
    give(stage, "upload_passages", sent("mine.jsonl", TEMPLATE))
    assert "bytes are too many" in stage.said("upload_note")
    monkeypatch.setattr(passages_module, "MAX_UPLOAD_BYTES", 100)
    with pytest.raises(InputError, match="has .* bytes"):
        passages_module.read_passages(passages_module.UploadedFile("mine.jsonl", TEMPLATE))


@pytest.mark.parametrize("suffix", [".jsonl", ".faiss"])
def test_a_kept_file_that_was_changed_is_not_searched(
    stage: Stage, sent: Callable[..., str], tmp_path: Path, suffix: str
):
    first = give(stage, "upload_passages", sent("mine.jsonl", TEMPLATE))
    both = give(stage, "upload_index", sent("mine.faiss", index_file(tmp_path)), first)
    home = stage.context.settings.home
    (kept,) = (home / "workloads").glob(f"*{suffix}")
    kept.write_bytes(kept.read_bytes().replace(b"euros", b"pence") + b"\n")
    stage.call("start", *CHOICES, both, "off", 0, "{}")
    assert "was changed" in stage.said("notice")
    with pytest.raises(PrerequisiteError, match="was changed"):
        make_plan(ProbeSettings(20, workload=workload_path(home, "wrong_snippet", both)))


def test_a_run_is_shown_with_what_was_brought_to_it(stage: Stage, sent, tmp_path: Path):
    own = give(stage, "upload_passages", sent("mine.jsonl", TEMPLATE))
    service = stage.context.service
    run = service.start(RunSpec("wrong_snippet", "demo", workload_id=own, options={"k": "7"}))
    stage.call("change_settings", run)
    assert "mine.jsonl" in stage.said("upload_note")
    assert stage.said("workload") == own
    assert json.loads(stage.said("options")["value"]) == {"k": "7"}
    (tmp_path / "p.jsonl").write_bytes(TEMPLATE)
    run = service.start(RunSpec("wrong_snippet", "demo", options={"chunks": str(tmp_path / "p.jsonl")}))
    stage.call("change_settings", run)
    assert "from the command line" in stage.said("upload_note")
    assert stage.said("options")["value"] == "{}"
