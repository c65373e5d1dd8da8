"""Rung 7 with two engines: the same EXL2 weights in the reference engine tell the engine from the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from torch import OutOfMemoryError

from tests.probes.desk import Desk
from tests.probes.fakes import ScriptedEngine
from tests.probes.foreign import DIFFERENT
from wfgy_triage.diagnosis import ENGINE_BACK, KERNELS, ONLY_WEIGHTS, WHOLE_CACHE, diagnose
from wfgy_triage.doctor.finding import Finding, evidence_of, passed
from wfgy_triage.engines.base import Capabilities, Engine
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.evidence import Evidence
from wfgy_triage.localized import AnswersBack, Damage
from wfgy_triage.probes.base import ProbeContext
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.probes.lost import ANSWERED_QUESTIONS
from wfgy_triage.probes.reference_engine import NO_ROOM, NO_ROOM_HINT
from wfgy_triage.report.words import check_words
from wfgy_triage.result import Check, Diagnosis, State
from wfgy_triage.workload.json_records import load_json_workload

WORKLOAD = load_json_workload()
GOLD = {q.id: WORKLOAD.gold_text(q) for q in WORKLOAD.questions}
BROKEN = {k: v.replace("}", "", 1) for k, v in GOLD.items()}
BACK = "back:engine"


class Decoded(ScriptedEngine):
    """The EXL2 weights in the reference engine."""

    def __init__(self, answers: Mapping[str, str], fails: Exception | None = None) -> None:
        super().__init__(answers)
        self.closed, self._fails = False, fails

    def generate(self, requests, should_stop=None):
        for number, completion in enumerate(super().generate(requests, should_stop)):
            if self._fails is not None and number == 3:
                raise self._fails
            yield completion

    def close(self) -> None:
        self.closed = True


class Run(Desk):
    """EXL2 loses every answer in its own engine."""

    def __init__(self, answers: Mapping[str, str] = GOLD, fails: Exception | None = None) -> None:
        super().__init__(PROBE, GOLD, BROKEN)
        self.findings: tuple[Finding, ...] = DIFFERENT
        self.answers, self.fails = answers, fails
        self.opened: list[Decoded] = []

    def open_decoded(self) -> Engine:
        self.opened.append(Decoded(self.answers, self.fails))
        return self.opened[-1]

    def context(self, *how, **more) -> ProbeContext:
        found = super().context(*how, **more)
        return replace(found, findings=self.findings, open_decoded=self.open_decoded)

    def diagnosis(self) -> Diagnosis:
        return self.evaluate(evidence_of(self.findings)).diagnosis


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are not about the memory of the machine that they run on."""
    monkeypatch.setattr("wfgy_triage.probes.reference_engine.free_bytes", lambda device: 1 << 40)


def rung(found: Diagnosis) -> Check:
    (check,) = [c for c in found.evidence if c.check == ENGINE_BACK]
    return check


def test_answers_that_come_back_in_the_reference_engine_are_the_engines_fault():
    run = Run(GOLD).run()
    found = run.diagnosis()
    assert (found.cause, found.confidence) == (KERNELS, "high")
    assert rung(found) == Check(
        ENGINE_BACK, "fault", "The same weights in the reference engine bring 12 of 12 lost answers back."
    )
    assert check_words(ENGINE_BACK).endswith("in the reference engine")
    assert len(run.side(BACK)) == ANSWERED_QUESTIONS < len(run.side("exl2"))
    assert [e.closed for e in run.opened] == [True]
    assert run.stages[-1] == ("parts", 1, 1)


def test_answers_that_stay_lost_there_are_the_weights_fault():
    run = Run(BROKEN).run()
    found = run.diagnosis()
    assert found.cause == "weights_too_few_bits"
    assert rung(found).result == "ok"
    assert KERNELS in found.ruled_out
    assert [e.closed for e in run.opened] == [True]


@pytest.mark.parametrize("answers", [GOLD, BROKEN])
def test_a_run_in_pieces_ends_as_one_that_was_not_stopped(answers):
    whole, run = Run(answers).run(), Run(answers)
    while len(run.samples) < len(whole.samples):
        limit = len(run.samples) + 5
        run.run(lambda limit=limit: len(run.samples) >= limit)
    assert run.samples == whole.samples
    assert run.diagnosis() == whole.diagnosis()
    assert all(e.closed for e in run.opened)


def test_what_has_explained_the_loss_is_not_loaded_again():
    run = Run(GOLD).run()
    assert len(run.run().opened) == 1


def refused(run: Run) -> None:
    def cannot() -> Engine:
        run.opened.append(Decoded({}))
        raise PrerequisiteError("This format is not read.", "Quantize it again.")

    run.open_decoded = cannot  # type: ignore[method-assign]


def full(run: Run) -> None:
    run.fails = OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [(refused, "This format is not read. Quantize it again."), (full, f"{NO_ROOM} {NO_ROOM_HINT}")],
)
def test_an_engine_that_cannot_be_asked_is_said_and_blames_nothing(
    breaks: Callable[[Run], None], reason: str
):
    run = Run(GOLD)
    breaks(run)
    found = run.run().diagnosis()
    assert (found.cause, rung(found).result) == ("unknown", "unknown")
    assert rung(found).detail.endswith(f"in the reference engine: {reason}")
    assert KERNELS not in found.ruled_out
    assert len(run.run().opened) == 1, "what cannot be asked is tried once a run"
    assert run.diagnosis() == found


def test_main_memory_is_looked_at_before_anything_is_loaded_into_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wfgy_triage.probes.reference_engine.free_bytes", lambda device: 1 << 20)
    run = Run(GOLD).run()
    assert run.opened == []
    assert NO_ROOM in rung(run.diagnosis()).detail


def test_an_error_that_is_not_of_memory_ends_the_run():
    with pytest.raises(RuntimeError, match="shapes"):
        Run(GOLD, RuntimeError("shapes do not fit")).run()


def test_one_engine_on_both_sides_or_a_server_leaves_nothing_to_tell_apart():
    same, served = Run(GOLD), Run(GOLD)
    same.findings = (passed(ONLY_WEIGHTS, "One engine."),)
    served.exl2.capabilities = Capabilities(served=True)
    for run in (same, served):
        run.run()
        assert run.opened == []
        assert not run.side(BACK)
    assert same.diagnosis().cause == "weights_too_few_bits"


def test_nothing_lost_is_nothing_to_ask():
    run = Run(GOLD)
    run.exl2 = ScriptedEngine(GOLD, bias=1.0)
    assert run.run().opened == []


LOST = Evidence(State.FAIL, State.PASS, True, True, True, True, True, "", 0.5, 0.001)
APART = (Check(ONLY_WEIGHTS, "unknown", ""),)
COARSE = (*APART, Check(WHOLE_CACHE, "unknown", ""))


@pytest.mark.parametrize(("restored", "cause"), [(4, KERNELS), (3, "weights_too_few_bits")])
def test_half_of_the_lost_answers_decide(restored, cause):
    found = diagnose(LOST, APART, Damage(0.0, 0, (), engine=AnswersBack(restored, 8)))
    assert (found.cause, rung(found).result) == (cause, "fault" if cause == KERNELS else "ok")


def test_a_cache_that_was_not_exchanged_stays_a_suspect_beside_the_weights():
    stayed = AnswersBack(1, 8)
    assert diagnose(LOST, COARSE, Damage(0.0, 0, (), engine=stayed)).cause == "unknown"
    cleared = diagnose(LOST, COARSE, Damage(0.0, 0, (), AnswersBack(1, 8), stayed))
    assert cleared.cause == "weights_too_few_bits"
    assert {KERNELS, "kv_cache_bits"} <= set(cleared.ruled_out)
