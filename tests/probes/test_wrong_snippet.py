from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.probes.retrieval_fakes import HIDDEN, Desk, WordEngine, bag
from wfgy_triage.catalog import load_catalog
from wfgy_triage.errors import InputError, ProbeError
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.wrong_snippet import PROBE
from wfgy_triage.report.answers import answers_table, both_answers, collect_rows
from wfgy_triage.report.figures import build_figures, figure_table
from wfgy_triage.report.tally import AnswerCount
from wfgy_triage.result import State
from wfgy_triage.ui.live import answers_so_far
from wfgy_triage.workload.chunks import chunk_corpus
from wfgy_triage.workload.corpus import load_corpus

CHUNKS = chunk_corpus(load_corpus())


def metric(found: Any, name: str) -> Any:
    return next(m for m in found.metrics if m.id == name)


@pytest.fixture(scope="module")
def same() -> Desk:
    desk = Desk(WordEngine("exl2"))
    desk.run()
    return desk


@pytest.fixture(scope="module")
def other_basis() -> Desk:
    """EXL2 as good as FP16, but its vectors mean nothing in FP16's index."""
    desk = Desk(WordEngine("exl2", salt="other"))
    desk.run()
    return desk


def test_every_question_is_searched_in_every_way(same: Desk):
    sides = ("fp16", "exl2", "rebuilt", "independent", "fp16_floor")
    assert {side: len(same.side(side)) for side in sides} == dict.fromkeys(sides, 48)
    assert len(same.side("index")) == 1
    facts = same.side("index")[0].payload
    assert facts["layer"] == 1, "the layer that holds the words is the best on FP16"
    assert facts["layer_scores"][1] > max(facts["layer_scores"][0], facts["layer_scores"][2])
    assert (facts["vectors"], facts["dimensions"], facts["norms"]) == (len(CHUNKS.chunks), HIDDEN, [1.0, 1.0])


def test_the_layer_is_chosen_on_questions_that_are_not_judged(same: Desk):
    judged = {s.key.question for s in same.side("fp16")}  # type: ignore[attr-defined]
    tuning = {q.id for q in CHUNKS.queries[3::4]}
    assert len(judged) == 48
    assert not judged & tuning
    assert PROBE.workload_info(ProbeSettings(questions=200))["questions"] == len(CHUNKS.queries) * 3 // 4


def test_equal_models_lose_nothing_and_are_not_accused(same: Desk):
    found = same.evaluate()
    assert found.state is State.INCONCLUSIVE
    primary = found.metrics[0]
    assert (primary.id, primary.primary, primary.difference) == ("recall_at_k", True, 0.0)
    assert primary.fp16 > 0.8
    assert metric(found, "score_rank_correlation").exl2 == pytest.approx(1.0)
    assert metric(found, "topk_overlap").state is State.PASS
    assert found.diagnosis.cause == "within_noise"


def test_an_index_of_another_model_is_found_by_rebuilding(other_basis: Desk):
    found = other_basis.evaluate()
    assert found.state is State.FAIL
    assert found.metrics[0].exl2 < 0.2
    assert metric(found, "score_rank_correlation").state is State.FAIL
    assert (found.diagnosis.cause, found.diagnosis.confidence) == ("index_model_mismatch", "high")
    rung = next(c for c in found.diagnosis.evidence if c.check == "rebuilding_restores")
    assert rung.result == "ok"
    assert "EXL2 has the right passage among the first 5" in found.headline


def test_vectors_spoilt_by_the_weights_are_told_apart():
    desk = Desk(WordEngine("exl2", noise=40.0))
    desk.run()
    found = desk.evaluate()
    assert found.state is State.FAIL
    assert (found.diagnosis.cause, found.diagnosis.confidence) == ("weights_too_few_bits", "medium")
    assert "index_model_mismatch" in found.diagnosis.ruled_out


def test_the_rebuilt_index_can_be_the_deployed_one():
    desk = Desk(WordEngine("exl2", salt="other"), options={"mode": "rebuilt"})
    desk.run()
    assert {s.payload["arm"] for s in desk.side("exl2")} == {"rebuilt"}
    assert len(desk.side("mixed")) == 48
    assert desk.evaluate().diagnosis.cause == "within_noise"


def test_the_independent_embedder_is_equal_by_construction():
    desk = Desk(WordEngine("exl2", noise=40.0), options={"mode": "independent"})
    desk.run()
    found = desk.evaluate()
    assert found.state is State.PASS
    assert found.metrics[0].difference == 0.0
    assert "by construction" in found.metrics[0].note
    assert len(desk.side("hidden_fp16")) == 48
    assert found.metrics[0].fp16 == found.metrics[0].exl2


def test_results_are_those_of_sorting_by_hand(same: Desk):
    """The stored ranking against a plain computation with its own code."""
    texts = [f"{c.title}. {c.text}" for c in CHUNKS.chunks]
    rows = np.stack([bag(t, HIDDEN) for t in texts]).astype(np.float32).astype(float)
    center = rows.mean(0)
    payload = next(s for s in same.side("fp16") if s.key.question == "kiln-1").payload  # type: ignore[attr-defined]
    query = bag(payload["question"], HIDDEN).astype(np.float32) - center
    cosines = [float(query @ (r - center) / np.linalg.norm(query) / np.linalg.norm(r - center)) for r in rows]
    best = sorted(range(len(cosines)), key=lambda i: -cosines[i])
    assert payload["ids"] == [CHUNKS.chunks[i].id for i in best[:20]]
    assert payload["scores"][0] == pytest.approx(cosines[best[0]], abs=1e-5)
    gold = next(i for i, c in enumerate(CHUNKS.chunks) if c.text.startswith("A glaze firing in the Bramble"))
    assert payload["rank"] == best.index(gold) + 1
    assert payload["gold"] == [CHUNKS.chunks[gold].id]


def test_a_stopped_run_resumes_without_repeating(tmp_path: Path):
    whole = Desk(WordEngine("exl2", noise=1.0), questions=10)
    whole.run()
    desk = Desk(WordEngine("exl2", noise=1.0), cache=tmp_path, questions=10)
    for limit in count(1):
        asked = iter(range(limit))
        desk.run(lambda asked=asked: next(asked, None) is None)
        if len(desk.samples) == len(whole.samples):
            break
    assert desk.samples == whole.samples
    assert len(desk.exl2.embedded) == len(set(desk.exl2.embedded)) == len(CHUNKS.chunks) + 10


def test_a_second_run_embeds_nothing(tmp_path: Path):
    Desk(WordEngine("exl2"), cache=tmp_path).run()
    desk = Desk(WordEngine("exl2"), cache=tmp_path)
    desk.run()
    assert desk.fp16.embedded == desk.exl2.embedded == desk.twin.embedded == []
    assert desk.encoder.calls == 0
    assert len(desk.side("exl2")) == 48
    changed = Desk(WordEngine("exl2", noise=1.0), cache=tmp_path)
    changed.run()
    assert len(changed.exl2.embedded) == len(CHUNKS.chunks) + 48


def test_damaged_weights_are_named():
    desk = Desk(WordEngine("exl2", noise=float("nan")))
    with pytest.raises(ProbeError, match="not finite"):
        desk.run()


def test_nothing_stored_is_not_measured():
    found = PROBE.evaluate((), (), ProbeSettings())
    assert found.state is State.NOT_MEASURED
    assert {m.state for m in found.metrics if m.gate} == {State.NOT_MEASURED}
    assert found.diagnosis.cause == "unknown"


def test_evaluation_does_not_depend_on_the_order_of_samples(other_basis: Desk):
    backwards = tuple(other_basis.samples.values())[::-1]
    assert PROBE.evaluate(backwards, (), other_basis.settings) == other_basis.evaluate()


def test_the_page_can_draw_and_read_it(other_basis: Desk):
    found = other_basis.evaluate()
    known = load_catalog().metrics
    assert all(m.id in known for m in found.metrics)
    json.dumps(dict(found.charts), allow_nan=False)
    figures = build_figures(found.charts)
    assert {"recall", "ranks", "ds_by_k"} <= set(figures)
    assert [t["name"] for t in figures["recall"]["data"]][1] == "FP16 index, EXL2 queries (deployed)"
    for name in ("recall", "ranks", "ds_by_k"):
        assert "<table" in figure_table(name, found.charts)
    rows = collect_rows(other_basis.samples.values(), {})
    assert len(rows) == 48
    missed = next(r for r in rows if r.fp16 and r.exl2 and r.fp16.valid and not r.exl2.valid)
    html = both_answers(missed)
    assert "Found" in html
    assert "Missed" in html
    assert missed.fp16.text.count("← the right passage") == 1
    assert "←" not in missed.exl2.text
    table = answers_table(rows)
    assert "EXL2 missed" in table
    assert "invalid" not in table.casefold().replace("exl2-invalid", "").replace("fp16-invalid", "")
    counted = AnswerCount()
    for number, sample in enumerate(other_basis.samples.values()):
        counted.add(number, sample)
    assert "EXL2: " in (live := answers_so_far(rows, counted.tallies()))
    assert "of 48 found" in live
    assert missed.question in {q.text for q in CHUNKS.queries}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "other"}, "mode cannot be"),
        ({"mode": "given"}, "needs an index"),
        ({"k": "0"}, "k cannot be"),
        ({"k": "five"}, "k cannot be"),
        ({"layer": "-3"}, "layer cannot be"),
        ({"index": "x.faiss"}, "without its passages"),
        ({"depth": 3}, "no setting"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        PROBE.workload_info(ProbeSettings(options=options))


def test_a_question_set_of_the_user_is_searched(tmp_path: Path):
    sections = [
        {
            "id": s,
            "title": s,
            "text": f"The {s} is {n} metres long. It is made of oak.",
            "distractor_of": None,
        }
        for n, s in enumerate(("bridge", "ladder", "shelf"), 3)
    ]
    asked = [
        {"id": f"q{s['id']}", "paraphrases": [f"How long is the {s['id']}?"], "answer": "x", "aliases": []}
        | {"section": s["id"], "evidence": [s["text"].partition(" It")[0]]}
        for s in sections
    ]
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"id": "mine", "sections": sections, "questions": asked}))
    desk = Desk(WordEngine("exl2"))
    desk.settings = replace(desk.settings, workload=path)
    desk.run()
    assert desk.probe.workload_info(desk.settings)["id"] == "mine-sentences"
    assert len(desk.side("fp16")) == 3
    assert [s.payload["rank"] for s in desk.side("independent")] == [1, 1, 1]
    assert "too few questions to choose on" in desk.side("index")[0].payload["chosen"]
    assert desk.evaluate().state is State.NOT_MEASURED
    both = replace(desk.settings, options={"chunks": "x.jsonl"})
    with pytest.raises(InputError, match="Both a question set"):
        PROBE.workload_info(both)


def test_k_is_the_users(same: Desk):
    settings = replace(same.settings, options={"k": 1})
    found = PROBE.evaluate(tuple(same.samples.values()), (), settings)
    assert found.metrics[0].exl2 == metric(found, "recall_at_1").exl2
