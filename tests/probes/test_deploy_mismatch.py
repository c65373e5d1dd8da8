"""The probe without questions: what it stores, how it resumes, and when it may say PASS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.probes.fakes import ScriptedEngine
from wfgy_triage.checks import load_checks
from wfgy_triage.doctor.finding import Finding, Outcome, failed, passed, skipped, warned
from wfgy_triage.engines.absent import AbsentEngine
from wfgy_triage.probes import deploy_mismatch
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.probes.deploy_mismatch import PROBE
from wfgy_triage.result import State
from wfgy_triage.store.records import Sample, SampleKey

CHECKS = load_checks()
ENVIRONMENT = tuple(skipped(c.id, "no GPU") for c in CHECKS.values() if c.group == "environment")
HEALTHY = tuple(passed(c.id, "fine") for c in CHECKS.values() if c.group != "environment")


def samples(findings: Sequence[Finding]) -> list[Sample]:
    return [Sample(SampleKey("deploy_mismatch", f.check, 0, 0, "doctor"), f.to_json()) for f in findings]


def evaluate(*findings: Finding):
    return PROBE.evaluate(samples(findings), (), ProbeSettings())


def instead(check: str, finding: Finding) -> tuple[Finding, ...]:
    return tuple(finding if f.check == check else f for f in (*HEALTHY, *ENVIRONMENT))


def test_all_that_could_be_made_passed_and_the_cuda_side_is_not_claimed():
    found = evaluate(*HEALTHY, *ENVIRONMENT)
    assert found.state is State.PASS
    assert "CUDA side" in found.headline
    assert "not checked" in found.headline
    assert found.diagnosis.cause == "nothing_found"
    assert "kernel_version_skew" not in found.diagnosis.ruled_out
    assert (found.metrics[0].exl2, found.metrics[0].state) == (0.0, State.PASS)


def test_with_the_cuda_side_checked_nothing_is_held_back():
    environment = tuple(passed(f.check, "fine") for f in ENVIRONMENT)
    assert "not checked" not in evaluate(*HEALTHY, *environment).headline


@pytest.mark.parametrize("check", [c.id for c in CHECKS.values() if c.essential])
def test_an_essential_check_that_was_skipped_is_no_pass(check: str):
    found = evaluate(*instead(check, skipped(check, "not readable")))
    assert found.state is State.NOT_MEASURED
    assert CHECKS[check].title.lower() in found.headline
    assert found.metrics[0].exl2 is None


@pytest.mark.parametrize("check", [c.id for c in CHECKS.values() if c.cause])
def test_any_failure_fails_and_names_its_cause(check: str):
    found = evaluate(*instead(check, failed(check, "seen")))
    assert found.state is State.FAIL
    assert found.diagnosis.cause == CHECKS[check].cause
    assert found.diagnosis.cause not in found.diagnosis.ruled_out
    assert found.metrics[0].exl2 == 1.0
    assert "does not meet" in found.page_rule


def test_warnings_are_told_and_do_not_fail():
    found = evaluate(*instead("first_answer", warned("first_answer", "slow")))
    assert found.state is State.PASS
    assert "1 warning" in found.metrics[0].note


def test_the_order_of_the_samples_does_not_matter():
    findings = list(instead("same_rope", failed("same_rope", "a")))
    assert PROBE.evaluate(samples(findings), (), ProbeSettings()) == PROBE.evaluate(
        samples(findings[::-1]), (), ProbeSettings()
    )


def test_nothing_made_is_not_measured():
    assert evaluate().state is State.NOT_MEASURED


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch):
    """A context over a list, with the environment's checks counted instead of made."""
    kept: list[Sample] = []
    asked: list[str] = []

    def environment() -> tuple[Finding, ...]:
        asked.append("environment")
        return ENVIRONMENT

    monkeypatch.setattr(deploy_mismatch, "check_environment", environment)

    def context(engine: object, stop: bool = False) -> ProbeContext:
        return ProbeContext(
            fp16=engine, exl2=engine, open_floor=lambda: engine, settings=ProbeSettings(),
            done=frozenset(s.key for s in kept), stored=lambda: kept, save=kept.extend,
            progress=lambda *a: None, should_stop=lambda: stop,
            findings=tuple(f for f in HEALTHY if f.check != "first_answer"),
        )  # fmt: skip

    return kept, asked, context


def test_a_run_stores_each_check_once_and_a_second_pass_nothing(store):
    kept, asked, context = store
    engine = ScriptedEngine({"warm-up-0": "a", "warm-up-1": "b"})
    PROBE.run(context(engine))
    assert sorted(s.key.question for s in kept) == sorted(CHECKS)
    PROBE.run(context(engine))
    assert len(kept) == len(CHECKS)
    assert asked == ["environment"]


def test_a_stopped_run_keeps_what_it_has(store):
    kept, asked, context = store
    PROBE.run(context(ScriptedEngine({}), stop=True))
    assert len(kept) == len(HEALTHY) - 1
    assert asked == []


def test_without_models_the_rest_is_checked(store):
    kept, asked, context = store
    PROBE.run(replace(context(AbsentEngine()), findings=(failed("checkpoint_intact", "cut"),)))
    found = PROBE.evaluate(kept, (), ProbeSettings())
    assert (found.state, found.diagnosis.cause) == (State.FAIL, "checkpoint_corrupt")
    assert asked == ["environment"]
    assert next(f for f in found.charts["doctor"] if f["check"] == "first_answer")["state"] == Outcome.SKIPPED
