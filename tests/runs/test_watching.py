"""Watching a run: what is shown is what the whole of it would show, at a cost that does not grow with it."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict
from random import Random
from threading import Barrier, Thread

import pytest
import sqlalchemy as sa

from tests.databases import database, database_kind, make_url, url  # noqa: F401 - both kinds of database
from tests.people import ADMIN
from wfgy_triage.access import NOBODY
from wfgy_triage.errors import AccessDenied, InputError
from wfgy_triage.remedies.told import TRIAL_SIDE, TrialFacts, facts_of
from wfgy_triage.report.answers import ANSWER_SIDES, collect_rows
from wfgy_triage.report.tally import Tally
from wfgy_triage.runs import watching
from wfgy_triage.runs.service import TriageService
from wfgy_triage.runs.watching import NEWEST, Watching
from wfgy_triage.store.guarded import GuardedRuns
from wfgy_triage.store.imports import add_imported
from wfgy_triage.store.models import EventRow, RunRow, SampleRow
from wfgy_triage.store.records import RunSpec, RunStatus, Sample, SampleKey
from wfgy_triage.store.rows import now
from wfgy_triage.ui.live import stage_name, status_card, trials_so_far

SPEC = RunSpec("json_breaks", "tiny")
SILENT_S = 15.0


@pytest.fixture
def watch(database):  # noqa: F811
    return Watching(database, SILENT_S)


@pytest.fixture
def run_id(repo):
    return repo.create(SPEC, worker_id="w.1").id


def answer(number, side="fp16", valid=True, **more):
    payload = {"text": f"{side} says {number}", "valid": valid, "tokens": 3, **more}
    return Sample(SampleKey("json_breaks", f"q{number}", 0, 0, side), payload)


def trial(order, status="tried"):
    facts = TrialFacts(order, f"c{order}", "schema_lock", f"Change {order}", {}, status)
    return Sample(SampleKey("json_breaks", facts.id, 0, 0, TRIAL_SIDE), asdict(facts))


def stage(name, done):
    return {"name": name, "label": name.upper(), "done": done, "total": 99}


def fill(database, repo, run_id, stored):  # noqa: F811
    """As much as `stored` answers and lines of the log, and twice as many measurements that are not shown."""
    sides = (*ANSWER_SIDES, "pair", "fp16_floor", "try:c1", "pair_floor")
    per_side = stored // 2
    repo.add_samples(run_id, [answer(n, side) for side in sides for n in range(per_side)])
    with database.write() as session:
        last = session.scalar(sa.select(sa.func.max(EventRow.seq)).where(EventRow.run_id == run_id))
        session.add_all(
            EventRow(run_id=run_id, seq=last + n, at=now(), kind="stage", payload=stage("fp16", n))
            for n in range(1, stored + 1)
        )


@contextmanager
def counting(database):  # noqa: F811
    """Counts the statements and, by table, the rows that are read meanwhile."""
    counts = Counter()

    def statement(*_):
        counts["statements"] += 1

    def row(target, _):
        counts[type(target).__tablename__] += 1

    tables = (RunRow, EventRow, SampleRow)
    sa.event.listen(database.engine, "before_cursor_execute", statement)
    for table in tables:
        sa.event.listen(table, "load", row)
    try:
        yield counts
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", statement)
        for table in tables:
            sa.event.remove(table, "load", row)


def test_a_look_costs_the_same_whatever_is_stored(database, repo):  # noqa: F811
    told = []
    for stored in (10, 2000):
        watch, run_id = Watching(database, SILENT_S), repo.create(SPEC, worker_id="w.1").id
        fill(database, repo, run_id, stored)
        watch.look(run_id)
        with counting(database) as unchanged:
            watch.look(run_id)
        repo.add_samples(run_id, [answer(stored), answer(stored, "pair")])
        repo.add_event(run_id, "stage", stage("exl2", 1))
        with counting(database) as changed:
            watch.look(run_id)
        told.append((unchanged, changed))
    assert told[0] == told[1]
    unchanged, changed = told[0]
    assert (unchanged["runs"], unchanged["events"], unchanged["samples"]) == (1, 0, 0)
    # The new answer; and the newest questions, all but the new one with both sides.
    assert (changed["runs"], changed["events"], changed["samples"]) == (1, 1, 1 + 1 + 2 * (NEWEST - 1))


def test_the_first_look_reads_no_measurement_that_is_not_shown(database, repo, watch, run_id):  # noqa: F811
    repo.add_samples(run_id, [answer(n, side) for side in ("fp16", "exl2_back", "pair") for n in range(300)])
    repo.add_samples(run_id, [answer(0, "exl2")])
    with counting(database) as counts:
        watch.look(run_id)
    # Of the newest questions one has both answers.
    assert counts["samples"] == 301 + NEWEST + 1


def test_many_watchers_cost_one_reading(database, repo, watch, run_id):  # noqa: F811
    fill(database, repo, run_id, 40)
    watchers, seen = 10, []
    together = Barrier(watchers)

    def look():
        together.wait()
        seen.append(watch.look(run_id))

    with counting(database) as counts:
        threads = [Thread(target=look) for _ in range(watchers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(seen) == watchers
    assert all(found == seen[0] for found in seen)
    assert (counts["runs"], counts["events"], counts["samples"]) == (watchers, 40, 40 + 2 * NEWEST)


def whole_tally(rows, side):
    """What the page said when it read everything."""
    there = [a for a in (getattr(row, side) for row in rows) if a is not None]
    judged = [a for a in there if a.valid is not None and not a.truncated]
    word = next((a.mark.lower() for a in judged if a.valid and a.mark), "valid")
    return Tally(len(there), len(judged), sum(bool(a.valid) for a in judged), word)


def assert_as_if_all_were_read(repo, run_id, found):
    samples, events, measured = repo.samples(run_id), repo.events(run_id), found.measured
    rows = collect_rows(samples, {})
    newest = sorted(rows, key=lambda row: row.latest, reverse=True)[:NEWEST]
    shown = sorted(collect_rows(measured.newest, {}), key=lambda row: row.latest, reverse=True)
    assert [(r.key, r.question, r.fp16, r.exl2) for r in shown] == [
        (r.key, r.question, r.fp16, r.exl2) for r in newest
    ]
    assert measured.tallies == {side: whole_tally(rows, side) for side in ANSWER_SIDES}
    record = repo.get(run_id)
    assert found.record == record
    assert status_card(record, measured.log, 0, True) == status_card(record, events, 0, True)
    assert stage_name(measured.log) == stage_name(events)
    trials = facts_of(samples)
    assert trials_so_far(measured.trials, measured.log) == trials_so_far(trials, events)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_shown_is_what_the_whole_run_would_show(repo, watch, run_id, seed):
    draw = Random(seed)
    left = [(n, side) for n in range(25) for side in (*ANSWER_SIDES, "pair")]
    draw.shuffle(left)
    trials = 0
    for _ in range(12):
        for _ in range(draw.randrange(8)):
            what = draw.random()
            if what < 0.6 and left:
                judged = {"valid": draw.choice([True, False, None]), "truncated": draw.random() < 0.2}
                number, side = left.pop()
                repo.add_samples(
                    run_id, [answer(number, side, mark=draw.choice(["", "Found", "Right"]), **judged)]
                )
            elif what < 0.7:
                repo.add_samples(run_id, [trial(trials, draw.choice(["tried", "skipped"]))])
                trials += 1
            elif what < 0.8:
                repo.add_event(run_id, "note", {"text": draw.choice(["", f"note {draw.random()}"])})
            else:
                repo.add_event(
                    run_id, "stage", stage(draw.choice(["fp16", "exl2", "trials"]), draw.randrange(99))
                )
        assert_as_if_all_were_read(repo, run_id, watch.look(run_id))


def test_a_reading_that_broke_off_counts_nothing_twice(repo, watch, run_id, monkeypatch):
    repo.add_samples(run_id, [answer(n) for n in range(3)])
    with monkeypatch.context() as patch:
        patch.setattr(watching, "samples_numbered", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            watch.look(run_id)
    assert watch.look(run_id).measured.tallies["fp16"] == Tally(3, 3, 3)


def test_a_deleted_run_is_gone_and_another_under_its_id_is_another(database, repo, watch, run_id):  # noqa: F811
    repo.add_samples(run_id, [answer(n) for n in range(9)])
    repo.finish(run_id, "w.1", RunStatus.DONE, {"state": "PASS"})
    record = watch.look(run_id).record
    GuardedRuns(database, ADMIN).delete(run_id)
    kept = [answer(n, "exl2", valid=False) for n in range(2)]
    assert add_imported(database, record, {"state": "FAIL"}, kept, "content", "Imported.").id == run_id
    again = watch.look(run_id).measured
    assert again.tallies["exl2"] == Tally(2, 2, 0)
    assert again.tallies["fp16"] == Tally()
    GuardedRuns(database, ADMIN).delete(run_id)
    with pytest.raises(InputError, match="no session"):
        watch.look(run_id)


def test_what_nobody_looks_at_is_forgotten_and_read_again(database, repo, watch, run_id, monkeypatch):  # noqa: F811
    fill(database, repo, run_id, 20)
    first, other = watch.look(run_id), repo.create(SPEC).id
    clock = [0.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: clock[0])
    for pause, read in ((watching.KEPT_S / 2, False), (2 * watching.KEPT_S, True)):
        watch.look(run_id)
        clock[0] += pause
        watch.look(other)
        with counting(database) as counts:
            assert watch.look(run_id) == first
        assert bool(counts["samples"]) is read


def test_no_more_runs_are_kept_than_may_be(database, repo, watch, monkeypatch):  # noqa: F811
    monkeypatch.setattr(watching, "MOST", 2)
    runs = [repo.create(SPEC).id for _ in range(3)]
    for run_id in runs:
        repo.add_samples(run_id, [answer(0)])
        watch.look(run_id)
    with counting(database) as kept:
        watch.look(runs[2])
        watch.look(runs[1])
    assert kept["samples"] == 0
    with counting(database) as dropped:
        watch.look(runs[0])
    assert dropped["samples"] > 0


def test_who_may_not_read_sees_nothing(settings):
    service = TriageService(settings, symptoms=lambda: (SPEC.symptom,))
    run_id = service.start(SPEC)
    assert service.look(run_id).open
    with pytest.raises(AccessDenied):
        service.acting(NOBODY).look(run_id)
    service.close()
