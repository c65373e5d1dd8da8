from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from tests.probes.fakes import ScriptedEngine
from tests.remedies.bench import GOLD, WORKLOAD, FailedRun
from wfgy_triage.engines.base import Capabilities, Completion, GenerationRequest
from wfgy_triage.remedies.base import NotApplicableError
from wfgy_triage.remedies.registry import get_remedy


class Locked(ScriptedEngine):
    """Answers well to a request that carries the schema of its record, and badly to any other."""

    def generate(self, requests: Sequence[GenerationRequest], should_stop=None) -> Iterator[Completion]:
        classes = {q.id: WORKLOAD.classes[q.record_class].schema for q in WORKLOAD.questions}
        for request in requests:
            question = request.id.partition("/")[0]
            held = request.grammar is not None and json.loads(request.grammar.text) == classes[question]
            yield from ScriptedEngine({question: GOLD[question] if held else "no"}).generate(
                [request], should_stop
            )


def test_every_question_is_held_to_its_own_schema():
    run = FailedRun()
    run.exl2 = Locked({})
    (trial,) = run.search(get_remedy("schema_lock"))
    assert trial.status == "verified"
    assert set(trial.facts.patch) == {"request.json_schema"}
    assert "its own form" in trial.facts.note
    assert trial.guards[0].id == "value_match_rate"
    assert trial.guards[0].after == 1.0


def test_an_engine_that_cannot_is_skipped_with_the_reason():
    run = FailedRun()
    run.exl2.capabilities = Capabilities(grammar=False)
    (trial,) = run.search(get_remedy("schema_lock"))
    assert trial.status == "skipped"
    assert "grammar" in trial.facts.reason


def test_a_probe_without_a_form_is_told():
    case = FailedRun().case()
    with pytest.raises(NotApplicableError, match="no fixed form"):
        get_remedy("schema_lock").candidates(replace(case, subject=replace(case.subject, facets={})))
