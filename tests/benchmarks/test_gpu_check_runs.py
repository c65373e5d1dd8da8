"""What `make gpu-check` makes of whole runs and of times: when a probe passes, what an answer took."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.gpu_check import latency, probes
from benchmarks.gpu_check.part import Bench
from wfgy_triage.catalog import load_catalog
from wfgy_triage.engines.base import Completion
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.verdict import MIN_QUESTIONS

RULES = ("ds_drift", "accuracy", "latency_gain")


def probed(
    state: str,
    missing: str = "",
    engine: str = "exllamav2",
    cause: str = "within_noise",
    noise: str = "fault",
):
    states = {name: "NOT MEASURED" if name == missing else "PASS" for name in RULES}
    rules = [{"id": name, "primary": True, "state": s} for name, s in states.items()]
    return probes.judged(
        "acceptance_gate",
        {
            "pair": {"exl2": {"engine": engine}},
            "state": state,
            "headline": "h",
            "metrics": [*rules, {"id": "kld", "primary": False, "state": "NOT MEASURED"}],
            "diagnosis": {"cause": cause, "evidence": [{"check": "above_noise", "result": noise}]},
        },
    )


@pytest.mark.parametrize("state", ["PASS", "INCONCLUSIVE", "FAIL"])
def test_a_probe_of_the_healthy_demo_passes_with_any_verdict_of_its_rules(state):
    found = probed(state, cause="weights_too_few_bits")
    assert (found["passed"], found["words"], found["rules"]["latency_gain"]) == (True, "", "PASS")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (probed("PASS", engine="exl2_reference"), "ran in exl2_reference"),
        (probed("NOT MEASURED", "latency_gain"), "not measured: latency_gain"),
        # A rule that fails must not hide one that was not measured.
        (probed("FAIL", "latency_gain"), "not measured: latency_gain"),
        (probed("FAIL", cause="tokenizer_mismatch"), "is accused of tokenizer_mismatch"),
        (probed("FAIL", cause="kernel_version_skew"), "is accused of kernel_version_skew"),
        (probed("FAIL", cause="unknown", noise="ok"), "beyond chance is left unexplained"),
        (probed("FAIL", cause="unknown", noise="unknown"), "beyond chance is left unexplained"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_probe_does_not_pass_unmeasured_elsewhere_or_with_an_accusation(result, words):
    assert not result["passed"]
    assert words in result["words"]


def test_no_cause_may_be_found_where_the_difference_may_be_chance():
    assert probed("FAIL", cause="unknown", noise="fault")["passed"]


def test_a_failed_check_of_the_healthy_demo_is_no_pass():
    result = {
        "pair": {"exl2": {"engine": "exllamav2"}},
        "state": "FAIL",
        "headline": "One check failed: h.",
        "metrics": [{"id": "failed_checks", "primary": True, "state": "FAIL"}],
        "diagnosis": {"cause": "kernel_version_skew"},
    }
    assert "One check failed" in probes.judged("deploy_mismatch", result)["words"]


def test_what_may_be_named_of_the_demo_are_causes():
    assert set(load_catalog().causes) > probes.HEALTHY


@pytest.mark.parametrize("fast", [True, False])
def test_every_probe_is_asked_enough_questions_for_a_verdict_and_the_rest_is_named(
    monkeypatch, tmp_path, fast
):
    asked = []

    def probe(symptom, home, questions):
        asked.append((symptom, questions))
        bad = {"passed": False, "words": "not measured: recall_at_k", "state": "NOT MEASURED"}
        good = {"passed": True, "words": "", "state": "PASS"}
        return {"symptom": symptom, **(bad if symptom == "wrong_snippet" else good)}

    monkeypatch.setattr(probes, "probe", probe)
    found = probes.run(Bench(tmp_path, (tmp_path,), tmp_path, fast))
    assert {symptom for symptom, _ in asked} == set(load_catalog().symptoms)
    assert all(questions >= MIN_QUESTIONS for _, questions in asked)
    assert found.state == "FAIL"
    assert "The others: wrong_snippet (not measured: recall_at_k)." in found.said


class Timed:
    """Takes 1 s for prompts and 0.1 s for each further step of the longest answer, on a clock of its own."""

    def __init__(self, info, ends_after=()):
        self.info, self.now, self.asked, self._ends = info, 0.0, [], ends_after

    def generate(self, requests, should_stop=None):
        self.asked += requests
        most = requests[0].max_new_tokens
        ends = [*self._ends, *[10**6] * len(requests)][: len(requests)]
        # An answer that ends by itself takes a step more, for its end token.
        self.now += 1.0 + 0.1 * (max(min(most, end + 1) for end in ends) - 1)
        return [
            Completion(r.id, "", (1,) * min(most, end), (0.0,), "stop" if end < most else "length")
            for r, end in zip(requests, ends, strict=True)
        ]


def test_times_are_of_the_first_token_and_of_each_further_one(fp16):
    engine = open_engine(fp16, side="fp16")
    timed = Timed(engine.info)
    rows = latency.time_arms({"a": timed}, new=11, repeats=6, clock=lambda: timed.now)
    assert len(rows) == len(latency.PROMPTS) * len(latency.BATCHES)
    for row in rows:
        assert (row["ttft_ms"], row["tpot_ms"]) == (pytest.approx(1000), pytest.approx(100))
        assert row["tpot_interval"] == (pytest.approx(100), pytest.approx(100))
        assert (row["repeats"], row["early"]) == (6, 0)
    prompts = sorted(r.prompt_ids for r in timed.asked)
    assert not [1 for a, b in itertools.pairwise(prompts) if a[:8] == b[:8]], "no prompt begins like another"
    assert max(max(p) for p in prompts) < engine.info.vocab_size
    asked = latency.requests(engine, 16, 2, 5, "x")
    assert asked == latency.requests(engine, 16, 2, 5, "x")
    assert asked[0].prompt_ids != latency.requests(engine, 16, 2, 5, "y")[0].prompt_ids
    engine.close()


def test_an_answer_that_ends_early_leaves_the_others_of_its_batch(fp16):
    engine = open_engine(fp16, side="fp16")

    def once(batch, *ends):
        timed = Timed(engine.info, ends)
        return latency.time_once(timed, 8, batch, 20, 1, lambda: timed.now)

    assert once(1, 3) is None, "too few tokens to tell anything"
    for times, early in ((once(1, 12), 1), (once(3, 3, 12), 2), (once(3), 0)):
        assert times == latency.Times(pytest.approx(1.0), pytest.approx(0.1), early)
    engine.close()


def test_the_interval_of_a_median_is_that_of_order_statistics():
    # P(the median lies between the 2nd and the 8th of 9) = 1 - 2 * (1 + 9) / 2**9 = 0.961
    assert latency.median_interval([9, 1, 2, 8, 3, 7, 4, 6, 5]) == (2, 8)
    # The smallest and the largest of 6 hold it with 1 - 2 / 2**6 = 0.969, those of 5 with 0.9375.
    assert latency.median_interval(range(6)) == (0, 5)
    assert latency.median_interval(range(5)) is None
    assert latency.median_interval([]) is None
