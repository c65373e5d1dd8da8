"""A device that fails: a GPU that stops ends the process and no session; one without room is named as the cause."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from tests.probes.fakes import ScriptedEngine
from tests.runs.homes import QUESTIONS, assert_same
from tests.runs.run_fakes import SIDES, Gpu, bench_of, run_once, spec, wait_for
from tests.runs.test_execute_findings import broken_folders
from tests.runs.test_headless import headless
from tests.runs.test_reuse_runs import Engines
from wfgy_triage.catalog import validate_result
from wfgy_triage.cli.shared import EXIT_ERROR, finish
from wfgy_triage.doctor.finding import failed, passed
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import get_pair
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.result import Result, State
from wfgy_triage.runs.ahead import Ahead
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.runs.supervisor import WorkerSupervisor
from wfgy_triage.runs.worker import GPU_STOPPED
from wfgy_triage.store.records import RunStatus

MISSING = [
    ("gpu_memory", "free on the GPU"),
    ("no_gpu", "PyTorch sees none"),
    ("main_memory", "more than is free"),
]


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that works until it is told to stop, and works again behind the test."""
    monkeypatch.setattr(Gpu, "stopped", False)
    return Gpu


@pytest.fixture
def stopping(settings, gpu):
    """The home; its GPU stops at the next use."""
    (settings.home / "gpu-stops").touch()
    return settings.home


@pytest.mark.usefixtures("stopping")
def test_a_gpu_that_stops_fails_the_run_in_plain_words_and_the_process_is_to_end(settings, repo, caplog):
    opened, closed = [], []
    bench = bench_of(settings, repo, opened=opened, closed=closed)
    record = repo.create(spec(4), worker_id="w.1")
    assert execute_run(record, bench) == RunStatus.FAILED
    record = repo.get(record.id)
    assert record.error_message.startswith("The GPU or its driver stopped. What was measured before is kept.")
    assert record.error_message.endswith("CUDA error: an illegal memory access was encountered")
    assert record.error_hint.startswith("Resume this session")
    # Closing fails too by then, of each of them, and is tried all the same.
    assert sorted(closed) == sorted(opened)
    assert "could not be closed" in caplog.text
    assert (bench.models.lost, bench.models.pair_id) == (True, None)
    assert repo.requeue(record.id).status == RunStatus.QUEUED


def test_a_worker_whose_gpu_stopped_ends_and_the_next_one_goes_on(home, uninterrupted):
    run = home.repo.create(spec(QUESTIONS, pause=0.02))
    home.start_worker()
    wait_for(lambda: home.repo.samples(run.id))
    (home.path / "gpu-stops").touch()
    home.worker.join(30)
    assert home.worker.exitcode == GPU_STOPPED
    record = home.ended(run.id)
    assert record.status == RunStatus.FAILED
    assert "GPU or its driver stopped" in record.error_message
    stored = {(s.key.question, s.key.side) for s in home.repo.samples(run.id)}
    assert 0 < len(stored) < QUESTIONS * len(SIDES)
    measured = len(home.measured())
    home.repo.requeue(run.id)
    home.start_worker()
    assert_same(home, wait_for(lambda: home.ended(run.id)), uninterrupted)
    assert not stored & set(home.measured()[measured:])


@pytest.mark.usefixtures("stopping")
def test_the_supervisor_starts_another_worker_for_what_waits(settings, repo):
    command = [sys.executable, "-m", "tests.runs.fake_worker", str(settings.home)]
    runs = [repo.create(spec(2)) for _ in range(2)]
    supervisor = WorkerSupervisor(settings, command)
    supervisor.start()
    first = supervisor.pid
    try:
        wait_for(lambda: repo.get(runs[1].id).status == RunStatus.DONE)
        assert repo.get(runs[0].id).status == RunStatus.FAILED
        repo.requeue(runs[0].id)
        wait_for(lambda: repo.get(runs[0].id).status == RunStatus.DONE)
        assert supervisor.pid != first
    finally:
        supervisor.stop()


@pytest.mark.usefixtures("stopping")
def test_the_command_line_says_so_and_ends_with_the_code_of_an_error(settings, capsys):
    record = headless(settings, spec(3))
    assert record.status == RunStatus.FAILED
    assert finish(record, None) == EXIT_ERROR == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "The GPU or its driver stopped." in said
    assert "Resume this session" in said


def test_a_gpu_may_stop_while_fp16_is_asked_ahead_too(settings, repo):
    class Stops:
        def workload_info(self, settings):
            return {}

        def run(self, context):
            raise RuntimeError("CUDA error: unspecified launch failure")

    class Cache:
        def get_many(self, keys):
            return {}

    bench = bench_of(settings, repo, get_probe=lambda symptom: Stops())
    bench = dataclasses.replace(bench, open_cache=Cache)
    ahead = Ahead(bench, lambda: False, lambda s: get_pair(s, "tiny"), ["json_breaks"])
    ahead.step()
    assert bench.models.lost
    assert not ahead.due


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_a_gpu_that_is_full_is_named_and_given_back_and_goes_on(settings, repo, error):
    def full(*engines):
        raise error

    closed = []
    bench = bench_of(settings, repo, check_engines=full, closed=closed)
    record = repo.create(spec(2), worker_id="w.1")
    assert execute_run(record, bench) == RunStatus.FAILED
    record = repo.get(record.id)
    assert "GPU's memory ran out" in record.error_message
    assert "cache: Q8" in record.error_hint
    assert sorted(closed) == ["exl2-reproducible", "fp16-reproducible"]
    assert not bench.models.lost


def lacking(cause):
    def refuse(folder, **how):
        raise PrerequisiteError("It does not fit.", "Close something.", cause)

    return refuse


@pytest.mark.parametrize(("cause", "explained"), MISSING)
@pytest.mark.parametrize("folders", [lambda pair, progress: (passed("same_token_ids", "equal"),), None])
def test_what_the_machine_lacks_is_the_cause_and_no_change_of_files_is_tried(
    settings, repo, cause, explained, folders
):
    tried = []

    def refuse(folder, **how):
        tried.append(folder)
        lacking(cause)(folder)

    # Another finding, which has remedies of its own, does not let the search begin either.
    found = folders or (lambda pair, progress: (failed("same_rope", "rope differs"),))
    parts = {"check_folders": found, "get_probe": lambda s: PROBE, "open_engine": refuse}
    status, record = run_once(settings, repo, spec(4), **parts)
    assert status == RunStatus.DONE
    validate_result(record.result)
    result = Result.from_json(record.result)
    assert result.state is State.NOT_MEASURED
    [load] = [row for row in result.charts["doctor"] if row["check"] == "models_load"]
    assert (load["cause"], load["seen"], load["do"]) == (cause, "It does not fit.", "Close something.")
    assert explained in load["means"]
    if folders:
        assert result.diagnosis.cause == cause
        assert explained in result.headline
    assert (len(tried), result.recommendation, repo.samples(record.id)) == (1, None, ())


def test_a_folder_that_cannot_be_loaded_is_still_tried_to_be_mended(settings, repo):
    tried = {"check_folders": broken_folders, "get_probe": lambda s: PROBE, "open_engine": Engines()}
    _, record = run_once(settings, repo, spec(4), **tried)
    assert {s.key.side for s in repo.samples(record.id)} == {"trial"}


@pytest.mark.parametrize("cause", [cause for cause, _ in MISSING])
def test_what_was_measured_does_not_end_because_the_machine_is_short_of_something_now(settings, repo, cause):
    _, uninterrupted = run_once(settings, repo, spec(5))
    record = repo.create(spec(5), worker_id="w.1")
    left = iter(range(6))
    stops = bench_of(settings, repo, should_stop=lambda: next(left, None) is None)
    assert execute_run(record, stops) == RunStatus.QUEUED
    part = repo.samples(record.id)
    assert part
    short = bench_of(settings, repo, "w.2", open_engine=lacking(cause))
    assert execute_run(repo.lease("w.2", 60), short) == RunStatus.FAILED
    failure = repo.get(record.id)
    assert (failure.error_message, failure.error_hint) == ("It does not fit.", "Close something.")
    assert repo.samples(record.id) == part
    repo.requeue(record.id)
    assert execute_run(repo.lease("w.3", 60), bench_of(settings, repo, "w.3")) == RunStatus.DONE
    assert repo.get(record.id).result["charts"] == uninterrupted.result["charts"]


class NoRoomForTwo(Engines):
    """Opens both sides, and not FP16 a second time."""

    def __init__(self, cause):
        super().__init__()
        self.cause, self.tried = cause, 0

    def __call__(self, folder, **how):
        if how.get("mode") == "fast":
            self.tried += 1
            lacking(self.cause)(folder)
        return super().__call__(folder, **how)


def test_without_room_for_the_twin_the_noise_floor_is_not_measured_and_the_run_goes_on(settings, repo):
    engines = NoRoomForTwo("gpu_memory")
    status, record = run_once(settings, repo, spec(6), get_probe=lambda s: PROBE, open_engine=engines)
    assert status == RunStatus.DONE, record.error_message
    assert {s.key.side for s in repo.samples(record.id)} >= {"fp16", "exl2", "pair"}
    assert not {s.key.side for s in repo.samples(record.id)} & {"fp16_floor", "pair_floor"}
    result = Result.from_json(record.result)
    assert result.state is not State.NOT_MEASURED, result.headline
    assert {m.floor for m in result.metrics} == {None}
    told = [e.payload["text"] for e in repo.events(record.id) if e.kind == "note"]
    assert [t for t in told if "noise floor is NOT MEASURED" in t and "Close something." in t]
    assert len(told) == engines.tried == 1


def test_a_twin_that_cannot_be_loaded_for_another_reason_still_fails_the_run(settings, repo):
    engines = NoRoomForTwo(None)
    status, record = run_once(settings, repo, spec(4), get_probe=lambda s: PROBE, open_engine=engines)
    assert (status, record.error_message) == (RunStatus.FAILED, "It does not fit.")


def test_an_engine_whose_gpu_stops_within_an_answer_ends_the_run_so(settings, repo):
    class Stops(ScriptedEngine):
        def generate(self, requests, should_stop=None):
            yield from super().generate(requests[:2], should_stop)
            raise RuntimeError("CUDA error: unspecified launch failure")

    class Opened(Engines):
        def __call__(self, folder, *, side, **how):
            engine = super().__call__(folder, side=side, **how)
            if side == "exl2":
                engine.__class__ = Stops
            return engine

    bench = bench_of(settings, repo, get_probe=lambda s: PROBE, open_engine=Opened())
    record = repo.create(spec(4), worker_id="w.1")
    assert execute_run(record, bench) == RunStatus.FAILED
    assert "unspecified launch failure" in repo.get(record.id).error_message
    assert sum(s.key.side == "exl2" for s in repo.samples(record.id)) == 2
    assert bench.models.lost


def test_models_that_were_given_up_are_loaded_anew(settings, repo):
    opened, pair = [], get_pair(settings, "tiny")
    models = bench_of(settings, repo, opened=opened).models
    models.acquire(pair)
    models.floor()
    models.abandon(lost=False)
    models.acquire(pair)
    assert opened == ["fp16-reproducible", "exl2-reproducible", "fp16-fast"] + opened[:2]
    assert not models.lost
