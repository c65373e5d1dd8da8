"""The retrieval probe on the demo models: a few passages, so that it takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wfgy_triage.engines.loading import open_engine
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.probes.wrong_snippet import PROBE
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.chunks import chunk_corpus
from wfgy_triage.workload.corpus import load_corpus


@pytest.mark.demo
def test_real_models_find_what_they_are_asked(demo_pair: dict[str, Path], tmp_path: Path):
    corpus = chunk_corpus(load_corpus())
    lines = [
        json.dumps({"id": c.id, "text": c.text, "title": c.title, "questions": [q.text for q in asked]})
        for place, c in enumerate(corpus.chunks[:60])
        if (asked := [q for q in corpus.queries if place in q.gold]) or place % 4 == 0
    ]
    file = tmp_path / "passages.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    fp16 = open_engine(demo_pair["fp16"], side="fp16")
    exl2 = open_engine(demo_pair["demo-6bpw"], side="exl2", share_with=fp16)
    stored: list[Sample] = []
    settings = ProbeSettings(questions=8, options={"chunks": str(file), "layer": "11"})
    context = ProbeContext(
        fp16=fp16,
        exl2=exl2,
        open_floor=lambda: fp16,
        settings=settings,
        done=frozenset(),
        stored=lambda: stored,
        save=stored.extend,
        progress=lambda *_: None,
        should_stop=lambda: False,
        cache=tmp_path,
        models={"fp16": "f", "exl2": "e"},
    )
    PROBE.run(context)
    found = {m.id: m for m in PROBE.evaluate(stored, (), settings).metrics}
    assert found["recall_at_k"].n == 8
    assert found["recall_at_k"].fp16 >= 0.75
    assert found["recall_at_k"].floor == 0.0
    assert 0.98 < found["score_rank_correlation"].exl2 < 1.0
    independent = [s.payload for s in stored if s.key.side == "independent"]
    assert sum(p["rank"] <= 5 for p in independent) >= 7
