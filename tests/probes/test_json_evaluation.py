from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from wfgy_triage.diagnosis import CHECK_CAUSES, ONLY_WEIGHTS
from wfgy_triage.languages.lookup import lookup
from wfgy_triage.measure.json_validity import classify_json
from wfgy_triage.probes.base import Evaluation, ProbeSettings
from wfgy_triage.probes.json_evaluation import evaluate_samples, lost
from wfgy_triage.result import Check, Metric, State
from wfgy_triage.store.records import Sample, SampleKey

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "c": {"enum": ["a", "b"]}},
    "required": ["n", "c"],
    "additionalProperties": False,
}
GOLD = {"n": 1, "c": "a"}
ANSWERS = {
    "good": ('{"n": 1, "c": "a"}', False),
    "other_value": ('{"n": 2, "c": "a"}', False),
    "no_key": ('{"n": 1}', False),
    "extra_key": ('{"n": 1, "c": "a", "d": 2}', False),
    "type": ('{"n": "1", "c": "a"}', False),
    "enum": ('{"n": 1, "c": "z"}', False),
    "trailing": ('{"n": 1, "c": "a"} and more', False),
    "broken": ('{"n": 1, "c": ', False),
    "cut": ('{"n": 1, "c": "aaaaaa', True),
    "runaway": ('{"n": 1, "c": "a", "d": 2, "e": 3, "f": ', True),
}
CHECKS = tuple(Check(name, "ok", "") for name in [*CHECK_CAUSES, ONLY_WEIGHTS])


def sample(question: int, side: str, answer: str) -> Sample:
    text, cut = ANSWERS[answer]
    o = classify_json(text, SCHEMA, truncated=cut, expected=GOLD)
    payload = {
        "text": text,
        "kind": str(o.kind),
        "parse_valid": o.parse_valid,
        "schema_valid": o.schema_valid,
        "truncated": o.truncated,
        "never_parses": o.never_parses,
        "never_fits": o.never_fits,
        "trailing_text": o.trailing_text,
        "missing_keys": list(o.missing_keys),
        "extra_keys": list(o.extra_keys),
        "type_drift": list(o.type_drift),
        "enum_drift": list(o.enum_drift),
        "value_matches": o.value_matches,
    }
    return Sample(SampleKey("json_breaks", f"q{question:03d}", 0, 0, side), json.loads(json.dumps(payload)))


def comparison(question: int, kl: float, tokens: int = 20, side: str = "pair") -> Sample:
    payload = {
        "kl": [kl * (2 if i % 2 else 1) for i in range(tokens)],
        "ref_top_p": [0.1 + 0.8 * i / tokens for i in range(tokens)],
        "same_top": [1] * tokens,
        "ref_logprob": [-0.5] * tokens,
        "cand_logprob": [-0.5 - kl] * tokens,
        "structural": [i % 2 for i in range(tokens)],
    }
    return Sample(SampleKey("json_breaks", f"q{question:03d}", 0, 0, side), payload)


def answers(fp16: Sequence[str], exl2: Sequence[str], floor: Sequence[str] | None = None) -> list[Sample]:
    rows = [sample(i, "fp16", a) for i, a in enumerate(fp16)] + [
        sample(i, "exl2", a) for i, a in enumerate(exl2)
    ]
    return rows + [sample(i, "fp16_floor", a) for i, a in enumerate(floor if floor is not None else fp16)]


def evaluate(samples: Sequence[Sample], questions: int = 20) -> Evaluation:
    return evaluate_samples(samples, CHECKS, ProbeSettings(questions=questions))


def metric(evaluation: Evaluation, name: str) -> Metric:
    return next(m for m in evaluation.metrics if m.id == name)


def test_a_broken_side_fails_and_the_weights_are_named():
    found = evaluate(answers(["good"] * 20, ["good"] * 6 + ["no_key"] * 14))
    primary = metric(found, "schema_valid_rate")
    assert (found.state, primary.state, primary.primary) == (State.FAIL, State.FAIL, True)
    assert (primary.fp16, primary.exl2, primary.difference) == (1.0, 0.3, pytest.approx(-0.7))
    exact = stats.binomtest(6, 20).proportion_ci(0.95, "exact")
    assert primary.gated_interval == pytest.approx((exact.low, exact.high))
    assert primary.interval[1] < 0
    assert found.diagnosis.cause == "weights_too_few_bits"
    assert "does not meet" in found.page_rule


def test_all_valid_on_twenty_is_inconclusive_and_says_how_many_more():
    found = evaluate(answers(["good"] * 20, ["good"] * 20))
    assert found.state is State.INCONCLUSIVE
    assert "163" in metric(found, "schema_valid_rate").note
    assert found.diagnosis.cause == "within_noise"
    assert "meets" in found.page_rule


def test_enough_valid_answers_pass():
    found = evaluate(answers(["good"] * 190, ["good"] * 190), 190)
    assert found.state is State.PASS


def test_a_baseline_that_fails_as_often_is_the_cause():
    mixed = ["good"] * 8 + ["no_key"] * 12
    found = evaluate(answers(mixed, mixed))
    assert (found.state, found.diagnosis.cause) == (State.FAIL, "baseline_also_fails")


def test_each_kind_of_drift_has_its_own_rate():
    kinds = ["good", "no_key", "extra_key", "type", "enum", "trailing", "broken", "other_value"]
    found = evaluate(answers(["good"] * 8, kinds), 8)
    rates = {m.id: m.exl2 for m in found.metrics}
    assert rates["schema_valid_rate"] == 2 / 8
    assert rates["parse_valid_rate"] == 6 / 8
    assert rates["value_match_rate"] == 1 / 8
    assert rates["trailing_text_rate"] == 1 / 8
    assert rates["key_drift_rate"] == 2 / 8
    assert rates["type_drift_rate"] == 1 / 8
    assert rates["enum_drift_rate"] == 1 / 8


def test_cut_answers_are_neither_valid_nor_invalid():
    found = evaluate(answers(["good"] * 20, ["good"] * 12 + ["cut"] * 8))
    primary = metric(found, "schema_valid_rate")
    assert (primary.exl2, primary.n) == (1.0, 12)
    assert found.state is State.INCONCLUSIVE
    low = stats.binomtest(12, 20).proportion_ci(0.95, "exact").low
    assert primary.gated_interval == pytest.approx((low, 1.0))
    assert metric(found, "truncated_rate").exl2 == 0.4
    assert "could not be judged" in primary.note
    assert found.diagnosis.cause == "weights_too_few_bits", "eight cut answers are eight changes"


def test_a_model_that_rarely_ends_and_is_wrong_when_it_does_fails():
    found = evaluate(answers(["good"] * 20, ["good"] + ["no_key"] * 7 + ["cut"] * 12))
    assert found.state is State.FAIL
    assert "in 7 of 20 answers" in found.headline
    assert "12 of 20 questions could not be judged" in found.headline


def test_a_model_that_never_ends_an_answer_is_said_to():
    found = evaluate(answers(["good"] * 20, ["cut"] * 20))
    assert found.state is State.NOT_MEASURED
    assert found.headline.startswith(
        "EXL2 ends 0 of 20 answers before the length limit, FP16 20. Not measured: 0 of"
    )
    same = evaluate(answers(["cut"] * 20, ["cut"] * 20))
    assert same.headline.startswith("Not measured: ")


def test_a_runaway_answer_that_already_broke_the_schema_counts_as_broken():
    found = evaluate(answers(["good"] * 20, ["good"] * 12 + ["runaway"] * 8))
    primary = metric(found, "schema_valid_rate")
    assert (found.state, primary.exl2, primary.n) == (State.FAIL, 0.6, 20)
    assert "8 of 20" in found.headline
    parse = metric(found, "parse_valid_rate")
    assert (parse.exl2, parse.n) == (1.0, 12), "it might still have become JSON"
    assert metric(found, "truncated_rate").exl2 == 0.4


def test_the_noise_floor_is_fp16_against_itself():
    found = evaluate(answers(["good"] * 20, ["good"] * 20, floor=["good"] * 18 + ["no_key"] * 2))
    assert metric(found, "schema_valid_rate").floor == pytest.approx(0.1)


def test_without_a_twin_the_floor_is_not_measured():
    found = evaluate(answers(["good"] * 20, ["good"] * 20, floor=[]))
    assert metric(found, "schema_valid_rate").floor is None


def test_nothing_answered_is_not_measured():
    found = evaluate([])
    assert found.state is State.NOT_MEASURED
    assert found.diagnosis.cause == "unknown"
    assert all(m.exl2 is None for m in found.metrics)


def test_divergence_comes_from_the_tokens_and_splits_by_structure():
    samples = answers(["good"] * 20, ["good"] * 20)
    samples += [comparison(i, 0.1) for i in range(20)] + [
        comparison(i, 0.001, side="pair_floor") for i in range(20)
    ]
    found = evaluate(samples)
    kld = metric(found, "kld")
    assert kld.exl2 == pytest.approx(0.15)
    assert kld.floor == pytest.approx(0.0015)
    assert metric(found, "kld_structure").exl2 == pytest.approx(0.2)
    assert metric(found, "kld_content").exl2 == pytest.approx(0.1)
    assert metric(found, "top1").exl2 == 1.0
    assert metric(found, "ppl_ratio").exl2 == pytest.approx(np.exp(0.1))
    assert [p["kl"] for p in found.charts["token_parts"]] == pytest.approx([0.2, 0.1])
    assert sum(b["n"] for b in found.charts["kld_buckets"]) == 400


def test_too_few_tokens_are_not_measured_with_the_reason():
    found = evaluate([*answers(["good"] * 20, ["good"] * 20), comparison(0, 0.1, tokens=99)])
    kld = metric(found, "kld")
    assert (kld.exl2, kld.state) == (None, State.NOT_MEASURED)
    assert "100" in kld.note


KINDS = st.lists(st.sampled_from(sorted(ANSWERS)), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(fp16=KINDS, data=st.data())
def test_the_order_of_samples_does_not_matter(fp16: list[str], data: st.DataObject):
    exl2 = data.draw(st.lists(st.sampled_from(sorted(ANSWERS)), min_size=len(fp16), max_size=len(fp16)))
    samples = answers(fp16, exl2)
    shuffled = random.Random(data.draw(st.integers())).sample(samples, len(samples))
    assert evaluate(samples) == evaluate(shuffled)


RANK = {State.FAIL: 0, State.INCONCLUSIVE: 1, State.PASS: 2}


@settings(max_examples=40, deadline=None)
@given(n=st.integers(5, 200), data=st.data())
def test_worse_answers_never_improve_the_state(n: int, data: st.DataObject):
    bad = data.draw(st.integers(0, n - 1))
    states = [
        evaluate(answers(["good"] * n, ["no_key"] * k + ["good"] * (n - k)), n).state for k in (bad, bad + 1)
    ]
    assert RANK[states[1]] <= RANK[states[0]]


def noise_rung(found: Evaluation) -> str:
    return next(c.detail for c in found.diagnosis.evidence if c.check == "above_noise")


def test_few_broken_answers_take_their_cause_from_wrong_values_that_chance_does_not_explain():
    exl2 = ["no_key"] * 3 + ["other_value"] * 7 + ["good"] * 10
    found = evaluate(answers(["good"] * 20, exl2))
    assert (found.state, found.diagnosis.cause) == (State.FAIL, "weights_too_few_bits")
    assert found.diagnosis.confidence == "medium", "that the schema broke for it is likely and no more"
    assert "EXL2 loses 3 usable answers" in noise_rung(found)
    assert "another rule. Records with the right content: Of 20 questions EXL2 loses 10" in noise_rung(found)
    chinese = lookup("zh").translated(noise_rung(found))
    assert not re.search(r"\b(the|of|and|against)\b", chinese), chinese
    gone = lost(answers(["good"] * 20, exl2), ProbeSettings(questions=20))
    assert set(gone.questions) == {f"q{i:03d}" for i in range(10)}
    back = [sample(0, "back:cache", "good"), sample(1, "back:cache", "other_value")]
    assert gone.well(back, "back:cache") == {"q000": True, "q001": False}


@pytest.mark.parametrize(
    "exl2",
    [
        ["no_key"] * 3 + ["good"] * 17,
        ["no_key"] * 3 + ["other_value"] * 4 + ["good"] * 13,  # p = 0.016, which is not all but excluded
    ],
)
def test_wrong_values_that_may_be_chance_name_no_cause(exl2: list[str]):
    found = evaluate(answers(["good"] * 20, exl2))
    assert (found.state, found.diagnosis.cause) == (State.FAIL, "unknown")
    assert lost(answers(["good"] * 20, exl2), ProbeSettings(questions=20)).questions == ()


def test_wrong_values_are_no_cause_where_the_schema_holds_or_fp16_breaks_it_alike():
    held = evaluate(answers(["good"] * 20, ["other_value"] * 20))
    assert (held.state, held.diagnosis.cause) == (State.INCONCLUSIVE, "within_noise")
    alike = evaluate(answers(["no_key"] * 8 + ["good"] * 12, ["no_key"] * 8 + ["other_value"] * 12))
    assert (alike.state, alike.diagnosis.cause) == (State.FAIL, "baseline_also_fails")
