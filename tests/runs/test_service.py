"""What page and command line see of runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.runs.run_fakes import SYMPTOM, register_pair
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.runs.limits import USUAL_QUEUED
from wfgy_triage.runs.service import MAX_QUESTIONS, TriageService
from wfgy_triage.store.database import open_database
from wfgy_triage.store.records import RunSpec, RunStatus, Sample, SampleKey
from wfgy_triage.store.runs import RunRepository
from wfgy_triage.store.workers import WorkerRepository


@pytest.fixture
def service(settings):
    service = TriageService(settings, symptoms=lambda: (SYMPTOM,))
    yield service
    service.close()


def test_start_queues_a_run_that_can_be_followed(service):
    run_id = service.start(RunSpec(SYMPTOM, "tiny", questions=3, seed=5, options={"fix": "no"}))
    record = service.get(run_id)
    assert record.status == RunStatus.QUEUED
    assert record.spec == RunSpec(SYMPTOM, "tiny", questions=3, seed=5, options={"fix": "no"})
    assert service.look(run_id).record == record
    assert service.samples(run_id) == ()


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        (RunSpec("no_such", "tiny"), "no symptom", "json_breaks"),
        (RunSpec("citations_missing", "tiny"), "cannot be measured yet", SYMPTOM),
        (RunSpec(SYMPTOM, "nobody"), "no model pair", "tiny"),
        (RunSpec(SYMPTOM, "../etc/passwd"), "no model pair", "tiny"),
        (RunSpec(SYMPTOM, "tiny", questions=0), "0 questions", str(MAX_QUESTIONS)),
        (RunSpec(SYMPTOM, "tiny", questions=MAX_QUESTIONS + 1), "questions", str(MAX_QUESTIONS)),
        (RunSpec(SYMPTOM, "tiny", seed=-1), "seed -1", "between"),
        (RunSpec(SYMPTOM, "tiny", seed=2**31), "seed", "between"),
        (RunSpec(SYMPTOM, "tiny", workload_id="mine"), "question set", "built-in"),
    ],
)
def test_a_wrong_request_is_refused_with_a_way_out(spec, message, hint, service):
    with pytest.raises(InputError, match=message) as caught:
        service.start(spec)
    assert hint in caught.value.hint
    assert service.count() == 0


def test_limits_themselves_are_allowed(service):
    service.start(RunSpec(SYMPTOM, "tiny", questions=1, seed=0))
    service.start(RunSpec(SYMPTOM, "tiny", questions=MAX_QUESTIONS, seed=2**31 - 1))
    assert service.count() == 2


def test_a_pair_that_is_not_ready_is_a_prerequisite(service, settings):
    pair = register_pair(settings, "half")
    (pair.exl2 / "config.json").unlink()
    with pytest.raises(PrerequisiteError, match="half"):
        service.start(RunSpec(SYMPTOM, "half"))


def test_a_double_click_starts_one_run(service):
    spec = RunSpec(SYMPTOM, "tiny")
    assert service.start(spec, start_key="form-1") == service.start(spec, start_key="form-1")
    assert service.start(spec, start_key="form-2") != service.start(spec, start_key="form-1")
    assert service.count() == 2
    with pytest.raises(InputError):
        service.start(spec, start_key="x" * 65)


def test_a_full_queue_refuses_politely_and_accepts_again(service):
    ids = [service.start(RunSpec(SYMPTOM, "tiny")) for _ in range(USUAL_QUEUED)]
    with pytest.raises(InputError, match=str(USUAL_QUEUED)):
        service.start(RunSpec(SYMPTOM, "tiny"))
    service.cancel(ids[0])
    service.start(RunSpec(SYMPTOM, "tiny"))


def test_queue_position_counts_those_before(service, database):
    first, second, third = (service.start(RunSpec(SYMPTOM, "tiny")) for _ in range(3))
    assert [service.look(i).place for i in (first, second, third)] == [0, 1, 2]
    RunRepository(database).lease("w.1", 60)
    assert [service.look(i).place for i in (first, second, third)] == [0, 1, 2]
    service.cancel(second)
    assert [service.look(i).place for i in (first, second, third)] == [0, None, 1]
    with pytest.raises(InputError):
        service.look("nobody")


def test_cancelling_a_waiting_run_ends_it_and_resuming_brings_it_back(service):
    run_id = service.start(RunSpec(SYMPTOM, "tiny"))
    assert service.cancel(run_id).status == RunStatus.CANCELLED
    assert service.cancel(run_id).status == RunStatus.CANCELLED
    resumed = service.resume(run_id)
    assert (resumed.status, resumed.cancel_requested, resumed.finished_at) == (RunStatus.QUEUED, False, None)
    with pytest.raises(InputError, match="queued"):
        service.resume(run_id)


def test_cancelling_a_running_run_is_a_request_to_its_worker(service, database):
    run_id = service.start(RunSpec(SYMPTOM, "tiny"))
    repo = RunRepository(database)
    repo.lease("w.1", 60)
    assert service.cancel(run_id).status == RunStatus.RUNNING
    assert repo.cancel_requested(run_id)
    service.cancel(run_id)
    assert [e.kind for e in repo.events(run_id)].count("note") == 1


def test_cancelling_a_run_put_back_with_samples_leaves_it_to_be_evaluated(service, database):
    run_id = service.start(RunSpec(SYMPTOM, "tiny"))
    repo = RunRepository(database)
    repo.lease("w.1", 60)
    repo.add_samples(run_id, [Sample(SampleKey(SYMPTOM, "q", 0, 0, "fp16"), {})])
    repo.release(run_id, "w.1")
    assert service.cancel(run_id).status == RunStatus.QUEUED
    assert repo.lease("w.2", 60).cancel_requested


def test_list_filters_and_pages_newest_first(service, settings):
    register_pair(settings, "other")
    ids = [service.start(RunSpec(SYMPTOM, pair)) for pair in ("tiny", "other", "tiny")]
    service.cancel(ids[2])
    assert [r.id for r in service.list()] == ids[::-1]
    assert [r.id for r in service.list(limit=1, offset=1)] == [ids[1]]
    assert [r.id for r in service.list(pair_id="other")] == [ids[1]]
    assert [r.id for r in service.list(status=RunStatus.CANCELLED)] == [ids[2]]
    assert service.list(symptom="citations_missing") == ()
    assert service.count(pair_id="tiny", status=RunStatus.QUEUED) == 1


def test_worker_signs_of_life(service, database):
    workers = WorkerRepository(database)
    assert not service.worker_alive()
    workers.beat("w.1", "tiny")
    workers.beat("w.2")
    assert service.worker_alive()
    assert service.warm_pairs() == {"tiny"}
    assert not workers.alive(within_s=-1)
    workers.remove("w.1")
    assert service.warm_pairs() == frozenset()
    assert service.worker_alive()


def test_unknown_runs_are_named_in_the_error(service):
    for call in (service.get, service.look, service.cancel, service.resume):
        with pytest.raises(InputError, match="no session"):
            call("0123")


def test_the_web_process_imports_no_model_library():
    code = (
        "import sys, wfgy_triage.runs.service, wfgy_triage.runs.supervisor; "
        "print([m for m in ('torch', 'transformers', 'exllamav2', 'gradio') if m in sys.modules])"
    )
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_session_with_a_result_is_shared_by_a_link_that_can_be_taken_back(service, settings):
    run_id = service.start(RunSpec(SYMPTOM, "tiny", questions=3))
    with pytest.raises(InputError, match="no result to share yet"):
        service.share(run_id, 7)
    runs = RunRepository(open_database(settings.database_url))
    assert runs.lease("w", stale_after_s=60) is not None
    assert runs.finish(run_id, "w", RunStatus.DONE, {"state": "PASS"})
    share, token = service.share(run_id, 7, redacted=True)
    assert service.shared(token) == share
    other = service.start(RunSpec(SYMPTOM, "tiny", questions=3))
    with pytest.raises(InputError, match="no such link"):
        service.revoke(other, share.id)
    service.revoke(run_id, share.id)
    assert service.shared(token) is None
    assert [s.id for s in service.shares(run_id)] == [share.id]
