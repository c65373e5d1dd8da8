"""Runs of a model against itself: how they are drawn, put together and counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.bench_calibration import Judge
from benchmarks.calibration_runs import (
    QUANTIZED,
    SAME,
    Drawing,
    blameless_causes,
    column,
    compose,
    differing,
    draw_runs,
    question_ids,
    tally,
)
from tests.benchmarks.drawing_fakes import BagEncoder, passes_of
from wfgy_triage.catalog import load_catalog
from wfgy_triage.measure.tension import K_SWEEP
from wfgy_triage.probes.acceptance import COMPARED, Acceptance
from wfgy_triage.probes.base import Evaluation
from wfgy_triage.probes.citations_missing import PROBE as CITATIONS
from wfgy_triage.probes.json_breaks import PROBE as JSON
from wfgy_triage.probes.long_chain import LongChain
from wfgy_triage.probes.sixty_seconds import SixtySeconds
from wfgy_triage.result import Diagnosis, State
from wfgy_triage.workload.chains import load_chains
from wfgy_triage.workload.citations import RECORD, WITH_K, load_citations, load_sweep, marked, record
from wfgy_triage.workload.json_records import load_json_workload

RECORDS = load_json_workload()
GOLD = {q.id: RECORDS.gold_text(q) for q in RECORDS.questions}
BROKEN = {q: text.replace("}", "", 1) for q, text in GOLD.items()}
IDS = [f"q{n}" for n in range(30)]
Passes = tuple[dict, ...]


@given(st.integers(0, 2**32 - 1), st.integers(3, 6), st.integers(1, 30))
def test_a_run_has_each_question_once_and_three_different_passes(seed: int, passes: int, size: int):
    found = draw_runs(IDS, passes, 5, size, seed)
    assert found == draw_runs(IDS, passes, 5, size, seed)
    for run in found:
        assert len(set(run.questions)) == size
        assert set(run.questions) <= set(IDS)
        assert len({run.fp16, run.exl2, run.floor}) == 3
        assert {run.fp16, run.exl2, run.floor} <= set(range(passes))


def test_runs_differ_from_each_other_and_from_those_of_another_seed():
    one, other = draw_runs(IDS, 4, 40, 20, 1), draw_runs(IDS, 4, 40, 20, 2)
    assert len({frozenset(r.questions) for r in one}) == 40
    assert len({(r.fp16, r.exl2, r.floor) for r in one}) > 10
    assert one != other


@pytest.mark.parametrize(("passes", "size"), [(2, 5), (3, 31)])
def test_too_little_to_draw_from_is_refused(passes: int, size: int):
    with pytest.raises(ValueError, match="do not give"):
        draw_runs(IDS, passes, 1, size)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Passes:
    """FP16 is right in 95 of 100 draws, EXL2 in half."""
    folder = tmp_path_factory.mktemp("records")
    return passes_of(folder, JSON, GOLD, BROKEN, (0.95, 0.5), 40)


def counted(passes: Passes, exl2: str, runs: int = 6) -> dict:
    judge = Judge("json_breaks", 20, JSON)
    drawn = draw_runs(question_ids(passes[0]), len(passes), runs, 20, 7)
    return column((compose(passes, d, exl2) for d in drawn), judge)


def test_sides_come_from_the_passes_that_were_drawn(records: Passes):
    questions = tuple(question_ids(records[0]))[:6]
    samples = compose(records, Drawing(questions, 0, 1, 2), SAME)
    texts = {(s.key.side, s.key.question): s.payload.get("text") for s in samples}
    assert len(texts) == len(samples) == 6 * 5
    for q in questions:
        for side, number in (("fp16", 0), ("exl2", 1), ("fp16_floor", 2)):
            assert texts[side, q] == records[number]["fp16"][q][0].payload["text"]
    for sample in samples:
        if sample.key.side == "pair_floor":
            assert set(sample.payload["kl"]) == {0.0}
        if sample.key.side == "pair":
            assert min(sample.payload["kl"]) > 0


def test_the_same_model_differs_from_pass_to_pass_and_is_not_accused(records: Passes):
    answers = [[s[0].payload["text"] for s in p["fp16"].values()] for p in records]
    assert len({tuple(a) for a in answers}) == len(records)
    found = counted(records, SAME)
    assert found["fail_accused"]["count"] == found["accused"]["count"] == 0
    assert 0 < found["differ"] < 0.2


def test_a_worse_side_is_found_in_either_column(records: Passes, tmp_path: Path):
    quantized = counted(records, QUANTIZED)
    assert quantized["fail_accused"]["count"] >= 5
    assert set(quantized["causes"]) >= {"weights_too_few_bits"}
    # A pass of another model among those of FP16: what must not be there is seen, so "not accused" can fail.
    worse = passes_of(tmp_path, JSON, GOLD, BROKEN, (0.1, 0.1), 40)
    judge, drawn = Judge("json_breaks", 20, JSON), draw_runs(question_ids(records[0]), 3, 6, 20, 7)
    mixed = (records[0], worse[1], records[2])
    forced = [replace(d, fp16=0, exl2=1, floor=2) for d in drawn]
    assert tally(judge(compose(mixed, d, SAME)) for d in forced)["fail_accused"]["count"] == 6


def test_a_gate_that_fp16_misses_is_fail_without_an_accusation(tmp_path: Path):
    passes = passes_of(tmp_path, JSON, GOLD, BROKEN, (0.6, 0.6), 40)
    found = counted(passes, SAME, runs=10)
    assert found["fail"]["count"] == 10
    assert found["fail_accused"]["count"] <= 2
    assert found["causes"]["baseline_also_fails"] >= 6


def evaluation(state: State, cause: str) -> Evaluation:
    return Evaluation(state, "", "", (), Diagnosis(cause, "low"), {})


def test_counts_and_intervals():
    found = tally(
        [
            *[evaluation(State.FAIL, "weights_too_few_bits")] * 3,
            *[evaluation(State.FAIL, "baseline_also_fails")] * 4,
            evaluation(State.INCONCLUSIVE, "index_model_mismatch"),
            *[evaluation(State.INCONCLUSIVE, "within_noise")] * 30,
            *[evaluation(State.PASS, "within_noise")] * 2,
        ]
    )
    assert found["runs"] == 40
    assert found["states"] == {"FAIL": 7, "INCONCLUSIVE": 31, "PASS": 2}
    for name, count in (("fail", 7), ("fail_accused", 3), ("accused", 4), ("inconclusive", 31)):
        exact = stats.binomtest(count, 40).proportion_ci(0.95, method="exact")
        assert found[name]["count"] == count
        assert found[name]["share"] == count / 40
        assert found[name]["interval"] == pytest.approx([exact.low, exact.high])


def test_nothing_counted_is_no_share():
    assert tally([])["fail"]["share"] is None
    assert differing([]) is None


def test_outcomes_that_differ_are_counted_by_question(records: Passes):
    run = Drawing(tuple(question_ids(records[0])), 0, 1, 2)
    valid = [
        {q: samples[0].payload["valid"] for q, samples in p["fp16"].items() if q in run.questions}
        for p in records
    ]
    by_hand = sum(valid[0][q] != valid[1][q] for q in run.questions) / 40
    assert differing(compose(records, run, SAME)) == by_hand > 0


def test_blameless_causes_are_of_the_fix_map_and_leave_the_weights_accused():
    blameless = blameless_causes()
    assert {"within_noise", "baseline_also_fails", "unknown"} <= set(blameless) < set(load_catalog().causes)
    assert not {"weights_too_few_bits", "head_bits_too_few", "index_model_mismatch"} & set(blameless)
    assert all(blameless.values())


def test_citations_bring_their_records(tmp_path: Path):
    tasks = load_citations().tasks[:8]
    right = {t.question.id: marked(" ".join(t.question.evidence), t.gold) for t in tasks}
    right |= {
        t.question.id + RECORD: record(t.gold, t.question.section, " ".join(t.question.evidence))
        for t in tasks
    }
    wrong = dict.fromkeys(right, "Nothing of that kind is known.")
    passes = passes_of(tmp_path, CITATIONS, right, wrong, (0.9, 0.3), 8)
    assert len(question_ids(passes[0])) == 8
    run = draw_runs(question_ids(passes[0]), 3, 1, 6)[0]
    for exl2, fluency in ((SAME, 0), (QUANTIZED, 6)):
        samples = compose(passes, run, exl2)
        sides = [s.key.side for s in samples]
        assert (sides.count("exl2"), sides.count("fp16_floor")) == (12, 6)
        assert sides.count("exl2_by_fp16") == fluency
        assert Judge("citations_missing", 6, CITATIONS)(samples).metrics[0].n == 6


def test_chains_are_put_together_with_their_steps(tmp_path: Path):
    chains = load_chains().level("standard")[:6]
    right = {c.id: c.gold_text for c in chains}
    wrong = {c.id: c.gold_text[: len(c.gold_text) // 3] for c in chains}
    probe = LongChain(BagEncoder)
    passes = passes_of(tmp_path, probe, right, wrong, (0.9, 0.1), 6)
    run = draw_runs(question_ids(passes[0]), 3, 1, 6)[0]
    judge = Judge("long_chain", 6, probe)
    same, quantized = (judge(compose(passes, run, c)).metrics[0] for c in (SAME, QUANTIZED))
    assert same.n == quantized.n == 6
    assert quantized.exl2 < same.exl2


def test_the_acceptance_gate_has_its_own_runs_and_distances(tmp_path: Path):
    tasks = load_citations().tasks[:12]
    right = {t.question.id: marked(" ".join(t.question.evidence), t.gold) for t in tasks}
    wrong = dict.fromkeys(right, "Nothing of that kind is known.")
    encoder = BagEncoder()
    gate = Acceptance(lambda: encoder, compared=100, sweep=())
    passes = passes_of(tmp_path, gate, right, wrong, (0.9, 0.3), 12)
    assert len(passes[0]["pair"]) == 12
    run = draw_runs(question_ids(passes[0]), 3, 1, 12)[0]
    judge = Judge("acceptance_gate", 12, gate)
    assert judge.compared == COMPARED
    samples = compose(passes, run, QUANTIZED, judge.compared)
    sides = [s.key.side for s in samples]
    assert (sides.count("pair"), sides.count("fp16_floor"), sides.count("exl2_runs")) == (10, 10, 72)
    by_id = {m.id: m for m in judge(samples).metrics}
    assert (by_id["ds_drift"].n, by_id["accuracy"].n, by_id["lambda_rate"].n) == (12, 12, 12)
    assert by_id["ds_drift"].exl2 > 0
    assert by_id["accuracy"].exl2 < by_id["accuracy"].fp16


def test_the_short_way_brings_its_answers_with_more_passages(tmp_path: Path):
    """Eight questions, five of them (the least) again with 5, 10 and 20 passages: a run of six has three to five."""
    tasks = load_citations().tasks[:8]
    right = {t.question.id: marked(" ".join(t.question.evidence), t.gold) for t in tasks}
    for k in K_SWEEP:
        right |= {
            f"{t.question.id}{WITH_K}{k}": marked(" ".join(t.question.evidence), t.gold)
            for t in load_sweep(k).tasks[:5]
        }
    wrong = dict.fromkeys(right, "Nothing of that kind is known.")
    encoder = BagEncoder()
    probe = SixtySeconds(lambda: encoder)
    passes = passes_of(tmp_path, probe, right, wrong, (0.9, 0.2), 8)
    assert question_ids(passes[0]) == [t.question.id for t in tasks]
    run = draw_runs(question_ids(passes[0]), 3, 1, 6)[0]
    swept = len(set(run.questions) & {t.question.id for t in tasks[:5]})
    judge, rules = Judge("sixty_seconds", 6, probe), {}
    for exl2 in (SAME, QUANTIZED):
        samples = compose(passes, run, exl2)
        sides = [s.key.side for s in samples]
        assert [sides.count(side) for side in ("fp16", "exl2", "fp16_floor")] == [6 + 3 * swept] * 2 + [6]
        valid = {(s.key.side, s.key.question): s.payload["valid"] for s in samples}
        changed = [q for q in run.questions if valid["fp16", q] != valid["exl2", q]]
        assert differing(samples) == pytest.approx(len(changed) / 6)
        rules[exl2] = {m.id: m for m in judge(samples).metrics}
        assert (rules[exl2]["ds_drift"].n, rules[exl2]["lambda_over_k"].n) == (6, swept)
    assert rules[QUANTIZED]["coverage"].exl2 < rules[SAME]["coverage"].exl2
