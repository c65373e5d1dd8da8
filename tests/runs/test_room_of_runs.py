"""What a run, the loaded models and the doctor make of whether a pair fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.runs.run_fakes import fake_tools, register_pair, spec
from wfgy_triage.engine_settings import EngineSettings
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.result import Result, State
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.doctor import run_doctor
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.runs.lane import lane_of
from wfgy_triage.runs.models import ModelCache, Room
from wfgy_triage.store.records import RunStatus


def run_with(settings, repo, opened, asked=None, **parts):
    tools = fake_tools(settings.home, opened, **parts)
    record = repo.create(asked or spec(2), worker_id="w.1")
    models = ModelCache(tools.open_engine)
    status = execute_run(record, Bench(repo, settings, tools, models, "w.1"))
    return status, repo.get(record.id), models


def test_a_run_says_it_before_the_models_are_loaded(settings, repo):
    asked, opened = [], []

    def say(pair, chosen, twin, loaded, *, times):
        asked.append((pair.id, chosen, twin, loaded, list(opened)))
        return Room("Both models stay loaded.")

    status, record, models = run_with(settings, repo, opened, state_room=say)
    assert status is RunStatus.DONE
    assert asked == [("tiny", EngineSettings(), True, False, [])]
    kinds = [(e.kind, e.payload.get("name") or e.payload.get("text")) for e in repo.events(record.id)]
    assert kinds.index(("note", "Both models stay loaded.")) < kinds.index(("stage", "fp16"))
    assert models.pair_id == "tiny"


def test_a_run_tells_whether_it_judges_the_time_saved(settings, repo):
    asked = []

    def say(*_, times):
        asked.append(times)
        return Room()

    for symptom in ("acceptance_gate", "json_breaks"):
        run_with(settings, repo, [], replace(spec(2), symptom=symptom), state_room=say)
    assert asked == [True, False]


def test_a_refused_run_loads_nothing_and_ends_with_the_cause_and_what_to_do(settings, repo):
    opened = []
    error = PrerequisiteError("It does not fit.", "Set `baseline_device: cpu`.", "gpu_memory")

    def refuse(*_, times):
        raise error

    status, record, _ = run_with(settings, repo, opened, state_room=refuse)
    assert (status, opened) == (RunStatus.DONE, [])
    result = Result.from_json(record.result)
    assert (result.state, result.diagnosis.cause) == (State.NOT_MEASURED, "gpu_memory")
    [row] = [row for row in result.charts["doctor"] if row["check"] == "models_load"]
    assert (row["state"], row["seen"], row["do"]) == ("FAIL", error.message, error.hint)


def test_models_that_are_still_loaded_ask_for_the_twin_alone(settings):
    pair, asked = register_pair(settings, "warm"), []
    models = ModelCache(fake_tools(settings.home).open_engine)

    def note(_settings, loaded):
        asked.append(loaded)
        return Room()

    models.acquire(pair, room=note)
    models.acquire(pair, room=note)
    models.floor()
    models.acquire(pair, room=note)
    assert asked == [False, True]


@pytest.mark.parametrize("room_then", [True, False])
def test_what_is_refused_beside_loaded_models_is_asked_again_without_them(settings, room_then):
    pair, asked, opened = register_pair(settings, "warm"), [], []
    models = ModelCache(fake_tools(settings.home, opened).open_engine)
    models.acquire(pair, room=lambda chosen, loaded: Room())
    before = list(opened)

    def refuse(chosen, loaded):
        asked.append((loaded, models.pair_id))
        if loaded or not room_then:
            raise PrerequisiteError("No room.", "Free some.", "main_memory")
        return Room()

    if room_then:
        models.acquire(pair, room=refuse)
        assert opened == before * 2
    else:
        with pytest.raises(PrerequisiteError, match="No room"):
            models.acquire(pair, room=refuse)
        assert opened == before
    assert asked == [(True, "warm"), (False, None)], "nothing holds memory when it is asked again"


def test_the_doctor_refuses_too_and_asks_for_no_twin(settings, monkeypatch):
    monkeypatch.setattr("wfgy_triage.runs.doctor.check_environment", lambda: ())
    asked = []

    def refuse(pair, chosen, twin, loaded):
        asked.append(twin)
        raise PrerequisiteError("It does not fit.", "Free some.", "main_memory")

    tools = fake_tools(settings.home, state_room=refuse)
    pair = register_pair(settings, "large")
    found = run_doctor(lane_of(settings, pair), pair, lambda step, share: None, lambda: tools)
    [load] = [f for f in found if f.check == "models_load"]
    assert (load.cause, load.seen, asked) == ("main_memory", "It does not fit.", [False])
