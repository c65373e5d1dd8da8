"""Indexes of the built-in corpus, sound ones and broken ones; each function returns the options of a retrieval run."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from benchmarks.bank_workshop import LAYER, Workshop
from wfgy_triage.workload.chunks import Chunk, chunk_corpus
from wfgy_triage.workload.corpus import load_corpus

Rows = NDArray[np.float32]


def _write(shop: Workshop, rows: Rows | None = None, distance: str = "ip", copies: int = 0) -> dict[str, str]:
    """Passages (the first `copies` of them twice) and, with rows, a FAISS index in their order."""
    chunks = chunk_corpus(load_corpus())
    asked: dict[int, list[str]] = {}
    for query in chunks.queries:
        asked.setdefault(min(query.gold), []).append(query.text)
    lines: list[str] = []
    for place, chunk in enumerate(chunks.chunks):
        names = [chunk.id, f"{chunk.id}-copy"] if place < copies else [chunk.id]
        lines += (json.dumps(r) for r in _records(chunk, names, asked.get(place, [])))
    folder = shop.fresh()
    folder.mkdir(parents=True)
    file = folder / "passages.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    options = {"chunks": str(file), "layer": str(LAYER)}
    if rows is not None:
        import faiss

        index = (faiss.IndexFlatIP if distance == "ip" else faiss.IndexFlatL2)(rows.shape[1])
        index.add(np.ascontiguousarray(rows, np.float32))
        options["index"] = str(folder / "index.faiss")
        faiss.write_index(index, options["index"])
    return options


def _records(chunk: Chunk, names: Iterable[str], questions: list[str]) -> Iterable[dict[str, object]]:
    for number, name in enumerate(names):
        record = {"id": name, "text": chunk.text, "title": chunk.title, "section": chunk.section}
        yield {**record, "questions": [] if number else questions}


def _raw(shop: Workshop) -> Rows:
    return shop.rows(shop.pair("demo-6bpw"), _texts(), quantized=False)


def _texts() -> tuple[str, ...]:
    return tuple(chunk_corpus(load_corpus()).texts)


def _unit(rows: Rows, *, centred: bool = True) -> Rows:
    moved = rows - rows.mean(0) if centred else rows
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def _summed(rows: Rows) -> Rows:
    """Sums over words instead of means: long passages get long vectors."""
    words = np.array([len(text.split()) for text in _texts()], np.float32)
    moved = rows - rows.mean(0)
    return np.asarray(moved * words[:, None], np.float32)


def index_in_order(shop: Workshop) -> dict[str, str]:
    """FP16's own index, centred and of length one."""
    return _write(shop, _unit(_raw(shop)))


def index_of_another_model(shop: Workshop) -> dict[str, str]:
    """An index by a model as good as FP16 but trained apart: FP16's vectors, turned as a whole."""
    rows = _unit(_raw(shop))
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((rows.shape[1],) * 2))
    return _write(shop, rows @ turn.astype(np.float32))


def index_of_a_damaged_sibling(shop: Workshop) -> dict[str, str]:
    """The index was built by the 2.3 bpw version, the queries come from the 6 bpw one."""
    return _write(shop, _unit(shop.rows(shop.rounded(2.3), _texts(), quantized=True)))


def index_not_normalised(shop: Workshop) -> dict[str, str]:
    """Vectors are sums over words, compared by inner product without being scaled."""
    return _write(shop, _summed(_raw(shop)))


def index_by_wrong_distance(shop: Workshop) -> dict[str, str]:
    """The same sums compared by Euclidean distance, though the search means cosine."""
    return _write(shop, _summed(_raw(shop)), distance="l2")


def passages_doubled(shop: Workshop) -> dict[str, str]:
    """Forty passages were indexed twice."""
    return _write(shop, copies=40)


def rows_shifted(shop: Workshop) -> dict[str, str]:
    """A stale index: one passage was added at the front since it was built, so every row is off by one."""
    return _write(shop, np.roll(_unit(_raw(shop)), 1, axis=0))
