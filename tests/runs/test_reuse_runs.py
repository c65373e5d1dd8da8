"""Runs that use FP16 answers of earlier runs: what they record and say, and what never stops them."""

from __future__ import annotations

import dataclasses
import json

import pytest
import sqlalchemy as sa

from tests.probes.fakes import ScriptedEngine
from tests.runs.run_fakes import fake_description, fake_tools, register_pair, spec
from wfgy_triage.pairs import Pair
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.report.provenance import provenance_panel
from wfgy_triage.result import Result
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.runs.headless import run_headless
from wfgy_triage.runs.models import ModelCache
from wfgy_triage.runs.reuse import RunCache, open_cache
from wfgy_triage.store.answers import AnswerCache
from wfgy_triage.store.models import CachedAnswerRow
from wfgy_triage.store.records import RunSpec, RunStatus
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.workload.json_records import load_json_workload

WORKLOAD = load_json_workload()
GOLD = {q.id: WORKLOAD.gold_text(q) for q in WORKLOAD.questions}
QUESTIONS = 4
ALL = {"fp16": QUESTIONS, "fp16_floor": QUESTIONS, "pair_floor": QUESTIONS}


class Engines:
    """Opens scripted engines and remembers what they were asked."""

    def __init__(self, answers=GOLD, **info):
        self.answers, self.info = answers, info
        self.asked = {"fp16-reproducible": [], "exl2-reproducible": [], "fp16-fast": []}

    def __call__(self, folder, *, side, mode="reproducible", **_):
        engine = ScriptedEngine(
            self.answers, {"fp16": 0.0, "exl2": 1.0}[side] + (0.01 if mode == "fast" else 0.0)
        )
        engine.info = dataclasses.replace(engine.info, mode=mode, **self.info)
        engine.asked = self.asked[f"{side}-{mode}"]
        engine.close = lambda: None
        return engine

    @property
    def counts(self):
        return tuple(len(asked) for asked in self.asked.values())


def measure(settings, database, record=None, should_stop=lambda: False, engines=None, **changes):
    """One pass; returns the engines and the record."""
    engines = engines or Engines()
    tools = fake_tools(settings.home, get_probe=lambda s: PROBE, open_engine=engines, **changes)
    repo = RunRepository(database)
    record = record or repo.create(spec(QUESTIONS), worker_id="w.1")
    cache = open_cache(database, settings.cache_rows)
    bench = Bench(repo, settings, tools, ModelCache(engines), "w.1", should_stop, open_cache=cache)
    execute_run(record, bench)
    return engines, repo.get(record.id)


def comparable(record):
    left_out = ("run_id", "created_at", "timings", "reused")
    return json.dumps({k: v for k, v in record.result.items() if k not in left_out})


def samples(database, record):
    return {s.key: json.dumps(s.payload) for s in RunRepository(database).samples(record.id)}


def notes(database, record):
    events = RunRepository(database).events(record.id)
    return [e.payload["text"] for e in events if e.kind == "note"]


def test_the_second_run_asks_fp16_nothing_says_so_and_gives_the_same(settings, database):
    engines, first = measure(settings, database)
    assert engines.counts == (QUESTIONS,) * 3
    assert (first.result["reused"], notes(database, first)) == ({}, [])
    engines, second = measure(settings, database)
    assert engines.counts == (0, QUESTIONS, 0)
    assert (first.status, second.status) == (RunStatus.DONE, RunStatus.DONE)
    assert samples(database, second) == samples(database, first)
    assert comparable(second) == comparable(first)
    assert second.result["reused"] == ALL
    assert notes(database, second)[0] == (
        "4 of 4 FP16 answers were measured earlier with the same model, prompts and settings, and are used again."
    )
    assert len(notes(database, second)) == 3


def test_the_page_shows_what_was_measured_earlier(settings, database):
    _, first = measure(settings, database)
    assert "Measured earlier" not in provenance_panel(Result.from_json(first.result))
    _, second = measure(settings, database)
    result = Result.from_json(second.result)
    assert result.reused == ALL
    assert "Measured earlier, used again" in provenance_panel(result)


def test_results_stored_before_there_was_a_cache_are_still_read(settings, database):
    _, record = measure(settings, database)
    old = {k: v for k, v in record.result.items() if k != "reused"}
    assert Result.from_json(old).reused == {}


def test_another_fp16_model_is_asked_itself(settings, database):
    measure(settings, database)
    engines, record = measure(
        settings, database, describe_pair=lambda p: fake_description(p, weights="b" * 64)
    )
    assert engines.counts == (QUESTIONS,) * 3
    assert record.result["reused"] == {}


def test_a_model_without_a_fingerprint_is_never_mixed_up(settings, database):
    for _ in range(2):
        engines, _ = measure(settings, database, describe_pair=lambda p: fake_description(p, weights=None))
        assert engines.counts == (QUESTIONS,) * 3


def test_a_baseline_whose_answers_depend_on_the_batch_is_always_asked(settings, database):
    for _ in range(2):
        engines, _ = measure(settings, database, engines=Engines(deterministic=False))
        # EXL2 is not either here, so it is asked twice: what it changes against itself is its own noise.
        assert engines.counts == (QUESTIONS, 2 * QUESTIONS, QUESTIONS)


def test_a_run_in_two_passes_counts_what_both_took_from_the_cache(settings, database):
    measure(settings, database)
    repo = RunRepository(database)
    begun = repo.create(spec(QUESTIONS), worker_id="w.1")
    engines, record = measure(
        settings, database, begun, should_stop=lambda: len(repo.samples(begun.id)) > QUESTIONS
    )
    assert record.status == RunStatus.QUEUED
    assert engines.counts == (0, 1, 0)
    engines, record = measure(settings, database, repo.lease("w.1", 60))
    assert engines.counts == (0, QUESTIONS - 1, 0)
    assert record.result["reused"] == ALL


def test_no_more_rows_than_allowed_are_kept(settings, database):
    few = dataclasses.replace(settings, cache_rows=5)
    measure(few, database)
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(CachedAnswerRow)) == 5


@pytest.mark.parametrize("statement", ["DROP TABLE cached_answers", "UPDATE cached_answers SET body = '{'"])
def test_a_broken_cache_fails_no_run(settings, database, caplog, statement):
    _, first = measure(settings, database)
    with database.write() as session:
        session.execute(sa.text(statement))
    engines, second = measure(settings, database)
    assert second.status == RunStatus.DONE
    assert engines.counts == (QUESTIONS,) * 3
    assert comparable(second) == comparable(first)
    assert second.result["reused"] == {}
    assert "cache" in caplog.text


def test_a_cache_that_failed_is_not_tried_again_in_this_pass(database, monkeypatch, caplog):
    cache = RunCache(AnswerCache(database), 10)
    with database.write() as session:
        session.execute(sa.text("ALTER TABLE cached_answers RENAME TO away"))
    cache.put_many({"a" * 64: {"n": 1}})
    with database.write() as session:
        session.execute(sa.text("ALTER TABLE away RENAME TO cached_answers"))
    cache.put_many({"a" * 64: {"n": 1}})
    cache.prune()
    assert cache.get_many({"a" * 64}) == {}
    assert caplog.text.count("left out of this run") == 1
    again = RunCache(AnswerCache(database), 10)
    again.put_many({"a" * 64: {"n": float("nan")}})
    assert RunCache(AnswerCache(database), 10).get_many({"a" * 64}) == {}


def headless(settings, pair):
    engines = Engines()
    tools = fake_tools(settings.home, get_probe=lambda s: PROBE, open_engine=engines)
    run_spec = RunSpec("json_breaks", pair.id, questions=QUESTIONS)
    record = run_headless(
        settings, run_spec, pair=pair, make_tools=lambda: tools, symptoms=lambda: ("json_breaks",)
    )
    return engines.counts, record.result["reused"]


def test_headless_runs_share_answers_whatever_the_folders_are_called(settings):
    one = register_pair(settings, "one")
    two = register_pair(settings, "two")
    assert headless(settings, Pair("folders-1", "One", one.fp16, one.exl2)) == ((QUESTIONS,) * 3, {})
    assert headless(settings, Pair("folders-2", "Two", two.fp16, two.exl2)) == ((0, QUESTIONS, 0), ALL)


def test_without_a_cache_nothing_is_kept_and_nothing_used(settings, database):
    pair = register_pair(settings, "one")
    off = dataclasses.replace(settings, cache_rows=0)
    for chosen in (off, settings, off):
        assert headless(chosen, pair) == ((QUESTIONS,) * 3, {})
    assert headless(settings, pair) == ((0, QUESTIONS, 0), ALL)
