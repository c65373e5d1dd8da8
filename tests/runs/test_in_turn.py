"""Runs whose models take turns: never two loaded, the same numbers as side by side, and it is said."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from tests.probes.desk import Desk
from tests.probes.fakes import ScriptedEngine
from tests.runs.run_fakes import fake_tools, register_pair, spec
from tests.runs.test_execute import after
from tests.runs.test_parts import Opener
from wfgy_triage.engine_settings import engine_settings
from wfgy_triage.engines.caches import EXACT
from wfgy_triage.engines.footprint import Need
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.probes import localize
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.report.provenance import provenance_panel
from wfgy_triage.result import Result
from wfgy_triage.runs import room as room_module
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.execute import IN_TURN, execute_run
from wfgy_triage.runs.models import SPOOL, ModelCache, Room
from wfgy_triage.store.records import RunStatus, Sample
from wfgy_triage.workload.json_records import load_json_workload

WORKLOAD = load_json_workload()
GOLD = {q.id: WORKLOAD.gold_text(q) for q in WORKLOAD.questions}
BROKEN = {k: v.replace("}", "", 1) if n % 2 else v for n, (k, v) in enumerate(GOLD.items())}
FIXED = {**BROKEN, **dict(list(GOLD.items())[:12])}


class Cached(ScriptedEngine):
    """A scripted engine whose cache can be exchanged."""

    opener: Counting

    def with_cache(self, cache):
        return self.opener.made("exl2", "reproducible", cache, self)


class Counting:
    """Opens scripted engines and counts those that are loaded; `alone`: two at a time are an error."""

    def __init__(self, alone: bool, cache=EXACT, broken=BROKEN):
        self.alone, self.cache, self.broken = alone, cache, broken
        self.loaded, self.opened = [], []

    def __call__(self, folder, *, side, mode="reproducible", share_with=None, settings):
        assert share_with is None or not self.alone
        cache = settings.cache if side == "exl2" else EXACT
        return self.made(side, mode, cache)

    def made(self, side, mode, cache, base=None):
        assert not (self.alone and self.loaded), f"{self.loaded} and {side}"
        exact = side == "fp16" or cache == EXACT
        answers = GOLD if side == "fp16" else FIXED if exact else self.broken
        bias = (1.0 if side == "exl2" else 0.0) + (0.01 if mode == "fast" else 0.0)
        engine = Cached(answers, bias)
        engine.opener, engine.info = self, replace(engine.info, cache=cache, mode=mode)
        name = f"{side}-{mode}-{cache}"
        self.loaded.append(name)
        self.opened.append(name)

        def close():
            if name in self.loaded:
                self.loaded.remove(name)

        engine.close = close
        return engine


@pytest.fixture
def pair(settings):
    return replace(register_pair(settings, "turns"), engine={"cache": "Q4"})


def measured(settings, repo, pair, loading, asked=None, opener=None, should_stop=lambda: False, **tools):
    opener = opener or Counting(alone=loading == "in_turn")
    pair = replace(pair, engine={**pair.engine, "loading": loading})
    parts = fake_tools(settings.home, get_probe=lambda s: PROBE, open_engine=opener, **tools)
    record = repo.create(asked or spec(20, fix="no"), worker_id="w.1")
    models = ModelCache(opener, settings.home / SPOOL)
    status = execute_run(record, Bench(repo, settings, parts, models, "w.1", should_stop), pair)
    return status, repo.get(record.id), opener, models


def comparable(record):
    left_out = ("run_id", "created_at", "timings")
    found = {k: v for k, v in record.result.items() if k not in left_out}
    found["pair"] = {k: v for k, v in found["pair"].items() if k != "loading"}
    return found


def samples(repo, record):
    return {s.key: json.dumps(s.payload, sort_keys=True) for s in repo.samples(record.id)}


def test_a_whole_run_in_turn_is_the_run_side_by_side(settings, repo, pair):
    status, in_turn, opener, _ = measured(settings, repo, pair, "in_turn")
    assert status is RunStatus.DONE, in_turn.error_message
    _, together, beside, _ = measured(settings, repo, pair, "together")
    assert "back:cache" in {s.key.side for s in repo.samples(in_turn.id)}, "the cache was exchanged as well"
    assert samples(repo, in_turn) == samples(repo, together)
    assert json.dumps(comparable(in_turn)) == json.dumps(comparable(together))
    assert len(beside.opened) < len(opener.opened)
    assert opener.opened[:8] == [
        "fp16-reproducible-FP16",  # both once, to be known
        "exl2-reproducible-Q4",
        "fp16-reproducible-FP16",  # its answers, and then those of the others
        "exl2-reproducible-Q4",
        "fp16-fast-FP16",
        "fp16-reproducible-FP16",  # reads its answers, and then the others
        "fp16-fast-FP16",
        "exl2-reproducible-Q4",
    ]
    assert list((settings.home / SPOOL).iterdir()) == []


def test_changes_are_tried_one_model_at_a_time(settings, repo, pair):
    status, record, opener, models = measured(settings, repo, pair, "in_turn", asked=spec(20))
    assert status is RunStatus.DONE, record.error_message
    assert record.result["diagnosis"]["cause"] == "kv_cache_bits"
    assert "try:cache_bits FP16" in {s.key.side for s in repo.samples(record.id)}
    models.close()
    assert opener.loaded == []


def test_where_the_numbers_come_from_says_so_and_the_page_does_before(settings, repo, pair):
    told = Room("One is loaded at a time.", in_turn=True)
    _, record, _, _ = measured(settings, repo, pair, "in_turn", state_room=lambda *_, times: told)
    notes = [e.payload["text"] for e in repo.events(record.id) if e.kind == "note"]
    assert told.text in notes
    result = Result.from_json(record.result)
    assert result.pair["loading"] == IN_TURN
    assert IN_TURN in provenance_panel(result)
    _, record, _, _ = measured(settings, repo, pair, "together")
    assert "loading" not in record.result["pair"]


def test_little_memory_makes_a_pair_take_turns_by_itself(settings, repo, pair):
    opener = Counting(alone=True)
    room = Room("They take turns.", in_turn=True)
    status, record, _, _ = measured(
        settings, repo, pair, "auto", opener=opener, state_room=lambda *_, times: room
    )
    assert status is RunStatus.DONE, record.error_message


def test_a_gpu_without_room_for_fp16_a_second_time_has_its_noise_floor_measured_in_turn(
    settings, repo, pair, monkeypatch
):
    sizes = [("FP16", 28, False), ("EXL2", 5, False), ("FP16 for the noise", 14, True)]
    needs = tuple(Need(name, ("cuda:0",), gb * 10**9, spare) for name, gb, spare in sizes)
    monkeypatch.setattr(room_module, "needs_of", lambda *_: needs)
    monkeypatch.setattr(room_module, "is_there", lambda device: True)
    look = partial(room_module.state_room, free=lambda device: 40 * 10**9, patience_s=0)
    opener = Counting(alone=True)
    status, record, _, _ = measured(settings, repo, pair, "auto", opener=opener, state_room=look)
    assert status is RunStatus.DONE, record.error_message
    assert {s.key.side for s in repo.samples(record.id)} >= {"fp16_floor", "pair_floor"}
    notes = [e.payload["text"] for e in repo.events(record.id) if e.kind == "note"]
    assert notes[0].startswith("There is no room for FP16 a second time, which the noise floor takes")
    assert Result.from_json(record.result).pair["loading"] == IN_TURN


def test_a_pair_on_servers_takes_no_turns_whatever_it_asks_for(settings, pair):
    opener = Counting(alone=False)
    server = {"url": "http://localhost:1/v1"}
    engine = {"server": server, "baseline_server": server, "loading": "in_turn"}
    loaded = ModelCache(opener, settings.home).acquire(replace(pair, engine=engine))
    assert not loaded.in_turn
    one = ModelCache(opener, settings.home).acquire(
        replace(pair, engine={"server": server, "loading": "in_turn"})
    )
    assert one.in_turn, "FP16 and its twin still do"


def test_a_stopped_run_goes_on_with_what_is_missing(settings, repo, pair):
    _, whole, _, _ = measured(settings, repo, pair, "in_turn")
    asked = 0

    def stop():
        nonlocal asked
        asked += 1
        return asked > 70

    status, record, opener, models = measured(settings, repo, pair, "in_turn", should_stop=stop)
    assert status is RunStatus.QUEUED
    before = samples(repo, record)
    assert 0 < len(before) < len(samples(repo, whole))
    again = replace(pair, engine={**pair.engine, "loading": "in_turn"})
    tools = fake_tools(settings.home, get_probe=lambda s: PROBE, open_engine=opener)
    execute_run(repo.lease("w.2", 60), Bench(repo, settings, tools, models, "w.2"), again)
    assert samples(repo, repo.get(record.id)) == samples(repo, whole)
    assert comparable(repo.get(record.id)) == comparable(whole)


def test_a_disk_without_room_ends_the_run_in_words_and_keeps_the_answers(settings, repo, pair, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("wfgy_triage.engines.spool.shutil.disk_usage", lambda folder: usage)
    status, record, _, models = measured(settings, repo, pair, "in_turn")
    assert status is RunStatus.FAILED
    assert record.error_message.startswith("The disk has no room for what one model computed")
    assert "resume this session" in record.error_hint
    assert {s.key.side for s in repo.samples(record.id)} == {"fp16", "exl2", "fp16_floor"}
    models.close()


def test_a_model_that_does_not_load_any_more_ends_the_run_and_gives_memory_back(settings, repo, pair):
    opener = Counting(alone=True)
    made = opener.made

    def failing(*how):
        if len(opener.opened) == 5:
            raise PrerequisiteError("The GPU memory does not suffice.", "Free some.", "gpu_memory")
        return made(*how)

    opener.made = failing
    status, record, _, models = measured(settings, repo, pair, "in_turn", opener=opener)
    assert (status, record.error_message) == (RunStatus.FAILED, "The GPU memory does not suffice.")
    assert opener.loaded == []
    models.close()


def test_models_that_take_turns_are_kept_for_the_next_run_without_memory(settings, pair):
    opener = Counting(alone=True)
    models = ModelCache(opener, settings.home)
    pair = replace(pair, engine={"loading": "in_turn"})
    asked = []

    def room(chosen, loaded):
        asked.append((loaded, list(opener.loaded)))
        return Room(in_turn=True)

    loaded = models.acquire(pair, room=room)
    models.floor()
    assert models.acquire(pair, room=room) is loaded
    assert asked == [(False, []), (False, [])], "what is free is asked when nothing is loaded"
    opener.alone = False
    looks = []
    models.acquire(pair, room=lambda chosen, there: looks.append(there) or Room())
    assert len(opener.loaded) == 2, "there is room for both by now"
    assert looks == [False], "what is said of it is said once"
    models.close()
    assert opener.loaded == []


def test_a_pair_side_by_side_makes_way_where_the_twin_has_no_room(settings, pair):
    opener = Counting(alone=False)
    models = ModelCache(opener, settings.home)
    models.acquire(pair, room=lambda chosen, loaded: Room())
    said = []

    def room(chosen, loaded):
        said.append(loaded)
        return Room(in_turn=True)

    assert models.acquire(pair, room=room).in_turn
    assert said == [True, False]
    assert len(opener.loaded) == 1


def test_further_engines_take_turns_with_the_pair_and_alone(settings, pair):
    opener = Counting(alone=True)
    models = ModelCache(opener, settings.home)
    models.opener(in_turn=True)(
        pair.exl2, side="exl2", settings=engine_settings(pair.engine, pair.id)
    ).close()
    assert opener.loaded == []
    loaded = models.acquire(replace(pair, engine={"loading": "in_turn"}))
    decoded = models.decoded()
    assert len(opener.loaded) == 1
    models.opener()(
        pair.exl2, side="exl2", share_with=loaded.fp16, settings=engine_settings(pair.engine, pair.id)
    )
    decoded.close()
    assert len(opener.loaded) == 1
    models.close()
    assert opener.loaded == []


def test_a_resume_behind_the_first_trial_asks_no_room_for_the_twin(settings, repo, pair):
    asked = []

    def room(pair, chosen, twin, loaded, *, times):
        asked.append(twin)
        return Room()

    record = repo.create(spec(2), worker_id="w.1")
    tools = fake_tools(settings.home, state_room=room)
    for expected in ("twin", "none"):
        models = ModelCache(Opener())
        if expected == "none":
            key = replace(repo.samples(record.id)[0].key, side="try:x")
            repo.add_samples(record.id, [Sample(key, {})], "w.1")
        execute_run(record, Bench(repo, settings, tools, models, "w.1", after(3)), pair)
        record = repo.lease("w.1", 60)
    assert asked == [True, False]


def test_the_ladder_says_why_no_weights_were_put_back(monkeypatch):
    monkeypatch.setattr(localize, "kept_apart", lambda exl2, fp16: True)
    desk = Desk(PROBE, GOLD, BROKEN).run().run()
    [said] = desk.side("left_out:parts")
    [rung] = [c for c in desk.evaluate().diagnosis.evidence if c.check == "all_weights_back"]
    assert rung.result == "unknown"
    assert rung.detail.endswith(said.payload["reason"])
    assert "take turns" in said.payload["reason"]
