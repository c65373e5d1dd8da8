"""A pair that asks for exllamav2 on a machine without it ends as the doctor's finding, never as another engine."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.runs.run_fakes import FakeEngine, make_settings, register_pair
from wfgy_triage.doctor.finding import Outcome
from wfgy_triage.doctor.loading import not_loaded
from wfgy_triage.doctor.subprocesses import Outcome as Ended
from wfgy_triage.errors import PrerequisiteError
from wfgy_triage.runs import import_guard
from wfgy_triage.runs.import_guard import GuardedOpening
from wfgy_triage.runs.models import ModelCache


class Machine:
    """Opens fakes and tries imports, counting both."""

    def __init__(self, ended: Ended):
        self.ended, self.tried, self.opened = ended, 0, []

    def try_import(self) -> Ended:
        self.tried += 1
        return self.ended

    def open(self, folder, **how):
        return FakeEngine(how["side"], how["mode"], self.opened, [])

    def cache(self) -> ModelCache:
        return ModelCache(GuardedOpening(self.open, self.try_import))


@pytest.fixture
def pair(tmp_path):
    return register_pair(make_settings(tmp_path))


def asking(pair, **engine):
    return dataclasses.replace(pair, engine=engine)


def test_a_pair_on_the_processor_tries_no_import(pair):
    machine = Machine(Ended("failed", "x"))
    machine.cache().acquire(pair)
    assert (machine.tried, machine.opened) == (0, ["fp16-reproducible", "exl2-reproducible"])


def test_without_a_gpu_it_ends_before_any_import(pair, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    machine = Machine(Ended("done", ""))
    with pytest.raises(PrerequisiteError, match="on a GPU only") as refused:
        machine.cache().acquire(asking(pair, backend="exllamav2"))
    assert (machine.tried, machine.opened) == (0, ["fp16-reproducible"])
    found = not_loaded(refused.value)[0]
    assert (found.check, found.state, found.cause) == ("models_load", Outcome.FAIL, "no_gpu")


@pytest.mark.parametrize(
    ("ended", "cause"),
    [
        (Ended("failed", "ImportError: undefined symbol: _ZN3c10"), "kernel_version_skew"),
        (Ended("crashed", "", "SIGSEGV"), "kernel_version_skew"),
        (Ended("failed", "CUDA_HOME environment variable is not set"), "extension_missing"),
        (Ended("failed", "a text that nobody knows"), "unknown"),
    ],
)
def test_an_import_that_fails_elsewhere_is_the_finding(pair, monkeypatch, ended, cause):
    monkeypatch.setattr(import_guard, "check_gpu", lambda: None)
    machine = Machine(ended)
    with pytest.raises(PrerequisiteError) as refused:
        machine.cache().acquire(asking(pair, device="cuda"))
    assert machine.opened == ["fp16-reproducible"]
    assert not_loaded(refused.value)[0].cause == refused.value.cause == cause
    assert "backend: reference" in refused.value.hint


def test_an_import_that_works_is_tried_once(pair, monkeypatch):
    monkeypatch.setattr(import_guard, "check_gpu", lambda: None)
    machine = Machine(Ended("done", ""))
    cache = machine.cache()
    cache.acquire(asking(pair, baseline="exllamav2", backend="exllamav2", cache="Q4"))
    cache.floor()
    assert machine.tried == 1
    assert machine.opened == ["fp16-reproducible", "exl2-reproducible", "fp16-fast"]
