from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.probes.desk import Desk
from tests.probes.fakes import VOCAB, ScriptedEngine
from wfgy_triage.errors import InputError
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.probes.measuring import STAGES
from wfgy_triage.probes.registry import available_symptoms, get_probe
from wfgy_triage.probes.served import AGAIN
from wfgy_triage.result import State
from wfgy_triage.workload.json_records import load_json_workload

WORKLOAD = load_json_workload()
GOLD = {q.id: WORKLOAD.gold_text(q) for q in WORKLOAD.questions}
BROKEN = {k: v.replace("}", "", 1) if i % 2 else v for i, (k, v) in enumerate(GOLD.items())}


def desk_of(exl2: dict[str, str]) -> Desk:
    return Desk(PROBE, GOLD, exl2)


def test_every_question_is_answered_and_compared_on_every_side():
    desk = desk_of(GOLD)
    desk.run()
    for side in STAGES:
        assert len(desk.side(side)) == 20, side
    assert desk.stages[-1] == ("pair_floor", 20, 20)
    found = PROBE.evaluate(tuple(desk.samples.values()), (), desk.settings)
    assert found.state is State.INCONCLUSIVE
    assert found.metrics[0].exl2 == 1.0


def test_both_sides_get_the_same_questions_and_broken_answers_fail():
    desk = desk_of(BROKEN)
    desk.run()
    assert desk.fp16.asked == desk.exl2.asked
    found = PROBE.evaluate(tuple(desk.samples.values()), (), desk.settings)
    assert found.state is State.FAIL
    assert found.metrics[0].fp16 == 1.0
    assert found.metrics[0].exl2 == 0.5


def test_divergence_is_that_of_the_two_distributions():
    desk = desk_of(GOLD)
    desk.run()

    def top(logit: float) -> float:
        return math.exp(logit) / (math.exp(logit) + VOCAB - 1)

    p, q = top(5.0), top(4.0)
    kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    payload = desk.side("pair")[0].payload
    assert payload["kl"] == pytest.approx([kl] * len(payload["kl"]), abs=1e-5)
    assert len(payload["structural"]) == len(payload["kl"]) == len(GOLD[desk.side("pair")[0].key.question])


def test_a_stopped_run_keeps_what_is_done_and_resumes_without_repeating():
    whole = desk_of(BROKEN)
    whole.run()
    desk = desk_of(BROKEN)
    while len(desk.samples) < len(whole.samples):
        limit = len(desk.samples) + 7
        desk.run(lambda limit=limit: len(desk.samples) >= limit)
    assert desk.samples == whole.samples
    assert len(desk.fp16.asked) == len(set(desk.fp16.asked))


def test_runaway_answers_are_cut_and_counted_apart():
    desk = desk_of({**GOLD, WORKLOAD.questions[0].id: '{"name": "' + "a" * 4000})
    desk.run()
    kinds = {s.key.question: s.payload["kind"] for s in desk.side("exl2")}
    assert kinds[WORKLOAD.questions[0].id] == "truncated"
    assert list(kinds.values()).count("truncated") == 1


def test_an_empty_answer_is_measured_but_not_scored():
    desk = desk_of(GOLD)
    desk.fp16 = ScriptedEngine({**GOLD, WORKLOAD.questions[0].id: ""})
    desk.run()
    assert len(desk.side("fp16")) == 20
    assert len(desk.side("pair")) == 19


def test_unknown_symptoms_have_no_probe():
    assert "json_breaks" in available_symptoms()
    with pytest.raises(InputError, match="has no live probe"):
        get_probe("no_such_symptom")


def test_the_workload_is_named_by_its_hash():
    info = PROBE.workload_info(ProbeSettings(questions=20))
    assert (info["id"], info["questions"], len(info["sha256"])) == ("json-records-1", 20, 64)
    assert PROBE.workload_info(ProbeSettings(questions=500))["questions"] == 200


@pytest.mark.parametrize("fixed_order", [True, False])
def test_an_engine_that_may_answer_otherwise_is_asked_twice(fixed_order: bool):
    desk = desk_of(BROKEN)
    desk.exl2.info = replace(desk.exl2.info, deterministic=fixed_order)
    desk.run()
    found = PROBE.evaluate(tuple(desk.samples.values()), (), desk.settings)
    noise = next(c.detail for c in found.diagnosis.evidence if c.check == "above_noise")
    assert len(desk.side(AGAIN)) == (0 if fixed_order else 20)
    assert ("EXL2 against itself 0" in noise) is not fixed_order
    changed = [m.exl2 for m in found.metrics if m.id == "server_repeat_rate"]
    assert changed == ([] if fixed_order else [0.0])
