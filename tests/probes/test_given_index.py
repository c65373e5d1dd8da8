"""A user's own passages and vectors: what the probe sees in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from tests.probes.retrieval_fakes import HIDDEN, Desk, WordEncoder, WordEngine, bag
from wfgy_triage.errors import InputError
from wfgy_triage.result import State
from wfgy_triage.workload.chunks import chunk_corpus
from wfgy_triage.workload.corpus import load_corpus

CHUNKS = chunk_corpus(load_corpus())
TEXTS = CHUNKS.texts


def vectors(salt: str = "") -> np.ndarray:
    return np.stack([bag(t, HIDDEN, salt) for t in TEXTS]).astype(np.float32)


def passages(tmp_path: Path, rows: np.ndarray | None = None, copies: int = 0) -> Path:
    asked: dict[int, list[str]] = {}
    for query in CHUNKS.queries:
        asked.setdefault(min(query.gold), []).append(query.text)
    lines = []
    for place, chunk in enumerate(CHUNKS.chunks):
        record: dict[str, Any] = {"id": chunk.id, "text": chunk.text, "title": chunk.title}
        record |= {"section": chunk.section, "questions": asked.get(place, [])}
        if rows is not None:
            record["embedding"] = [float(v) for v in rows[place]]
        lines.append(json.dumps(record))
        if place < copies:
            lines.append(json.dumps({**record, "id": f"{chunk.id}-copy"}))
    path = tmp_path / "passages.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def by_inner_product(tmp_path: Path, rows: np.ndarray) -> Path:
    index = faiss.IndexFlatIP(HIDDEN)
    index.add(rows)
    file = tmp_path / "index.faiss"
    faiss.write_index(index, str(file))
    return file


def run(exl2: WordEngine, **options: Any) -> tuple[Desk, Any]:
    desk = Desk(exl2, options={k: str(v) for k, v in options.items()})
    desk.run()
    return desk, desk.evaluate()


def test_an_index_of_fp16_asked_by_another_model(tmp_path: Path):
    rows = vectors()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    desk, found = run(WordEngine("exl2", salt="other"), chunks=passages(tmp_path, rows))
    given = desk.side("index")[0].payload["given"]
    assert (given["maker"], given["unit"], given["centered"]) == ("fp16", True, False)
    assert found.state is State.FAIL
    assert found.diagnosis.cause == "index_model_mismatch"
    rung = next(c for c in found.diagnosis.evidence if c.check == "index_from_serving_model")
    assert rung.result == "fault"
    labels = [a["arm"] for a in found.charts["recall_by_k"]]
    assert labels == ["fp16", "mixed", "rebuilt", "independent", "given", "given_fp16", "given_normalised"]


def test_unnormalised_vectors_under_inner_product(tmp_path: Path):
    """A few very long vectors win every search by inner product; scaled to length one they do not."""
    rows = vectors()
    rows[::4] *= 30
    file = by_inner_product(tmp_path, rows)
    desk, found = run(WordEngine("exl2"), chunks=passages(tmp_path), index=file)
    assert desk.side("index")[0].payload["given"]["unit"] is False
    assert found.state is State.FAIL
    assert (found.diagnosis.cause, found.diagnosis.confidence) == ("index_metric_mismatch", "high")
    assert desk.probe.workload_info(desk.settings)["index_sha256"]


def test_a_healthy_given_index_is_not_accused(tmp_path: Path):
    rows = vectors()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    _, found = run(WordEngine("exl2"), chunks=passages(tmp_path, rows))
    assert found.state is State.INCONCLUSIVE
    assert found.diagnosis.cause == "within_noise"
    assert {"index_fragmented", "index_metric_mismatch"} <= set(found.diagnosis.ruled_out)


def test_a_stale_index_has_the_vectors_of_other_passages(tmp_path: Path):
    """A passage was added at the front after the index was built, so every vector is one place off."""
    rows = vectors()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    desk, found = run(WordEngine("exl2"), chunks=passages(tmp_path, np.roll(rows, 1, axis=0)))
    given = desk.side("index")[0].payload["given"]
    assert (given["maker"], given["misplaced"]) == ("unknown", 1.0)
    assert (found.state, found.diagnosis.cause) == (State.FAIL, "index_fragmented")
    rung = next(c for c in found.diagnosis.evidence if c.check == "vectors_in_place")
    assert (rung.result, rung.detail[:7]) == ("fault", "100.0 %")


def test_vectors_that_are_too_long_are_named_by_the_places_they_take(tmp_path: Path):
    """Some right passages come later, none is lost from the first five beyond chance."""
    rows = vectors()
    rows[::2] *= 1.5
    file = by_inner_product(tmp_path, rows)
    _, found = run(WordEngine("exl2"), chunks=passages(tmp_path), index=file)
    above = next(c for c in found.diagnosis.evidence if c.check == "above_noise")
    place = next(c for c in found.diagnosis.evidence if c.check == "same_place")
    assert (found.state, above.result, place.result) == (State.INCONCLUSIVE, "fault", "fault")
    assert (found.diagnosis.cause, found.diagnosis.confidence) == ("index_metric_mismatch", "medium")


def test_vectors_of_nobody_here(tmp_path: Path):
    rows = np.random.default_rng(5).standard_normal((len(TEXTS), HIDDEN)).astype(np.float32)
    desk, found = run(WordEngine("exl2"), chunks=passages(tmp_path, rows))
    assert desk.side("index")[0].payload["given"]["maker"] == "unknown"
    assert found.diagnosis.cause == "index_model_mismatch"


def test_vectors_of_the_sentence_model_do_not_depend_on_the_pair(tmp_path: Path):
    rows = WordEncoder().encode(TEXTS)
    desk, found = run(WordEngine("exl2", noise=40.0), chunks=passages(tmp_path, rows))
    assert {s.payload["arm"] for s in desk.side("fp16")} == {"independent"}
    assert found.metrics[0].difference == 0.0
    assert found.diagnosis.cause == "within_noise"


def test_copies_are_counted(tmp_path: Path):
    _, found = run(WordEngine("exl2"), chunks=passages(tmp_path, copies=40))
    share = next(m for m in found.metrics if m.id == "near_duplicate_rate")
    assert share.exl2 == pytest.approx(80 / (len(TEXTS) + 40))
    assert share.state is State.FAIL
    assert found.diagnosis.cause == "index_fragmented"


def test_vectors_of_another_size_are_refused(tmp_path: Path):
    rows = np.ones((len(TEXTS), 5), np.float32)
    with pytest.raises(InputError, match="have 5 numbers; this model gives 256"):
        run(WordEngine("exl2"), chunks=passages(tmp_path, rows))
