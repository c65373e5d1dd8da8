"""FP16 asked ahead: what runs need of it is there before them, and whatever waits comes first."""

from __future__ import annotations

import logging
from collections import defaultdict

import pytest

from tests.runs.run_fakes import SYMPTOM, fake_description, fake_tools
from tests.runs.test_reuse_runs import Engines, comparable, measure
from wfgy_triage.demo import SIBLINGS, exl2_folder, fp16_folder, register_demo
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import get_pair
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.registry import get_probe
from wfgy_triage.runs.ahead import Ahead, whole_demo
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.runs.lane import hold_device, lane_of
from wfgy_triage.runs.models import ModelCache
from wfgy_triage.runs.reuse import open_cache
from wfgy_triage.store.records import RunSpec, RunStatus
from wfgy_triage.store.runs import RunRepository

DEFAULT = ProbeSettings().questions


def ahead(settings, database, engines, waits=lambda: False, symptoms=("json_breaks",), **changes):
    tools = fake_tools(settings.home, get_probe=get_probe, open_engine=engines, **changes)
    models, cache = ModelCache(tools.open_engine), open_cache(database, settings.cache_rows)
    bench = Bench(RunRepository(database), settings, tools, models, "w.1", open_cache=cache)
    return Ahead(bench, waits, lambda s: get_pair(s, "tiny"), symptoms)


def run_of(settings, database):
    record = RunRepository(database).create(RunSpec(SYMPTOM, "tiny"), worker_id="w.1")
    return measure(settings, database, record)


def test_a_run_finds_what_was_asked_ahead_and_comes_out_the_same(settings, database):
    _, alone = run_of(settings, database)
    assert alone.result["reused"] == {}
    with database.write() as session:
        session.connection().exec_driver_sql("delete from cached_answers")
    engines = Engines()
    ahead(settings, database, engines).step()
    assert engines.counts == (DEFAULT, 0, DEFAULT)
    engines, record = run_of(settings, database)
    assert engines.counts == (0, DEFAULT, 0)
    assert record.status is RunStatus.DONE
    assert record.result["reused"] == {"fp16": DEFAULT, "fp16_floor": DEFAULT, "pair_floor": DEFAULT}
    assert comparable(record) == comparable(alone)


@pytest.mark.parametrize(("symptom", "lines"), [("json_breaks", 1), ("wrong_snippet", 0)])
def test_the_log_names_what_was_measured_and_nothing_else(settings, database, caplog, symptom, lines):
    caplog.set_level(logging.INFO, "wfgy_triage.runs.ahead")
    ahead(settings, database, Engines(), symptoms=(symptom,)).step()
    assert len(caplog.records) == lines
    assert all(symptom in record.getMessage() for record in caplog.records)


def test_no_run_is_recorded(settings, database):
    ahead(settings, database, Engines()).step()
    assert RunRepository(database).count() == 0


def test_what_was_asked_ahead_is_not_asked_by_the_next_process_and_loads_no_model(settings, database):
    ahead(settings, database, Engines()).step()
    opened = []

    def open_engine(*args, **kwargs):
        opened.append(args)
        return Engines()(*args, **kwargs)

    ahead(settings, database, open_engine).step()
    assert opened == []
    other = {"describe_pair": lambda p: fake_description(p, weights="b" * 64)}
    ahead(settings, database, open_engine, **other).step()
    assert len(opened) == 3


def test_whatever_waits_comes_first_and_what_was_finished_is_kept(settings, database, monkeypatch):
    monkeypatch.setattr("wfgy_triage.runs.ahead.ASK_EVERY_S", 0.0)
    engines = Engines()
    busy = ahead(settings, database, engines, waits=lambda: True)
    busy.step()
    assert engines.counts == (0, 0, 0)

    asked = engines.asked["fp16-reproducible"]
    stopped = ahead(settings, database, engines, waits=lambda: len(asked) > 0)
    stopped.step()
    first = len(asked)
    assert first > 0
    assert engines.asked["fp16-fast"] == []
    ahead(settings, database, engines).step()
    assert len(asked) == max(first, DEFAULT)
    assert len(engines.asked["fp16-fast"]) == DEFAULT


def test_what_was_broken_off_is_not_whole_when_nothing_waits_any_more(settings, database, monkeypatch):
    monkeypatch.setattr("wfgy_triage.runs.ahead.ASK_EVERY_S", 0.0)
    engines, said = Engines(), []
    asked = engines.asked["fp16-reproducible"]

    def waits():
        return bool(asked) and not said and said.append(1) is None

    ahead(settings, database, engines, waits=waits).step()
    assert said
    assert engines.asked["fp16-fast"] == []
    ahead(settings, database, engines).step()
    assert len(engines.asked["fp16-fast"]) == DEFAULT


@pytest.mark.parametrize("symptom", ["citations_missing", "long_chain", "acceptance_gate", "sixty_seconds"])
def test_a_run_of_any_symptom_that_asks_questions_then_asks_exl2_alone(settings, database, symptom):
    answers = defaultdict(lambda: "It opens at nine [S1].")
    engines = Engines(answers)
    ahead(settings, database, engines, symptoms=(symptom,)).step()
    fp16, exl2, twin = engines.counts
    assert (fp16 >= DEFAULT, exl2, twin > 0) == (True, 0, True)

    engines, repo = Engines(answers), RunRepository(database)
    tools = fake_tools(settings.home, get_probe=get_probe, open_engine=engines)
    cache = open_cache(database, settings.cache_rows)
    record = repo.create(RunSpec(symptom, "tiny"), worker_id="w.1")
    execute_run(record, Bench(repo, settings, tools, ModelCache(engines), "w.1", open_cache=cache))
    assert repo.get(record.id).status is RunStatus.DONE
    fp16_again, exl2, twin_again = engines.counts
    assert (fp16_again, exl2 >= fp16, twin_again) == (0, True, 0)


def test_a_search_is_left_to_its_run(settings, database):
    engines = Engines()
    ahead(settings, database, engines, symptoms=("wrong_snippet",)).step()
    assert engines.counts == (0, 0, 0)


def test_a_model_that_cannot_be_loaded_ends_it_quietly(settings, database, caplog):
    tries = []

    def open_engine(*_args, **_kwargs):
        tries.append(1)
        raise PrerequisiteError("The folder is gone.", "Put it back.")

    broken = ahead(settings, database, open_engine)
    broken.step()
    broken.step()
    assert len(tries) == 1
    assert "The folder is gone." in caplog.text


def test_the_demo_is_taken_once_all_of_it_is_there(settings):
    register_demo(settings)
    folders = [fp16_folder(settings), *(exl2_folder(settings, s) for s in SIBLINGS)]
    for folder in folders:
        assert whole_demo(settings) is None
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    assert whole_demo(settings).id == "demo"


def test_a_command_that_waits_for_the_device_is_seen(settings):
    lane, seen = lane_of(settings), []
    assert not lane.wanted()
    with lane.try_hold() as held:
        assert held

        def waits():
            raise InterruptedError  # instead of waiting for ever

        with pytest.raises(InterruptedError), hold_device(lane, waits):
            pass
        with lane.try_want() as mine:
            assert mine
            seen.append(lane.wanted())
    assert seen == [True]
    assert not lane.wanted()
