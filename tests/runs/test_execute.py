"""One pass over a run: what is stored, how it ends, and that a resumed run equals an uninterrupted one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.runs.run_fakes import SIDES, bench_of, fake_description, fake_tools, run_once, spec
from wfgy_triage.catalog import validate_result
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.result import Result, State
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.store.records import RunStatus
from wfgy_triage.workload.stored import store_upload
from wfgy_triage.workload.upload import read_path


def comparable(record):
    """The result without what differs between two runs by nature."""
    return {k: v for k, v in record.result.items() if k not in ("run_id", "created_at", "timings")}


def after(calls):
    """A stop signal that comes after some questions to it."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_a_run_ends_with_a_valid_result_that_survives_the_store(settings, repo):
    status, record = run_once(settings, repo, spec(4))
    assert status == record.status == RunStatus.DONE
    validate_result(record.result)
    result = Result.from_json(record.result)
    assert result.to_json() == record.result
    assert (result.state, record.state) == (State.PASS, "PASS")
    assert result.pair["note"] == "made for tests"
    assert result.pair["exl2"]["engine"] == "fake"
    assert result.versions["python"]
    assert {"load", "checks", "measure_fp16", "evaluate", "total"} <= set(result.timings)
    assert [m.id for m in result.modules]
    assert len(repo.samples(record.id)) == 4 * len(SIDES)


def test_a_users_question_set_reaches_the_probe_and_is_named_in_the_result(settings, repo):
    stored = store_upload(settings.home, read_path(REPO_ROOT / "assets" / "templates" / "records.jsonl"))
    _, record = run_once(settings, repo, replace(spec(2), workload_id=stored.id))
    assert record.result["workload"]["id"] == record.result["settings"]["workload_id"] == stored.id


def test_a_question_set_that_is_gone_ends_the_run_with_words(settings, repo):
    status, record = run_once(settings, repo, replace(spec(2), workload_id="0" * 64))
    assert status == RunStatus.FAILED
    assert "There is no question set" in record.error_message


def test_events_tell_the_stages_in_order(settings, repo):
    seen = []
    _, record = run_once(settings, repo, spec(2), on_event=seen.append)
    events = repo.events(record.id)
    assert [e.seq for e in events] == list(range(1, len(events) + 1))
    assert [e for e in events if e.kind != "status"] == seen
    assert [e.payload["status"] for e in events if e.kind == "status"] == ["queued", "running", "done"]
    stages = list(dict.fromkeys(e.payload["name"] for e in events if e.kind == "stage"))
    assert stages == ["checks", "load", "engine_checks", *SIDES, "evaluate"]
    for name in stages:
        last = [e.payload for e in events if e.kind == "stage" and e.payload["name"] == name][-1]
        assert last["done"] == last["total"], "the end of a stage is never dropped"


def test_put_back_when_the_process_is_told_to_stop_then_resumed_to_the_same_result(settings, repo):
    _, uninterrupted = run_once(settings, repo, spec(5))
    record = repo.create(spec(5), worker_id="w.1")
    assert execute_run(record, bench_of(settings, repo, should_stop=after(6))) == RunStatus.QUEUED
    part = repo.samples(record.id)
    assert 0 < len(part) < 15
    assert repo.get(record.id).result is None
    again = repo.lease("w.2", 60)
    assert again.id == record.id
    assert execute_run(again, bench_of(settings, repo, "w.2")) == RunStatus.DONE
    assert repo.samples(record.id)[: len(part)] == part
    assert comparable(repo.get(record.id)) == comparable(uninterrupted)


def test_time_of_all_passes_adds_up(settings, repo):
    record = repo.create(spec(2), worker_id="w.1")
    repo.heartbeat(record.id, "w.1", {"load": 100.0, "measure_fp16": 50.0, "total": 150.0})
    execute_run(repo.get(record.id), bench_of(settings, repo))
    timings = repo.get(record.id).result["timings"]
    assert timings["load"] >= 100
    assert timings["measure_fp16"] >= 50
    assert timings["total"] == pytest.approx(sum(v for k, v in timings.items() if k != "total"), abs=0.01)


def test_cancel_keeps_and_evaluates_what_is_done(settings, repo):
    record = repo.create(spec(50, pause=0.02), worker_id="w.1")

    def cancel_early(event):
        if event.kind == "stage" and event.payload["name"] == "fp16":
            repo.request_cancel(record.id)

    assert execute_run(record, bench_of(settings, repo, on_event=cancel_early)) == RunStatus.CANCELLED
    ended = repo.get(record.id)
    kept = len(repo.samples(record.id))
    assert 0 < kept < 150
    assert ended.result["headline"] == f"{kept} samples"
    assert (ended.status, ended.state) == (RunStatus.CANCELLED, "INCONCLUSIVE")


def test_cancel_between_two_passes_evaluates_without_loading_models(settings, repo):
    record = repo.create(spec(5), worker_id="w.1")
    execute_run(record, bench_of(settings, repo, should_stop=after(6)))
    repo.request_cancel(record.id)
    opened = []
    status = execute_run(repo.lease("w.2", 60), bench_of(settings, repo, "w.2", opened=opened))
    assert status == RunStatus.CANCELLED
    assert opened == []
    result = repo.get(record.id).result
    assert result["pair"]["exl2"]["engine"] == "fake"
    assert result["diagnosis"]["evidence"] == [{"check": "same_token_ids", "result": "ok", "detail": "equal"}]


def test_a_known_failure_keeps_samples_and_says_what_to_do_and_can_be_resumed(settings, repo):
    status, record = run_once(settings, repo, spec(4, fail_at=2))
    assert status == record.status == RunStatus.FAILED
    assert record.error_message.startswith("The engine gave numbers")
    assert record.error_hint == "Check the checkpoint."
    assert len(repo.samples(record.id)) == 2
    assert [e.payload for e in repo.events(record.id) if e.kind == "error"] == [
        {"message": record.error_message, "hint": record.error_hint}
    ]
    assert repo.requeue(record.id).status == RunStatus.QUEUED
    assert len(repo.samples(record.id)) == 2


def test_an_unknown_fault_is_logged_and_the_user_reads_plain_words(settings, repo, caplog):
    status, record = run_once(settings, repo, spec(4, crash_at=1))
    assert status == record.status == RunStatus.FAILED
    assert "secret detail" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in record.error_message + record.error_hint
    assert "kept" in record.error_message
    assert len(repo.samples(record.id)) == 1


def test_out_of_memory_is_named(settings, repo):
    def no_room(*args, **kwargs):
        raise MemoryError

    _, record = run_once(settings, repo, spec(), check_engines=no_room)
    assert record.status == RunStatus.FAILED
    assert "Memory ran out" in record.error_message


def test_a_worker_that_lost_its_lease_writes_nothing_more(settings, repo):
    record = repo.create(spec(20), worker_id="w.1")
    taken = []

    def take_over(event):
        if event.kind == "stage" and event.payload["name"] == "fp16" and not taken:
            taken.append(repo.lease("w.2", stale_after_s=-1))

    status = execute_run(record, bench_of(settings, repo, on_event=take_over))
    assert status == RunStatus.RUNNING
    assert taken[0].id == record.id
    mark = [e for e in repo.events(record.id) if e.kind == "status"][-1].seq
    assert [e.kind for e in repo.events(record.id, after=mark)] == ["note"]
    assert repo.heartbeat(record.id, "w.2")
    assert len(repo.samples(record.id)) == 1


def test_a_replaced_model_is_not_mixed_into_an_interrupted_run(settings, repo):
    record = repo.create(spec(5), worker_id="w.1")
    execute_run(record, bench_of(settings, repo, should_stop=after(6)))

    def other_weights(pair):
        return fake_description(pair, weights="b" * 64)

    again = bench_of(settings, repo, "w.2", describe_pair=other_weights)
    assert execute_run(repo.lease("w.2", 60), again) == RunStatus.FAILED
    assert "was replaced" in repo.get(record.id).error_message


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"cache": "Q4"}, "cache"),
        ({"engine": "exllamav2"}, "engine"),
        ({"device": "cuda:0"}, "device"),
        ({"compute_dtype": "float16"}, "compute_dtype"),
    ],
)
def test_an_interrupted_run_does_not_go_on_in_another_engine_or_with_another_cache(
    settings, repo, changed, name
):
    record = repo.create(spec(5), worker_id="w.1")
    execute_run(record, bench_of(settings, repo, should_stop=after(6)))
    plain = fake_tools(settings.home).open_engine

    def edited(folder, *, side, **options):
        engine = plain(folder, side=side, **options)
        engine.info = replace(engine.info, **(changed if side == "exl2" else {}))
        return engine

    kept = len(repo.samples(record.id))
    again = bench_of(settings, repo, "w.2", open_engine=edited)
    assert execute_run(repo.lease("w.2", 60), again) == RunStatus.FAILED
    ended = repo.get(record.id)
    assert "EXL2 side of the pair 'tiny' is computed in another way" in ended.error_message
    assert f"({name} differs)" in ended.error_message
    assert len(repo.samples(record.id)) == kept
    repo.requeue(record.id)
    assert execute_run(repo.lease("w.3", 60), bench_of(settings, repo, "w.3")) == RunStatus.DONE


def test_another_one_of_several_equal_gpus_goes_on(settings, repo):
    def on(device):
        def opened(folder, *, side, **options):
            engine = plain(folder, side=side, **options)
            engine.info = replace(engine.info, device=device)
            return engine

        return opened

    plain = fake_tools(settings.home).open_engine
    record = repo.create(spec(5), worker_id="w.1")
    execute_run(record, bench_of(settings, repo, should_stop=after(6), open_engine=on("cuda:0")))
    again = bench_of(settings, repo, "w.2", open_engine=on("cuda:1"))
    assert execute_run(repo.lease("w.2", 60), again) == RunStatus.DONE


def test_a_stopped_run_keeps_what_it_measured_where_its_pair_is_gone(settings, repo):
    record = repo.create(spec(5), worker_id="w.1")
    execute_run(record, bench_of(settings, repo, should_stop=after(6)))
    kept = len(repo.samples(record.id))
    repo.request_cancel(record.id)
    settings.pairs_file.unlink()
    assert execute_run(repo.lease("w.2", 60), bench_of(settings, repo, "w.2")) == RunStatus.CANCELLED
    assert repo.get(record.id).result["headline"] == f"{kept} samples"


def test_a_result_outside_the_schema_is_never_stored(settings, repo):
    class BadProbe:
        def workload_info(self, settings):
            return {"id": "x", "sha256": "not a hash", "questions": 1}

    tools_probe = fake_tools(settings.home).get_probe("x")
    tools_probe.workload_info = BadProbe().workload_info
    _, record = run_once(settings, repo, spec(1), get_probe=lambda symptom: tools_probe)
    assert (record.status, record.result, record.state) == (RunStatus.FAILED, None, None)


def test_a_run_whose_end_could_not_be_stored_is_resumed_by_the_same_worker(settings, repo, monkeypatch):
    record = repo.create(spec(3))

    def full_disk(*args, **kwargs):
        raise PrerequisiteError("The disk is full.", "Free some space.")

    bench = bench_of(settings, repo, "lane.1")
    leased = repo.lease("lane.1", 60, "lane")
    with monkeypatch.context() as patch:
        patch.setattr(repo, "finish", full_disk)
        with pytest.raises(PrerequisiteError, match="full"):
            execute_run(leased, bench)
    assert execute_run(repo.lease("lane.1", 60, "lane"), bench) == RunStatus.DONE
    assert len(repo.samples(record.id)) == 3 * len(SIDES)


def test_a_pair_that_is_gone_fails_the_run_with_its_own_words(settings, repo):
    settings.pairs_file.unlink()
    _, record = run_once(settings, repo, spec(1))
    assert record.status == RunStatus.FAILED
    assert "no model pair" in record.error_message
