"""A run on two engines opens the EXL2 weights in the reference engine by itself, and gives them back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.probes.fakes import ScriptedEngine
from tests.probes.foreign import DIFFERENT
from tests.runs.run_fakes import fake_tools, register_pair, spec
from wfgy_triage.diagnosis import KERNELS
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.runs.models import ModelCache
from wfgy_triage.workload.json_records import load_json_workload

WORKLOAD = load_json_workload()
GOLD = {q.id: WORKLOAD.gold_text(q) for q in WORKLOAD.questions}
BROKEN = {k: v.replace("}", "", 1) for k, v in GOLD.items()}


class Opened:
    """Opens scripted engines: EXL2 answers badly in exllamav2, and well in the reference engine."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str, object]] = []
        self.closed: list[str] = []

    def __call__(self, folder, *, side, mode="reproducible", share_with=None, settings):
        self.calls.append((side, settings.backend, settings.device, share_with))
        broken = side == "exl2" and settings.backend == "exllamav2"
        engine = ScriptedEngine(BROKEN if broken else GOLD, bias=float(side == "exl2"))
        engine.close = lambda: self.closed.append(f"{side} {settings.backend}")
        return engine


@pytest.fixture
def pair(settings):
    return replace(register_pair(settings, "gpu"), engine={"backend": "exllamav2", "cache": "Q8"})


def test_the_cause_of_a_run_is_the_engine_where_the_weights_answer_well(settings, repo, pair):
    opened = Opened()
    tools = fake_tools(
        settings.home,
        get_probe=lambda symptom: PROBE,
        open_engine=opened,
        check_engines=lambda fp16, exl2: DIFFERENT,
    )
    record = repo.create(spec(12), worker_id="w.1")
    execute_run(record, Bench(repo, settings, tools, ModelCache(opened), "w.1"), pair)
    found = repo.get(record.id)
    assert found.result is not None, found.error_message
    assert (found.state, found.result["diagnosis"]["cause"]) == ("FAIL", KERNELS)
    assert "exl2 reference" in opened.closed
    assert "exl2 exllamav2" not in opened.closed


def test_the_weights_are_opened_as_the_pair_has_them_but_for_the_engine_and_beside_fp16(pair):
    opened = Opened()
    pair = replace(pair, engine={**pair.engine, "device": "cuda:0", "baseline_device": "cuda:1"})
    models = ModelCache(opened)
    with pytest.raises(RuntimeError):
        models.decoded()
    loaded = models.acquire(pair)
    assert models.decoded() is not models.decoded(), "whoever asks closes it"
    assert opened.calls[-1] == ("exl2", "reference", "cuda:1", loaded.fp16)
