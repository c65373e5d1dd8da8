"""The noise of λ_observe: the twin is asked in other wordings and with other seeds as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.probes.desk import Bench
from tests.probes.fakes import ScriptedEngine
from tests.probes.test_acceptance import CHECKS, GOLD, PROBE, WRONG, desk_of, metric
from wfgy_triage.probes import acceptance
from wfgy_triage.probes.acceptance import COMPARED
from wfgy_triage.probes.acceptance_rules import Measured
from wfgy_triage.probes.acceptance_samples import SEEDS, Stored
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.result import State
from wfgy_triage.workload.citations import load_citations
from wfgy_triage.workload.upload_questions import WORDINGS


def test_the_twin_repeats_the_runs_of_the_first_questions():
    desk = desk_of(GOLD).run()
    asked = {(s.key.question, s.key.paraphrase, s.key.seed) for s in desk.side("fp16_floor_runs")}
    assert asked == {(q, w, s) for q in list(GOLD)[:COMPARED] for w in range(WORDINGS) for s in range(SEEDS)}
    assert metric(desk.evaluate(CHECKS), "lambda_rate").floor == 0.0


def test_the_floor_is_what_the_twin_differs_by_on_average():
    twin = GOLD | {next(iter(GOLD)): "..."}
    bench = Bench(
        PROBE, ScriptedEngine(GOLD), ScriptedEngine(GOLD, bias=1.0), ScriptedEngine(twin), ProbeSettings()
    ).run()
    # Of ten questions one says nothing every time: none of its runs converges.
    assert metric(bench.evaluate(CHECKS), "lambda_rate").floor == pytest.approx(1 / COMPARED)


def test_a_question_with_fewer_wordings_has_no_lambda():
    desk = desk_of(GOLD, questions=6).run()
    first = next(iter(GOLD))
    kept = [
        s
        for s in desk.samples.values()
        if not (s.key.side.endswith("_runs") and s.key.question == first and s.key.paraphrase == 2)
    ]
    stable = Measured.of(Stored.of(kept)).stable
    assert first not in stable.fp16
    assert len(stable.both) == 5
    found = metric(PROBE.evaluate(kept, CHECKS, desk.settings), "lambda_rate")
    assert found.n == 5
    assert "λ is about 5 of 6 questions" in found.note
    assert "λ is about" not in metric(desk.evaluate(CHECKS), "lambda_rate").note


def with_wordings(monkeypatch, most: Mapping[str, int]) -> None:
    """The built-in questions, some of them with so many wordings only."""

    def load(*given):
        found = load_citations(*given)
        tasks = [
            replace(
                t,
                question=replace(
                    t.question, paraphrases=t.question.paraphrases[: most.get(t.question.id, 3)]
                ),
            )
            for t in found.tasks
        ]
        return replace(found, tasks=tuple(tasks))

    monkeypatch.setattr(acceptance, "load_citations", load)


def test_a_question_that_cannot_have_a_lambda_is_not_asked_for_it(monkeypatch):
    first, second, *_ = GOLD
    with_wordings(monkeypatch, {first: 2, second: 1})
    desk = desk_of(WRONG, questions=6).run()
    for side in ("fp16_runs", "exl2_runs", "fp16_floor_runs"):
        assert {s.key.question for s in desk.side(side)} == set(list(GOLD)[2:6])
    assert {s.key.question for s in desk.side("exl2")} == set(list(GOLD)[:6])
    found = metric(desk.evaluate(CHECKS), "lambda_rate")
    assert found.n == 4
    assert "λ is about 4 of 6 questions" in found.note


def test_where_no_question_has_enough_wordings_the_rule_is_not_measured(monkeypatch):
    with_wordings(monkeypatch, dict.fromkeys(GOLD, 2))
    desk = desk_of(WRONG, questions=6).run()
    found = metric(desk.evaluate(CHECKS), "lambda_rate")
    assert (found.state, len(desk.side("exl2_runs"))) == (State.NOT_MEASURED, 0)
    assert "λ takes 3 wordings" in found.note


def test_runs_of_earlier_sessions_without_the_twins_are_read_as_before():
    desk = desk_of(WRONG, questions=6).run()
    old = [s for s in desk.samples.values() if s.key.side != "fp16_floor_runs"]
    found = PROBE.evaluate(old, CHECKS, replace(desk.settings))
    assert metric(found, "lambda_rate").floor is None
    assert metric(found, "lambda_rate").exl2 == metric(desk.evaluate(CHECKS), "lambda_rate").exl2


def test_wordings_beyond_those_of_lambda_which_older_sessions_have_are_passed_over():
    desk = desk_of(GOLD, questions=6).run()
    runs = [s for s in desk.samples.values() if s.key.side.endswith("_runs")]
    more = [replace(s, key=replace(s.key, paraphrase=WORDINGS)) for s in runs if s.key.paraphrase == 0]
    stable = Measured.of(Stored.of([*desk.samples.values(), *more])).stable
    assert len(stable.both) == 6
