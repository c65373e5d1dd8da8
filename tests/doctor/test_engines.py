"""The loaded models: equal ones pass, a fault of each kind is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.doctor.conftest import failed, outcomes
from tests.probes.fakes import ScriptedEngine
from wfgy_triage.checks import load_checks
from wfgy_triage.doctor import engines
from wfgy_triage.doctor.engines import check_engines, check_first_answer
from wfgy_triage.doctor.finding import Outcome, prevents_loading
from wfgy_triage.doctor.loading import not_loaded
from wfgy_triage.engines.absent import AbsentEngine
from wfgy_triage.engines.base import Engine, LogitChunk, ScoreRequest
from wfgy_triage.engines.loading import open_engine
from wfgy_triage.errors import PrerequisiteError, ProbeError
from wfgy_triage.pairs import Pair

MADE = [c.id for c in load_checks().values() if c.group == "engines" and c.id != "first_answer"]


@pytest.fixture(scope="module")
def loaded(healthy: Pair) -> Iterator[tuple[Engine, Engine]]:
    fp16 = open_engine(healthy.fp16, side="fp16")
    exl2 = open_engine(healthy.exl2, side="exl2", share_with=fp16)
    yield fp16, exl2
    exl2.close()
    fp16.close()


class Changed:
    """An engine with some methods replaced."""

    def __init__(self, engine: object, **methods: object) -> None:
        self._engine = engine
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


def test_a_healthy_pair_passes(loaded):
    found = check_engines(*loaded)
    assert [f.check for f in found] == MADE
    seen = outcomes(found)
    assert seen.pop("boot_order") is Outcome.SKIPPED, "no server was started"
    assert set(seen.values()) == {Outcome.PASS}


def test_attention_without_a_causal_mask_is_seen(loaded):
    fp16, exl2 = loaded

    def sees_the_future(requests: list[ScoreRequest], chunk: int = 128) -> Iterator[LogitChunk]:
        # As a real engine without a mask: every row depends on all tokens that are computed, the last is not.
        for part in exl2.logits(requests, chunk):
            yield LogitChunk(part.id, part.start, part.logits + sum(requests[0].token_ids[:-1]))

    found = check_engines(fp16, Changed(exl2, logits=sees_the_future))
    assert failed(found) == ["causal_attention"]
    seen = next(f for f in found if f.check == "causal_attention")
    assert "on EXL2 " in seen.seen
    assert seen.cause == "noncausal_prefill"


def test_a_real_engine_without_its_mask_is_seen(loaded, monkeypatch: pytest.MonkeyPatch):
    fp16, exl2 = loaded
    states = exl2.runner.prefill

    def unmasked(rows, cache, should_stop=None):
        hidden = states(rows, cache, should_stop)
        return hidden + hidden.mean(dim=1, keepdim=True)

    monkeypatch.setattr(exl2.runner, "prefill", unmasked)
    assert failed(check_engines(fp16, exl2)) == ["causal_attention"]


def test_logits_that_are_not_numbers_do_not_pass(loaded):
    fp16, exl2 = loaded

    def broken(requests, chunk=128):
        for part in exl2.logits(requests, chunk):
            yield LogitChunk(part.id, part.start, part.logits * float("nan"))

    assert failed(check_engines(fp16, Changed(exl2, logits=broken))) == ["causal_attention"]


def test_other_ids_and_another_frame_as_loaded(loaded):
    fp16, exl2 = loaded
    assert failed(check_engines(fp16, Changed(exl2, encode=lambda text: exl2.encode(text + " ")))) == [
        "loaded_token_ids"
    ]
    assert failed(check_engines(fp16, Changed(exl2, render_chat=lambda m: "x"))) == ["loaded_chat_template"]


def test_a_cache_that_rounds_is_said_and_no_failure(loaded):
    fp16, exl2 = loaded
    version = f"{exl2.info.engine_version}, {{}} cache"
    info = replace(exl2.info, cache="Q6", engine_version=version.format("Q6"))
    fp16 = Changed(fp16, info=replace(fp16.info, engine_version=version.format("FP16")))
    found = check_engines(fp16, Changed(exl2, info=info))
    cache = next(f for f in found if f.check == "cache_unrounded")
    assert (cache.state, "Q6 cache" in cache.seen) == (Outcome.WARN, True)
    assert next(f for f in found if f.check == "only_weights_differ").state is Outcome.PASS
    assert outcomes(check_engines(fp16, exl2))["cache_unrounded"] is Outcome.PASS


def test_different_numerics_are_not_held_fixed(healthy: Pair, loaded):
    fast = open_engine(healthy.fp16, side="fp16", mode="fast")
    assert outcomes(check_engines(fast, loaded[1]))["only_weights_differ"] is Outcome.WARN
    fast.close()


@pytest.mark.parametrize(
    ("seconds", "state"),
    [((5.0, 1.0), "WARN"), ((1.1, 1.0), "PASS"), ((0.4, 0.1), "PASS"), ((1.0, 2.0), "PASS")],
)
def test_a_slow_first_answer_is_a_warning_at_most(seconds, state, monkeypatch: pytest.MonkeyPatch):
    times = iter(seconds)
    monkeypatch.setattr(engines, "_seconds_to_answer", lambda engine, number: next(times))
    assert check_first_answer(ScriptedEngine({})).state == state


def test_answers_are_really_asked_for():
    engine = ScriptedEngine({"warm-up-0": "a" * 20, "warm-up-1": "b"})
    assert check_first_answer(engine).state is Outcome.PASS
    assert engine.asked == ["warm-up-0", "warm-up-1"]


def test_models_that_are_not_there():
    error = PrerequisiteError("No class for this.", "Check config.json.")
    found = not_loaded(error)
    assert [f.check for f in found] == MADE
    assert failed(found) == ["models_load"]
    skew = not_loaded(PrerequisiteError("It does not import.", "Rebuild it.", cause="kernel_version_skew"))
    assert skew[0].cause == "kernel_version_skew"
    assert (found[0].seen, found[0].do, found[0].cause) == (error.message, error.hint, "model_not_loadable")
    assert prevents_loading(found)
    assert failed(not_loaded()) == []
    assert {f.state for f in not_loaded()} == {Outcome.SKIPPED}
    absent = AbsentEngine()
    assert check_first_answer(absent).state is Outcome.SKIPPED
    with pytest.raises(ProbeError, match="not loaded"):
        absent.encode("x")
