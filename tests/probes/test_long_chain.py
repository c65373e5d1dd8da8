from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.probes.desk import Bench
from tests.probes.fakes import VOCAB, ScriptedEngine
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.chain_evaluation import lost_chains
from wfgy_triage.probes.long_chain import PROBE, LongChain
from wfgy_triage.probes.measuring import STAGES
from wfgy_triage.report.figures import build_figures, figure_table
from wfgy_triage.result import Check, Metric, State
from wfgy_triage.workload.chains import load_chains

WORKLOAD = load_chains()
GOLD = {c.id: c.gold_text for c in WORKLOAD.chains}
ENGINE = (Check("only_weights_differ", "ok", ""),)


def broken(after: int) -> dict[str, str]:
    """Texts that are right for `after` steps and then say nothing that follows."""
    return {
        c.id: "".join(c.gold_steps[:after])
        + "".join(f"{c.kind.shown + k}. what? -> 7" + c.kind.separator for k in range(after + 1, 49))
        for c in WORKLOAD.chains
    }


class WordCounts:
    """A sentence model for tests: directions by length, so that different texts are apart."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.read += texts
        angles = np.array([len(t) / 20 for t in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


class Desk(Bench):
    """Chains on scripted engines, and a sentence model that counts what it reads."""

    def __init__(self, exl2: dict[str, str], fp16: dict[str, str] | None = None, questions: int = 20) -> None:
        own, self.encoder = fp16 or GOLD, WordCounts()
        engines = ScriptedEngine(own), ScriptedEngine(exl2, bias=1.0), ScriptedEngine(own, bias=0.01)
        super().__init__(LongChain(lambda: self.encoder), *engines, ProbeSettings(questions=questions))

    def evaluate(self, checks: Sequence[Check] = ENGINE) -> Evaluation:
        return super().evaluate(checks)


def metrics(found: Evaluation) -> dict[str, Metric]:
    return {m.id: m for m in found.metrics}


@pytest.fixture(scope="module")
def healthy() -> Desk:
    return Desk(GOLD).run()


@pytest.fixture(scope="module")
def failing() -> Desk:
    return Desk(broken(24)).run()


def test_every_chain_is_continued_and_compared_on_every_side(healthy: Desk):
    for side in STAGES:
        assert len(healthy.side(side)) == 20, side
    found = metrics(healthy.evaluate())
    assert found["chain_step_accuracy"].fp16 == found["chain_step_accuracy"].exl2 == 1.0
    assert found["chain_stable_steps"].exl2 == 48
    assert found["chain_divergence_step"].note == "20 of 20 chains state the same as FP16 in all 48 steps."
    assert found["chain_ds"].exl2 == 0
    assert healthy.encoder.read == []


def test_twenty_chains_without_a_break_do_not_prove_that_none_breaks(healthy: Desk):
    found = healthy.evaluate()
    assert found.state is State.INCONCLUSIVE
    assert "one more question that breaks would change that" in found.headline
    assert found.diagnosis.cause == "within_noise"
    assert (
        found.page_rule
        == "On this sample EXL2 (0 points lost) meets the page's literal rule (<= 5 points lost)."
    )


def test_chains_that_break_halfway_fail_with_numbers_that_say_where(failing: Desk):
    found = failing.evaluate()
    assert found.state is State.FAIL
    by_id = metrics(found)
    assert by_id["chain_step_accuracy"].exl2 == pytest.approx(0.5)
    assert by_id["chain_step_accuracy"].difference == pytest.approx(-0.5)
    assert [by_id[f"chain_accuracy_{p}"].exl2 for p in ("early", "middle", "late")] == pytest.approx(
        [1, 5 / 21, 0]
    )
    assert (by_id["chain_stable_steps"].fp16, by_id["chain_stable_steps"].exl2) == (48, 24)
    assert by_id["chain_stable_steps"].state is State.FAIL
    assert by_id["chain_divergence_step"].exl2 == 24
    assert by_id["chain_divergence_step"].floor == 48
    assert by_id["chain_repetition"].exl2 > 0.2
    assert by_id["chain_ds"].exl2 > 0
    assert by_id["e_resonance_slope"].exl2 > 0
    assert found.headline == (
        "Over 48 steps EXL2 gets 50 % of the steps right, FP16 100 %. Half of EXL2's chains go wrong within 25 steps."
    )
    assert (found.diagnosis.cause, found.diagnosis.confidence) == ("weights_too_few_bits", "high")


def test_answers_say_where_the_first_wrong_step_is(failing: Desk):
    answer = failing.side("exl2")[0].payload
    assert (answer["first_wrong"], answer["valid"], answer["truncated"]) == (25, False, False)
    assert answer["detail"].startswith("First wrong at step 25: ")
    assert answer["mark"] == "Wrong at step 25"
    assert failing.side("fp16")[0].payload["mark"] == "Right to the end"


def test_divergence_is_that_of_the_two_distributions_at_every_step(healthy: Desk):
    def top(logit: float) -> float:
        return math.exp(logit) / (math.exp(logit) + VOCAB - 1)

    p, q = top(5.0), top(4.0)
    kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    entropy = -p * math.log(p) - (1 - p) * math.log((1 - p) / (VOCAB - 1))
    payload = healthy.side("pair")[0].payload
    assert payload["kl"] == pytest.approx([kl] * len(payload["kl"]), abs=1e-5)
    assert payload["ref_entropy"] == pytest.approx([entropy] * len(payload["kl"]), abs=1e-5)
    assert sorted(set(payload["step"])) == list(range(1, 49))
    found = metrics(healthy.evaluate())
    assert found["chain_kl_slope"].exl2 == pytest.approx(0, abs=1e-9)
    assert found["chain_entropy"].fp16 == pytest.approx(entropy, abs=1e-5)
    assert found["chain_entropy"].difference > 0


def test_a_baseline_that_fails_itself_is_named_and_bars_a_pass():
    desk = Desk(broken(3), fp16=broken(3), questions=len(WORKLOAD.level())).run()
    found = desk.evaluate()
    assert found.state is State.INCONCLUSIVE
    assert found.diagnosis.cause == "baseline_also_fails"
    assert "FP16 leaves the path early itself" in metrics(found)["chain_step_accuracy"].note


def test_a_stopped_run_keeps_what_is_done_and_resumes_without_repeating(failing: Desk):
    desk = Desk(broken(24))
    while len(desk.samples) < len(failing.samples):
        limit = len(desk.samples) + 17
        desk.run(lambda limit=limit: len(desk.samples) >= limit)
    assert desk.samples == failing.samples
    assert len(desk.fp16.asked) == len(set(desk.fp16.asked))


def test_any_part_of_the_samples_can_be_evaluated_in_any_order(failing: Desk):
    samples = list(failing.samples.values())
    for part in ([], samples[:7], samples[:45], samples[::-1]):
        found = PROBE.evaluate(part, (), failing.settings)
        build_figures(found.charts)
    assert PROBE.evaluate([], (), failing.settings).state is State.NOT_MEASURED
    assert PROBE.evaluate(samples[::-1], ENGINE, failing.settings) == failing.evaluate()


def test_chains_cut_off_before_any_error_count_as_either_outcome():
    runaway = {c.id: "".join(s + " " * 40 + s[-1:] for s in c.gold_steps) for c in WORKLOAD.chains}
    desk = Desk(runaway).run()
    found = metrics(desk.evaluate())
    assert found["truncated_rate"].exl2 == 1.0
    assert found["chain_step_accuracy"].state is State.NOT_MEASURED
    half = {q: runaway[q] if i % 4 == 0 else t for i, (q, t) in enumerate(GOLD.items())}
    desk = Desk(half).run()
    primary = metrics(desk.evaluate())["chain_step_accuracy"]
    assert primary.n == 15
    assert primary.state is State.INCONCLUSIVE
    assert primary.note.startswith("5 of 20 chains were cut off before any error")


def test_without_a_sentence_model_the_distances_are_not_measured_and_say_why():
    def absent() -> WordCounts:
        raise PrerequisiteError("The sentence model is not installed.", "Install it.")

    desk = Desk(broken(24))
    desk.probe = LongChain(absent)
    found = metrics(desk.run().evaluate())
    assert found["chain_ds"].state is found["e_resonance_slope"].state is State.NOT_MEASURED
    assert found["chain_ds"].note == "The sentence model is not installed."
    assert found["chain_step_accuracy"].state is State.FAIL


def test_an_empty_answer_is_wrong_and_not_scored():
    first = WORKLOAD.chains[0].id
    desk = Desk(GOLD, fp16={**GOLD, first: ""}).run()
    assert len(desk.side("pair")) == 19
    answer = next(s.payload for s in desk.side("fp16") if s.key.question == first)
    assert (answer["kind"], answer["first_wrong"]) == ("chain_stopped", 1)
    assert metrics(desk.evaluate())["chain_step_accuracy"].fp16 == pytest.approx(0.95)


def test_only_chains_that_fp16_holds_are_tried_again_with_weights_put_back(healthy: Desk, failing: Desk):
    lost = lost_chains(tuple(failing.samples.values()), 0.95, 48)
    lengths = {s.key.question: s.payload["tokens"] for s in failing.side("fp16")}
    assert sorted(lengths[q] for q in lost) == sorted(lengths.values())[:4]
    assert lost_chains(tuple(healthy.samples.values()), 0.95, 48) == ()


def test_all_figures_are_drawn_with_their_numbers(failing: Desk):
    charts = failing.evaluate().charts
    drawn = build_figures(charts)
    assert {"chain-survival", "chain-apart", "chain-parts", "chain-steps", "failures", "kld"} <= set(drawn)
    table = figure_table("chain-survival", charts)
    assert "After step 48" in table
    assert "24 (24 to 24)" in table


def test_another_level_can_be_asked_for_and_an_unknown_one_is_refused(tmp_path: Path):
    hard = ProbeSettings(questions=500, options={"chains": "hard"})
    assert PROBE.workload_info(hard)["questions"] == len(WORKLOAD.level("hard")) > 0
    info = PROBE.workload_info(ProbeSettings(questions=20))
    assert (info["id"], info["questions"], len(info["sha256"])) == ("chains-1", 20, 64)
    with pytest.raises(InputError, match="no chains of the level 'odd'"):
        PROBE.workload_info(ProbeSettings(options={"chains": "odd"}))


@pytest.mark.demo
def test_on_the_demo_model_fp16_holds_the_thread_and_three_bits_lose_it(demo_pair: dict[str, Path]):
    """Two chains, stopped after both sides have answered: that is what takes the time.

    Which chains three bits lose depends on the processor that quantized them; that some are lost does not.
    """
    desk = Desk({}, questions=2)
    fp16 = open_engine(demo_pair["fp16"], side="fp16")
    exl2 = open_engine(demo_pair["demo-3bpw"], side="exl2", share_with=fp16)
    desk.fp16, desk.exl2, desk.twin = fp16, exl2, fp16
    desk.probe = LongChain()
    desk.run(lambda: len(desk.samples) >= 4)
    assert [s.payload["kind"] for s in desk.side("fp16")] == ["chain_right"] * 2
    lost = [s.payload["first_wrong"] for s in desk.side("exl2") if s.payload["first_wrong"] is not None]
    assert lost
    assert all(1 <= step <= 48 for step in lost)
    found = metrics(desk.evaluate())
    assert found["chain_step_accuracy"].state is found["kld"].state is State.NOT_MEASURED


class Told(ScriptedEngine):
    """Keeps the drafts that it is handed."""

    def __init__(self, answers: dict[str, str], bias: float = 0.0) -> None:
        super().__init__(answers, bias)
        self.drafts: dict[str, tuple[tuple[int, ...], ...]] = {}

    def generate(self, requests, should_stop=None):
        self.drafts |= {r.id.partition("/")[0]: r.drafts for r in requests}
        return super().generate(requests, should_stop)


def test_what_was_answered_before_is_handed_on_as_a_guess():
    """The baseline is handed the right text, EXL2 the baseline's answer first: neither reaches what is stored."""
    desk = Desk(broken(5), broken(20), questions=4)
    desk.fp16, desk.exl2 = Told(broken(20)), Told(broken(5), 1.0)
    desk.run()
    assert len(desk.exl2.drafts) == 4
    for question, drafts in desk.exl2.drafts.items():
        gold, said = (desk.fp16.encode(texts[question]) for texts in (GOLD, broken(20)))
        assert desk.fp16.drafts[question] == (gold,)
        assert drafts[0] == said[: len(drafts[0])]
        assert drafts[-1] == gold
    assert all(broken(5)[s.key.question].startswith(s.payload["text"]) for s in desk.side("exl2"))
