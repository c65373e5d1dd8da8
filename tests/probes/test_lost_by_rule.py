"""Which questions are asked again where the gate, or the short way, fails by another rule than right answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from tests.probes.desk import Bench
from tests.probes.fakes import ScriptedEngine
from tests.probes.foreign import DIFFERENT
from tests.probes.test_acceptance import CHECKS, GOLD, PROBE, TASKS, WRONG
from tests.probes.test_sixty_seconds import FLIPPED
from tests.probes.test_sixty_seconds import GOLD as GOLD_SWEPT
from tests.probes.test_sixty_seconds import PROBE as SIXTY
from tests.remedies.scripts import PromptEngine
from tests.remedies.test_gate_trials import RUNS_EACH, unsteady
from wfgy_triage.diagnosis import ENGINE_BACK, KERNELS
from wfgy_triage.doctor.finding import evidence_of
from wfgy_triage.engines.base import Completion, Engine, GenerationRequest
from wfgy_triage.measure.tension import K_SWEEP
from wfgy_triage.probes import acceptance_evaluation, sixty_evaluation
from wfgy_triage.probes.acceptance_evaluation import LOST_RUNS
from wfgy_triage.probes.acceptance_rules import lost_by, well_on
from wfgy_triage.probes.base import Probe, ProbeContext, ProbeSettings
from wfgy_triage.probes.lost import ANSWERED_QUESTIONS
from wfgy_triage.probes.sixty_evaluation import LOST_SWEPT
from wfgy_triage.result import Check, State

SHORT = {t.question.id: f"{t.question.answer}." for t in TASKS}
"""Right, and without a word of the evidence or a passage."""
LONG = {q: f"{a} {'so ' * 60}"[: 2 * len(a)].strip() for q, a in GOLD.items()}
"""Right and covered, in so many more words that it is no longer the same."""


class Apart(Bench):
    """EXL2 in an engine of its own; the reference engine can be asked for the same weights."""

    def __init__(self, probe: Probe, fp16: Mapping[str, str], exl2: Engine, decoded: Engine) -> None:
        settings = ProbeSettings(questions=20)
        super().__init__(probe, ScriptedEngine(fp16), exl2, ScriptedEngine(fp16, bias=0.01), settings)
        self.decoded = decoded

    def context(self, *how, **more) -> ProbeContext:
        found = super().context(*how, **more)
        return replace(found, findings=DIFFERENT, open_decoded=lambda: self.decoded)

    def failing(self) -> list[str]:
        found = self.evaluate(evidence_of(DIFFERENT))
        return [m.id for m in found.metrics if m.primary and m.state is State.FAIL]

    def cause(self) -> tuple[str, Check]:
        found = self.evaluate(evidence_of(DIFFERENT)).diagnosis
        (rung,) = [c for c in found.evidence if c.check == ENGINE_BACK]
        return found.cause, rung


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfgy_triage.probes.reference_engine.free_bytes", lambda device: 1 << 40)


@pytest.mark.parametrize(("answers", "rule"), [(SHORT, "coverage"), (LONG, "ds_drift")])
@pytest.mark.parametrize(("back", "cause"), [(True, KERNELS), (False, "weights_too_few_bits")])
def test_the_gate_asks_again_what_the_failed_rule_lost(answers, rule, back, cause):
    run = Apart(PROBE, GOLD, ScriptedEngine(answers), ScriptedEngine(GOLD if back else answers)).run()
    assert run.failing() == [rule]
    assert run.cause() == (
        cause,
        Check(
            ENGINE_BACK,
            "fault" if back else "ok",
            f"The same weights in the reference engine bring {12 if back else 0} of 12 lost answers back.",
        ),
    )
    asked = {s.key.question for s in run.side("back:engine")}
    assert len(asked) == ANSWERED_QUESTIONS
    assert asked <= set(lost_by(tuple(run.samples.values()), rule))


def test_runs_of_a_question_come_back_together():
    run = Apart(PROBE, GOLD, PromptEngine(unsteady), ScriptedEngine(GOLD)).run()
    assert run.failing() == ["lambda_rate"]
    assert len(run.side("back:engine_runs")) == LOST_RUNS * RUNS_EACH
    assert not run.side("back:engine")
    cause, rung = run.cause()
    assert (cause, rung.detail.split(" bring ")[1]) == (KERNELS, "4 of 4 lost answers back.")


def test_a_few_runs_of_a_stopped_pass_prove_nothing():
    run = Apart(PROBE, GOLD, PromptEngine(unsteady), ScriptedEngine(GOLD))
    whole = Apart(PROBE, GOLD, PromptEngine(unsteady), ScriptedEngine(GOLD)).run()
    limit = len(whole.samples) - 1
    run.run(lambda: len(run.samples) >= limit)
    assert run.side("back:engine_runs")
    found = run.evaluate(evidence_of(DIFFERENT)).diagnosis
    assert ENGINE_BACK not in {c.check for c in found.evidence}
    assert found.cause == "unknown"
    run.run()
    assert run.samples == whole.samples
    assert run.cause() == whole.cause()


def test_flips_are_asked_again_with_every_number_of_passages():
    run = Apart(SIXTY, GOLD_SWEPT, ScriptedEngine(FLIPPED), ScriptedEngine(GOLD_SWEPT)).run()
    assert run.failing() == ["lambda_over_k"]
    assert len(run.side("back:engine")) == LOST_SWEPT * (1 + len(K_SWEEP))
    cause, rung = run.cause()
    assert (cause, rung.detail.split(" bring ")[1]) == (KERNELS, "3 of 3 lost answers back.")


def test_the_short_way_asks_again_what_drifted():
    swept = {q: SHORT.get(q, a) for q, a in GOLD_SWEPT.items()}
    run = Apart(SIXTY, GOLD_SWEPT, ScriptedEngine(swept), ScriptedEngine(swept)).run()
    assert "coverage" in run.failing()
    cause, rung = run.cause()
    assert (cause, rung.result, len(run.side("back:engine"))) == ("weights_too_few_bits", "ok", 12)


def test_what_fp16_misses_too_is_not_lost_but_is_well_where_it_does_as_well():
    half = {q: SHORT[q] if n % 2 else a for n, (q, a) in enumerate(GOLD.items())}
    run = Apart(PROBE, half, ScriptedEngine(SHORT), ScriptedEngine(half)).run()
    samples = tuple(run.samples.values())
    lost, well = lost_by(samples, "coverage"), well_on(samples, "exl2", "coverage")
    assert set(well) == {s.key.question for s in run.side("exl2")}
    assert all((q in lost) != well[q] for q in well)
    assert len(lost) == 10


class Unsteady(ScriptedEngine):
    """Answers otherwise when it is asked again."""

    def __init__(self, first: Mapping[str, str], later: Mapping[str, str]) -> None:
        super().__init__(first, bias=1.0)
        self.info = replace(self.info, deterministic=False)
        self._first, self._later = first, later

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        for request in requests:
            seen = request.id.partition("/")[0] in self.asked
            self.answers = self._later if seen else self._first
            yield from super().generate([request], should_stop)


@pytest.mark.parametrize(
    ("probe", "gold", "wrong", "evaluation"),
    [
        (PROBE, GOLD, WRONG, acceptance_evaluation),
        (SIXTY, GOLD_SWEPT, {q: SHORT.get(q, a) for q, a in GOLD_SWEPT.items()}, sixty_evaluation),
    ],
)
def test_what_exl2_changes_against_itself_as_much_is_not_lost(probe, gold, wrong, evaluation):
    settings, twin = ProbeSettings(questions=8), ScriptedEngine(gold, bias=0.01)
    steady, unsteady = (
        Bench(probe, ScriptedEngine(gold), Unsteady(wrong, later), twin, settings).run()
        for later in (wrong, gold)
    )
    lost = [evaluation.lost(tuple(run.samples.values()), settings) for run in (steady, unsteady)]
    assert [bool(found.questions) for found in lost] == [True, False]
    causes = [run.evaluate(CHECKS).diagnosis.cause for run in (steady, unsteady)]
    assert causes == ["weights_too_few_bits", "unknown"]
