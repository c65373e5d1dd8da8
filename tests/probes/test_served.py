"""Probes on models behind servers: rates and times are measured, the rest says why not, and nobody is accused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines import stub_server as say
from tests.engines.conftest import save_tokenizer
from tests.engines.stub_server import Stub, serving
from tests.probes.served import bench_of, engine_on
from wfgy_triage.doctor.engines import check_engines, check_first_answer
from wfgy_triage.doctor.finding import Outcome, evidence_of
from wfgy_triage.errors import ProbeError
from wfgy_triage.evidence import RateEvidence
from wfgy_triage.probes import json_evaluation
from wfgy_triage.probes.acceptance import Acceptance
from wfgy_triage.probes.base import Evaluation
from wfgy_triage.probes.citations_missing import PROBE as CITATIONS
from wfgy_triage.probes.json_breaks import PROBE as JSON
from wfgy_triage.probes.latency import NO_COUNTS, ONE_SERVER, TIMED
from wfgy_triage.probes.long_chain import LongChain
from wfgy_triage.probes.served import AGAIN, latency_gains
from wfgy_triage.probes.wrong_snippet import WrongSnippet
from wfgy_triage.result import Metric, State
from wfgy_triage.workload.chains import load_chains
from wfgy_triage.workload.citations import load_citations, marked
from wfgy_triage.workload.json_records import load_json_workload

QUESTIONS = 6


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Stub, Stub]]:
    with serving(Stub()) as fp16, serving(Stub()) as exl2:
        yield fp16, exl2


@pytest.fixture
def stubs(running: tuple[Stub, Stub]) -> tuple[Stub, Stub]:
    for stub in running:
        stub.reset()
    return running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(found)
    (found / "config.json").write_text('{"max_position_embeddings": 200000}')
    return found


def metric(found: Evaluation, name: str) -> Metric:
    return next(m for m in found.metrics if m.id == name)


def records(engine: Any, broken: bool = False) -> dict[str, str]:
    workload = load_json_workload()
    golds = {
        engine.render_chat(workload.messages(q)): workload.gold_text(q)
        for q in workload.questions[:QUESTIONS]
    }
    return {p: g.replace("}", "", 1) if broken else g for p, g in golds.items()}


def test_rates_are_measured_and_what_a_server_cannot_give_says_so(stubs, folder):
    bench = bench_of(JSON, stubs, folder, lambda e: (records(e), records(e, broken=True)), QUESTIONS).run()
    checks = evidence_of(check_engines(bench.fp16, bench.exl2))
    found = bench.evaluate(checks)
    assert found.state is State.FAIL
    assert (metric(found, "schema_valid_rate").fp16, metric(found, "schema_valid_rate").exl2) == (1.0, 0.0)
    for name in ("kld", "top1", "ppl_ratio"):
        assert metric(found, name).state is State.NOT_MEASURED
        assert "asked on a server, which gives no probabilities" in metric(found, name).note
    assert metric(found, "server_repeat_rate").exl2 == 0.0
    assert {s.key.side for s in bench.samples.values()} == {"fp16", "exl2", "fp16_floor", AGAIN}
    # It fails, and by more than noise; but which of weights, cache, engine or template did it was not held fixed.
    assert found.diagnosis.cause == "unknown"
    assert not {"weights_too_few_bits", "kv_cache_bits"} & set(found.diagnosis.ruled_out)
    assert "EXL2 against itself 0" in next(
        c.detail for c in found.diagnosis.evidence if c.check == "above_noise"
    )


def test_a_server_that_changes_its_own_answers_as_much_is_no_evidence_of_damage(stubs, folder):
    golds: dict[str, str] = {}
    asked: dict[str, int] = {}

    def unsteady(body: dict[str, Any]) -> Any:
        prompt = body["prompt"]
        asked[prompt] = asked.get(prompt, 0) + 1
        # Broken the first time, right when it is asked again.
        text = golds.get(prompt, "hello")
        return say.says(text.replace("}", "", 1) if asked[prompt] == 1 else text)(body)

    bench = bench_of(JSON, stubs, folder, lambda e: (records(e), {}), QUESTIONS)
    golds |= records(bench.fp16)
    stubs[1].otherwise = unsteady
    found = bench.run().evaluate()
    assert metric(found, "server_repeat_rate").exl2 == 1.0
    rung = next(c for c in found.diagnosis.evidence if c.check == "above_noise")
    assert (rung.result, found.diagnosis.cause) == ("fault", "unknown")
    assert "EXL2 against itself 6" in rung.detail
    assert json_evaluation.lost(tuple(bench.samples.values()), bench.settings).questions == (), (
        "nothing to localize"
    )


def test_the_ladder_counts_the_servers_own_changes_beside_the_twins():
    facts = {"state": State.FAIL, "baseline_state": State.PASS, "pairs": 20, "lost": 10, "won": 0, "p_value": 0.002,
             "interval": (-0.7, -0.2), "floor_flips": 0, "kld": None, "kld_floor": None}  # fmt: skip
    assert RateEvidence(**facts).evidence().above_noise
    assert RateEvidence(**facts, again_flips=9).evidence().above_noise
    assert not RateEvidence(**facts, again_flips=10).evidence().above_noise


def test_a_question_that_fails_for_good_keeps_the_others_and_a_resumed_run_asks_it_alone(stubs, folder):
    bench = bench_of(JSON, stubs, folder, lambda e: (records(e), records(e)), QUESTIONS, concurrency=2)
    victim = next(iter(records(bench.fp16)))
    stubs[1].by_prompt[victim] = [say.stream("data: {oops\n\n")]
    with pytest.raises(ProbeError, match="gave no answer to"):
        bench.run()
    assert len(bench.side("exl2")) == QUESTIONS - 1
    stubs[1].by_prompt.clear()
    stubs[1].bodies.clear()
    bench.run()
    assert [b["prompt"] for b in stubs[1].bodies].count(victim) == 2  # once, and once again for the noise
    assert len(bench.side("exl2")) == len(bench.side(AGAIN)) == QUESTIONS


def test_citations_have_rates_and_no_fluency_by_fp16(stubs, folder):
    def answers(engine: Any) -> tuple[dict[str, str], dict[str, str]]:
        work = load_citations()
        golds = {
            engine.render_chat(work.messages(t)): marked(" ".join(t.question.evidence), t.gold)
            for t in work.tasks[:QUESTIONS]
        }
        return golds, {p: "It says nothing." for p in golds}

    found = bench_of(CITATIONS, stubs, folder, answers, QUESTIONS).run().evaluate()
    assert metric(found, "citation_valid_rate").exl2 == 0.0
    assert metric(found, "citation_valid_rate").fp16 == 1.0
    assert "asked on a server" in metric(found, "kld").note
    assert next(c.result for c in found.diagnosis.evidence if c.check == "fluency_holds") == "unknown"


def test_chains_are_followed_over_a_server(stubs, folder):
    def answers(engine: Any) -> tuple[dict[str, str], dict[str, str]]:
        golds = {c.prompt: c.gold_text for c in load_chains().level("standard")[:QUESTIONS]}
        return golds, golds

    found = bench_of(LongChain(), stubs, folder, answers, QUESTIONS).run().evaluate()
    assert metric(found, "chain_step_accuracy").exl2 == 1.0
    assert metric(found, "server_repeat_rate").exl2 == 0.0


def test_the_gate_compares_the_times_of_two_servers_and_says_so(stubs, folder):
    class Encoder:
        def encode(self, texts: list[str]) -> Any:
            import numpy as np

            return np.ones((len(texts), 1))

    bench = bench_of(
        Acceptance(Encoder, compared=2, sweep=()), stubs, folder, lambda e: ({}, {}), QUESTIONS
    ).run()
    for sample in bench.samples.values():
        if sample.key.side in ("fp16", "exl2", AGAIN):
            sample.payload["seconds_a_token"] = {"fp16": 0.04, "exl2": 0.02, AGAIN: 0.022}[sample.key.side]  # type: ignore[index]
    found = metric(bench.evaluate(), "latency_gain")
    assert (found.exl2, found.state) == (pytest.approx(0.5), State.PASS)
    assert found.floor == pytest.approx(0.1)
    assert "Server against server" in found.note
    assert bench.side(TIMED) == []
    for sample in bench.side("exl2"):
        sample.payload["seconds_a_token"] = None  # type: ignore[index]
    uncounted = metric(bench.evaluate(), "latency_gain")
    assert (uncounted.state, uncounted.note) == (State.NOT_MEASURED, NO_COUNTS)
    for sample in bench.side("fp16"):
        sample.payload.pop("served")  # type: ignore[attr-defined]
    alone = metric(bench.evaluate(), "latency_gain")
    assert (alone.state, alone.note) == (State.NOT_MEASURED, ONE_SERVER)
    assert latency_gains(tuple(bench.samples.values())) == ({}, {})


def test_searches_with_hidden_states_are_not_measured_and_the_independent_arm_is(stubs, folder):
    found = bench_of(WrongSnippet(), stubs, folder, lambda e: ({}, {}), QUESTIONS).run()
    evaluation = found.evaluate()
    assert evaluation.state is State.NOT_MEASURED
    assert "gives no hidden states" in evaluation.headline
    assert found.side("independent")
    assert not found.side("exl2")


def test_the_doctor_asks_what_can_be_asked(stubs, folder):
    for stub in stubs:
        stub.models = {"data": [{"id": "m", "owned_by": "tabbyAPI"}]}
        stub.loaded = {"id": "m"}
    fp16, exl2 = (engine_on(s, folder, n) for s, n in zip(stubs, ("fp16", "exl2"), strict=True))
    found = {f.check: f for f in check_engines(fp16, exl2)}
    states = {name: f.state for name, f in found.items()}
    assert states == {
        "models_load": Outcome.PASS, "loaded_token_ids": Outcome.SKIPPED, "loaded_chat_template": Outcome.SKIPPED,
        "causal_attention": Outcome.SKIPPED, "only_weights_differ": Outcome.WARN, "boot_order": Outcome.PASS,
    }  # fmt: skip
    assert check_first_answer(exl2).state in (Outcome.PASS, Outcome.WARN)
    stubs[0].encode, stubs[1].encode = fp16.encode, lambda text: [*fp16.encode(text), 1]
    fp16, exl2 = (engine_on(s, folder, n) for s, n in zip(stubs, ("fp16", "exl2"), strict=True))
    asked = {f.check: f for f in check_engines(fp16, exl2)}["loaded_token_ids"]
    assert (asked.state, asked.cause) == (Outcome.FAIL, "tokenizer_mismatch")
    stubs[1].encode = fp16.encode
    assert {f.check: f.state for f in check_engines(fp16, exl2)}["loaded_token_ids"] is Outcome.PASS


def boot_order(stubs, folder, **settings):
    sides = (engine_on(s, folder, n, **settings) for s, n in zip(stubs, ("fp16", "exl2"), strict=True))
    return next(f for f in check_engines(*sides) if f.check == "boot_order")


def test_a_model_that_is_loaded_for_the_first_request_is_a_warning(stubs, folder):
    """TabbyAPI tells its model only once it has one: nothing at first, then the one that was asked for."""

    def load(stub: Stub) -> None:
        def answer(body):
            stub.loaded = {"id": body["model"]}
            return say.says("hello")(body)

        stub.otherwise = answer

    for stub in stubs:
        stub.models = {"data": [{"id": n, "owned_by": "tabbyAPI"} for n in ("m", "other")]}
        stub.loaded = {"id": "m"}
    assert boot_order(stubs, folder, model="m").state is Outcome.PASS
    for before in (None, {"id": "other"}):
        stubs[1].loaded = before
        load(stubs[1])
        found = boot_order(stubs, folder, model="m")
        assert (found.state, found.cause) == (Outcome.WARN, None)
        assert "EXL2 side did not have this model loaded" in found.seen
        assert "FP16" not in found.seen
    assert boot_order(stubs, folder, model="m").state is Outcome.PASS, "by now both have it"


def test_a_server_that_is_not_ready_at_first_is_a_warning_whatever_it_says_of_its_model(
    stubs, folder, monkeypatch
):
    async def no_time(seconds: float) -> None:
        return None

    monkeypatch.setattr("wfgy_triage.engines.openai_client.pause", no_time)
    stubs[0].script.append(say.status(503))
    found = boot_order(stubs, folder, retries=2)
    assert found.state is Outcome.WARN
    assert (
        "FP16 side was not ready at first, or did not answer; requests repeated up to its first answer: 1."
        in found.seen
    )
    silent = boot_order(stubs, folder, retries=2)
    assert silent.state is Outcome.SKIPPED, "it answers at once, and does not say what it has loaded"
    assert "not known to say" in silent.seen
