"""A worker process for each device: they measure at the same time, and none disturbs another's run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runs.run_fakes import SIDES, SYMPTOM, register_pair, wait_for
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.pairs import register_pairs
from wfgy_triage.runs import supervisor
from wfgy_triage.runs.lane import make_lane
from wfgy_triage.runs.supervisor import WorkerSupervisor, WorkerSupervisors
from wfgy_triage.runs.turns import Share
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.store.records import RunSpec, RunStatus
from wfgy_triage.store.workers import WorkerRepository

LANES = ("cuda:0", "cuda:1")


@pytest.fixture
def runs(settings, repo):
    """Queues a run on a pair of a device."""
    for lane in LANES:
        pair = register_pair(settings, lane.replace(":", "-"))
        register_pairs(settings, [replace(pair, engine={"device": lane, "backend": "reference"})])

    def add(lane: str, questions: int = 2) -> str:
        return repo.create(RunSpec(SYMPTOM, lane.replace(":", "-"), questions=questions, seed=7)).id

    return add


@pytest.fixture
def workers(settings, monkeypatch):
    monkeypatch.setenv("WFGY_TRIAGE_LANES", ",".join(LANES))
    command = [sys.executable, "-m", "tests.runs.fake_worker", str(settings.home)]
    found = {lane: WorkerSupervisor(settings, command, Share(lane, LANES)) for lane in LANES}
    for worker in found.values():
        worker.start()
    yield found
    for worker in found.values():
        worker.stop()


def resumed(repo, run_id) -> bool:
    return any("Resumed" in e.payload.get("text", "") for e in repo.events(run_id) if e.kind == "note")


def test_two_devices_measure_at_once_and_a_killed_worker_takes_up_its_own_run_only(
    settings, repo, runs, workers, database
):
    hold = settings.home / "hold"
    hold.touch()
    first, second, behind = runs("cuda:0"), runs("cuda:1"), runs("cuda:0")
    wait_for(lambda: repo.samples(first) and repo.samples(second))
    assert [repo.get(r).status for r in (first, second, behind)] == ["running", "running", "queued"]
    assert all(make_lane(settings.home, (lane,)).taken() for lane in LANES)
    wait_for(lambda: len(WorkerRepository(database).warm_pairs(60)) == 2)

    os.kill(workers["cuda:1"].pid, signal.SIGKILL)
    wait_for(lambda: resumed(repo, second))
    hold.unlink()
    for run in (first, second, behind):
        wait_for(lambda run=run: repo.get(run).status == RunStatus.DONE)
        assert len(repo.samples(run)) == 2 * len(SIDES)
    assert [resumed(repo, r) for r in (first, second, behind)] == [False, True, False]
    logs = {path.name for path in (settings.home / "logs").iterdir()}
    assert {"worker-cuda-0.log", "worker-cuda-1.log"} <= logs


@contextmanager
def holding(home: Path, device: str) -> Iterator[None]:
    """A device taken as by another process; a worker lets go of it a moment after its run has ended."""
    with ExitStack() as stack:
        wait_for(lambda: stack.enter_context(make_lane(home, (device,)).try_hold()))
        yield


def test_an_idle_worker_gives_its_models_back_to_who_takes_the_device(
    settings, repo, runs, workers, database
):
    run = runs("cuda:1")
    wait_for(lambda: repo.get(run).status == RunStatus.DONE)
    kept = WorkerRepository(database)
    wait_for(lambda: kept.warm_pairs(60) == {"cuda-1"})
    with holding(settings.home, "cuda:0"):
        again = runs("cuda:1")
        wait_for(lambda: repo.get(again).status == RunStatus.DONE)
        assert kept.warm_pairs(60) == {"cuda-1"}, "another device is no reason"
    with holding(settings.home, "cuda:1"):
        wait_for(lambda: not kept.warm_pairs(60))


def test_the_only_worker_does_so_too_although_it_asks_ahead_on_the_processor(settings, repo, runs, database):
    worker = WorkerSupervisor(settings, [sys.executable, "-m", "tests.runs.fake_worker", str(settings.home)])
    worker.start()
    try:
        run, kept = runs("cuda:1"), WorkerRepository(database)
        wait_for(lambda: repo.get(run).status == RunStatus.DONE and kept.warm_pairs(60) == {"cuda-1"})
        with holding(settings.home, "cpu"):
            again = runs("cuda:1")
            wait_for(lambda: repo.get(again).status == RunStatus.DONE)
            assert kept.warm_pairs(60) == {"cuda-1"}, "another device is no reason"
        with holding(settings.home, "cuda:1"):
            wait_for(lambda: not kept.warm_pairs(60))
    finally:
        worker.stop()


def test_a_worker_that_is_not_named_does_not_start(settings):
    environment = {**os.environ, "PYTHONPATH": str(REPO_ROOT), "WFGY_TRIAGE_LANES": "cpu"}
    command = [sys.executable, "-m", "tests.runs.fake_worker", str(settings.home), "--device", "cuda:4"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "WFGY_TRIAGE_LANES names cpu" in ended.stderr


class Supervised:
    """Stands in for a supervised worker."""

    said: list[tuple[str, str]] = []

    def __init__(self, settings, command=(), share=None):
        self.share = share

    def start(self):
        self.said.append(("start", self.share.name))
        if self.share.device == "cuda:9":
            raise PrerequisiteError("It could not be started.", "Make room.")

    def stop(self):
        self.said.append(("stop", self.share.name))


@pytest.mark.parametrize(
    ("lanes", "names"), [("", ["worker"]), ("cpu,cuda:0", ["worker-cpu", "worker-cuda-0"])]
)
def test_there_is_a_worker_for_each_device_and_one_without_any(settings, monkeypatch, lanes, names):
    monkeypatch.setenv("WFGY_TRIAGE_LANES", lanes)
    monkeypatch.setattr(supervisor, "WorkerSupervisor", Supervised)
    monkeypatch.setattr(Supervised, "said", [])
    workers = WorkerSupervisors(settings)
    workers.start()
    assert Supervised.said == [("start", name) for name in names]
    workers.stop()
    assert sorted(Supervised.said[len(names) :]) == [("stop", name) for name in names]


def test_where_one_cannot_be_started_none_is_left(settings, monkeypatch):
    monkeypatch.setenv("WFGY_TRIAGE_LANES", "cpu,cuda:9")
    monkeypatch.setattr(supervisor, "WorkerSupervisor", Supervised)
    monkeypatch.setattr(Supervised, "said", [])
    with pytest.raises(PrerequisiteError, match="could not be started"):
        WorkerSupervisors(settings).start()
    assert ("stop", "worker-cpu") in Supervised.said
