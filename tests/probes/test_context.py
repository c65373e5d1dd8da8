"""Questions that do not fit into the context of a side: refused at the start, or what the doctor has found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.probes.desk import Desk
from tests.probes.test_acceptance import CHECKS, GOLD, PROBE, WordEncoder, metric
from tests.probes.test_long_chain import ENGINE as CHAIN_CHECKS
from tests.probes.test_long_chain import GOLD as GOLD_CHAINS
from tests.probes.test_long_chain import Desk as Chains
from wfgy_triage.doctor.finding import failed
from wfgy_triage.errors import InputError
from wfgy_triage.probes.acceptance import Acceptance
from wfgy_triage.probes.acceptance_samples import K_SWEEP, sweep_side
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.result import Check, State

SHORT = failed("same_context", "FP16 100000 tokens, EXL2 fewer.")


def desk_with(context: int, side: str = "exl2", probe=PROBE, questions: int = 6) -> Desk:
    desk = Desk(probe, GOLD, GOLD, ProbeSettings(questions=questions))
    engine = getattr(desk, side)
    engine.info = replace(engine.info, max_context=context)
    return desk


def needed(desk: Desk) -> dict[str, int]:
    """Tokens of each greedy question with its answer, as they are asked."""
    from wfgy_triage.probes.acceptance import answer_item
    from wfgy_triage.workload.citations import load_citations

    workload = load_citations()
    items = [answer_item(workload, t, desk.fp16, 0) for t in workload.tasks[: desk.settings.questions]]
    return {i.question: len(i.prompt_ids) + i.max_new_tokens for i in items}


@pytest.mark.parametrize("side", ["fp16", "exl2"])
def test_a_question_that_a_side_cannot_take_is_refused_before_anything_is_asked(side: str):
    desk = desk_with(100_000)
    longest = max(needed(desk), key=needed(desk).get)
    desk = desk_with(needed(desk)[longest] - 1, side)
    with pytest.raises(InputError, match=longest) as refused:
        desk.run()
    assert ("EXL2" in refused.value.message) == (side == "exl2")
    assert desk.fp16.asked == desk.exl2.asked == []
    assert not desk.samples


def test_where_the_doctor_found_the_shorter_context_exl2_is_asked_what_fits_and_that_is_the_cause(
    monkeypatch,
):
    tokens = needed(desk_with(100_000))
    limit = sorted(tokens.values())[2]
    desk = desk_with(limit)
    context = desk.context
    monkeypatch.setattr(desk, "context", lambda *a, **k: replace(context(*a, **k), findings=(SHORT,)))
    desk.run()
    assert {s.key.question for s in desk.side("fp16")} == set(tokens)
    assert {s.key.question for s in desk.side("exl2")} == {q for q, n in tokens.items() if n <= limit}
    found = desk.evaluate(
        [*(c for c in CHECKS if c.check != "same_context"), Check("same_context", "fault", "")]
    )
    assert found.diagnosis.cause == "context_overflow"


def test_chains_that_exl2_cannot_take_are_not_asked_of_it_and_the_short_context_is_named(monkeypatch):
    desk = Chains(GOLD_CHAINS)
    items = desk.probe.subject(desk.context()).items
    needed = {i.question: len(i.prompt_ids) + i.max_new_tokens for i in items}
    limit = sorted(needed.values())[len(needed) // 2]
    fitting = {q for q, n in needed.items() if n <= limit}
    assert 0 < len(fitting) < len(needed)
    desk.exl2.info = replace(desk.exl2.info, max_context=limit)
    context = desk.context
    monkeypatch.setattr(desk, "context", lambda *a, **k: replace(context(*a, **k), findings=(SHORT,)))
    desk.run()
    assert {s.key.question for s in desk.side("exl2")} == fitting
    found = desk.evaluate([Check("same_context", "fault", ""), *CHAIN_CHECKS])
    assert metric(found, "chain_step_accuracy").n == len(fitting)
    assert (found.diagnosis.cause, found.diagnosis.confidence) == ("context_overflow", "high")
    assert found.state is not State.PASS


def test_a_number_of_passages_that_does_not_fit_is_left_out_and_the_rest_is_judged():
    tokens = needed(desk_with(100_000))
    desk = Desk(Acceptance(lambda: WordEncoder()), GOLD, GOLD, ProbeSettings(questions=6))
    for engine in (desk.fp16, desk.exl2):
        engine.info = replace(engine.info, max_context=max(tokens.values()))
    desk.run()
    assert [bool(desk.side(sweep_side("exl2", k))) for k in K_SWEEP][-1] is False
    found = desk.evaluate(CHECKS)
    assert metric(found, "accuracy").n == 6
    assert metric(found, "accuracy").state is not State.NOT_MEASURED


def test_a_comparison_ends_at_the_next_text_when_the_user_stops():
    desk = Desk(PROBE, GOLD, GOLD, ProbeSettings(questions=6))

    def stop() -> bool:
        return len(desk.side("pair")) >= 2

    whole = Desk(PROBE, GOLD, GOLD, ProbeSettings(questions=6)).run()
    desk.run(stop)
    assert len(desk.side("pair")) == 2 < len(whole.side("pair"))
    desk.run()
    assert {s.key: s.payload for s in desk.side("pair")} == {s.key: s.payload for s in whole.side("pair")}
