"""The acceptance gate on scripted answers: every rule by hand, resuming, partial data."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from tests.probes.desk import Desk
from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import CHECK_CAUSES, ONLY_WEIGHTS
from wfgy_triage.probes.acceptance import PROBE_STAGES, Acceptance
from wfgy_triage.probes.acceptance_rules import RULES
from wfgy_triage.probes.acceptance_samples import K_SWEEP, SEEDS, SWEEP_QUESTIONS
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.evidence import mean_evidence
from wfgy_triage.probes.paired import PerSide, mean_metric
from wfgy_triage.report.figures import build_figures, figure_table
from wfgy_triage.result import Check, State
from wfgy_triage.workload.citations import load_citations, marked
from wfgy_triage.workload.upload_questions import WORDINGS

TASKS = load_citations().tasks
GOLD = {t.question.id: marked(" ".join(t.question.evidence), t.gold) for t in TASKS}
WRONG = {q: "Nothing of that kind stands in the passages." for q in GOLD}
CHECKS = tuple(Check(name, "ok", "") for name in [*CHECK_CAUSES, ONLY_WEIGHTS])


class WordEncoder:
    """Unit vectors of word counts: texts with the same words are equal, texts without common words orthogonal."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        words = sorted({w for t in texts for w in t.lower().split()})
        rows = np.array([[t.lower().split().count(w) for w in words] for t in texts], np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


PROBE = Acceptance(lambda: WordEncoder())


def desk_of(exl2: dict[str, str], questions: int = 20) -> Desk:
    return Desk(PROBE, GOLD, exl2, ProbeSettings(questions=questions))


def measured(desk: Desk) -> Evaluation:
    desk.run()
    return desk.evaluate(CHECKS)


def metric(found: Evaluation, name: str):
    return next(m for m in found.metrics if m.id == name)


def test_the_rules_are_the_gates_of_the_fix_map():
    catalog = load_catalog()
    assert [catalog.gates[g].metric for g in catalog.symptoms["acceptance_gate"].gates] != []
    assert {catalog.gates[g].metric for g in catalog.symptoms["acceptance_gate"].gates} == set(RULES)


def test_equal_answers_hold_every_measured_rule_and_speed_is_not_measured():
    desk = desk_of(GOLD)
    found = measured(desk)
    assert metric(found, "ds_drift").exl2 == 0.0
    assert metric(found, "coverage").exl2 == 1.0
    assert metric(found, "lambda_rate").exl2 == 1.0
    assert metric(found, "accuracy").exl2 == 1.0
    assert metric(found, "latency_gain").state is State.NOT_MEASURED
    assert found.state is State.NOT_MEASURED
    assert "Time saved per word" in found.headline
    assert "4 of the 4 that were measured" in found.page_rule
    per_side = 20 * (1 + WORDINGS * SEEDS) + len(K_SWEEP) * SWEEP_QUESTIONS
    assert len(desk.exl2.asked) == per_side
    assert len(desk.fp16.asked) == per_side


def test_the_hard_level_asks_other_passages_in_every_part_and_says_so():
    gold = {
        t.question.id: marked(" ".join(t.question.evidence), t.gold)
        for t in load_citations(level="hard").tasks
    }
    usual, hard = (
        Recording(PROBE, gold, gold, ProbeSettings(6, options={"level": level}))
        for level in ("standard", "hard")
    )
    first, second = (d.run().prompts for d in (usual, hard))
    assert first.keys() == second.keys()
    assert len(first) == 6 * (1 + WORDINGS * SEEDS) + len(K_SWEEP) * SWEEP_QUESTIONS
    assert all(len(second[name]) > len(first[name]) for name in first)
    infos = [PROBE.workload_info(d.settings) for d in (usual, hard)]
    assert [i["level"] for i in infos] == ["standard", "hard"]
    assert [i["id"].rpartition("/")[2] for i in infos] == ["standard", "hard"]
    assert metric(hard.evaluate(CHECKS), "accuracy").exl2 == 1.0


class Recording(Desk):
    """Keeps the prompts that EXL2 is asked, in the order of the passes: the id of a request and how often it came."""

    @property
    def prompts(self) -> dict[tuple[str, int], tuple[int, ...]]:
        return self._prompts

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._prompts: dict[tuple[str, int], tuple[int, ...]] = {}
        generate = self.exl2.generate

        def recorded(requests, should_stop=None):
            for request in requests:
                again = sum(name == request.id for name, _ in self._prompts)
                self._prompts[request.id, again] = request.prompt_ids
            return generate(requests, should_stop)

        self.exl2.generate = recorded


@pytest.mark.parametrize(("questions", "state"), [(7, State.INCONCLUSIVE), (8, State.PASS)])
def test_few_answers_that_are_all_stable_are_no_proof_on_either_side(questions: int, state: State):
    stable = dict.fromkeys((f"q{n}" for n in range(questions)), 1.0)
    numbers = PerSide(stable, stable, {})
    assert mean_metric("lambda_rate", numbers, 0.95).state is state
    assert mean_evidence("lambda_rate", numbers, None, 0.95).baseline_state is state


def test_wrong_answers_fail_and_name_the_rules_and_the_weights():
    found = measured(desk_of(WRONG))
    assert found.state is State.FAIL
    assert metric(found, "accuracy").exl2 == 0.0
    assert metric(found, "accuracy").gated_interval[0] > 0.05
    assert metric(found, "coverage").state is State.FAIL
    assert "Right answers" in found.headline
    assert found.headline.startswith("Do not ship")
    assert found.diagnosis.cause == "weights_too_few_bits"


def test_drift_is_the_mean_of_absolute_differences_to_the_reference_answer():
    desk = desk_of({q: (WRONG[q] if i % 2 else a) for i, (q, a) in enumerate(GOLD.items())})
    found = measured(desk)
    ds = {
        side: {s.key.question: s.payload["ds"] for s in desk.side(side)}
        for side in ("fp16", "exl2", "fp16_floor")
    }
    assert len(ds["fp16"]) == metric(found, "ds_drift").n == 20
    # The twin answers the first ten; the drift is judged on all.
    assert len(ds["fp16_floor"]) == sum("cross_floor" in s.payload for s in desk.side("distance")) == 10
    assert "\N{EM DASH}" in figure_table("drift", found.charts)
    signed = [ds["exl2"][q] - ds["fp16"][q] for q in ds["fp16"]]
    drift = np.abs(signed)
    assert metric(found, "ds_drift").exl2 == pytest.approx(np.mean(drift))
    assert metric(found, "ds_drift_median").exl2 == pytest.approx(np.median(drift))
    assert metric(found, "ds_drift_p95").exl2 == pytest.approx(np.quantile(drift, 0.95))
    assert metric(found, "ds_shift").exl2 == pytest.approx(np.mean(signed))
    assert metric(found, "ds_drift").floor == 0.0


def test_a_stopped_run_is_evaluated_as_it_is_and_resumes_without_repeating():
    whole = desk_of(WRONG, questions=6)
    result = measured(whole)
    desk = desk_of(WRONG, questions=6)
    while len(desk.samples) < len(whole.samples):
        limit = len(desk.samples) + 17
        desk.run(lambda limit=limit: len(desk.samples) >= limit)
    assert desk.samples == whole.samples
    assert desk.evaluate(CHECKS) == result


def test_the_order_of_samples_does_not_matter():
    desk = desk_of(WRONG, questions=6)
    found = measured(desk)
    rows = list(desk.samples.values())
    random.Random(3).shuffle(rows)
    assert PROBE.evaluate(rows, CHECKS, desk.settings) == found


def test_nothing_measured_is_said():
    found = PROBE.evaluate((), CHECKS, ProbeSettings())
    assert found.state is State.NOT_MEASURED
    assert all(metric(found, name).state is State.NOT_MEASURED for name in RULES)


def test_every_stage_has_a_name_and_every_figure_its_numbers():
    desk = desk_of(WRONG)
    found = measured(desk)
    sides = {s.key.side for s in desk.samples.values()} - {"distance"}
    assert sides <= set(PROBE_STAGES)
    figures = build_figures(found.charts)
    assert {"gate", "drift", "lambda-k"} <= set(figures)
    table = figure_table("gate", found.charts)
    assert "Right answers (loss)" in table
    assert "not measured" in table
    assert "k" in figure_table("lambda-k", found.charts) or figure_table("lambda-k", found.charts)
