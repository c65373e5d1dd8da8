"""A probe, engines and a pair that stand in for the real ones: small, deterministic, and able to die on request."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wfgy_triage.doctor.finding import Finding, passed
from wfgy_triage.engines.base import EngineInfo
from wfgy_triage.errors import ProbeError
from wfgy_triage.pairs import Pair, register_pairs
from wfgy_triage.probes.base import Evaluation, ProbeContext
from wfgy_triage.result import Check, Diagnosis, Metric, State
from wfgy_triage.runs.bench import Bench
from wfgy_triage.runs.execute import execute_run
from wfgy_triage.runs.models import ModelCache, as_asked
from wfgy_triage.runs.tools import RunTools
from wfgy_triage.settings import Settings
from wfgy_triage.store.records import RunRecord, RunSpec, RunStatus, Sample, SampleKey

SIDES = ("fp16", "exl2", "fp16_floor")
SYMPTOM = "json_breaks"


def make_settings(home: Path, database_url: str = "") -> Settings:
    url = database_url or f"sqlite:///{home / 'triage.db'}"
    return Settings(home, "127.0.0.1", 0, home / "pairs.yaml", url)


def register_pair(settings: Settings, pair_id: str = "tiny") -> Pair:
    folders = []
    for side in ("fp16", "exl2"):
        folder = settings.home / pair_id / side
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        folders.append(folder)
    pair = Pair(pair_id, "Tiny", folders[0], folders[1], note="made for tests")
    register_pairs(settings, [pair])
    return pair


def spec(questions: int = 6, **options: Any) -> RunSpec:
    return RunSpec(SYMPTOM, "tiny", questions=questions, seed=7, options=options)


class AcceleratorError(RuntimeError):
    """What PyTorch raises for an error of CUDA."""


class Gpu:
    """The GPU as this process has it: once stopped, every use of it raises."""

    stopped = False


def use_gpu(home: Path | None = None) -> None:
    """Raise as PyTorch does where the GPU has stopped; a file `gpu-stops` in the home makes it stop, once."""
    if home is not None and (home / "gpu-stops").exists():
        (home / "gpu-stops").unlink()
        Gpu.stopped = True
    if Gpu.stopped:
        raise AcceleratorError(
            "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported "
            "at some other API call.\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
        )


def die_once(home: Path, point: str) -> None:
    """Kill this process when the file `die-POINT` asks for it; the file goes, so that it happens once."""
    marker = home / f"die-{point}"
    try:
        marker.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class FakeEngine:
    def __init__(self, side: str, mode: str, opened: list[str], closed: list[str]) -> None:
        self.name = f"{side}-{mode}"
        self.closed = closed
        opened.append(self.name)
        self.info = EngineInfo("fake", "1", "Tiny", "cpu", "float32", "reproducible", True, 1, 10, 10)

    def close(self) -> None:
        self.closed.append(self.name)
        use_gpu()


class FakeProbe:
    """Measures `value(question, side)`. Options: `pause` seconds a sample, `fail_at` a question number.

    While the home has a file `hold` it waits behind the sample that it has saved, until it is told to stop.
    """

    symptom = SYMPTOM

    def __init__(self, home: Path) -> None:
        self.home = home

    def workload_info(self, settings: Any) -> dict[str, Any]:
        name = settings.workload.stem if settings.workload else "fake"
        return {"id": name, "sha256": "0" * 64, "questions": settings.questions}

    def subject(self, context: ProbeContext) -> None:
        """Nothing that a change could be tried on."""

    def run(self, context: ProbeContext) -> None:
        context.open_floor()
        total = context.settings.questions
        for side in SIDES:
            for number in range(total):
                key = SampleKey(SYMPTOM, f"q{number}", 0, context.settings.seed, side)
                if context.should_stop():
                    return
                if key not in context.done:
                    self._measure(context, key, number)
                    context.progress(side, f"Answers of {side}", number + 1, total)

    def _measure(self, context: ProbeContext, key: SampleKey, number: int) -> None:
        options = context.settings.options
        time.sleep(options.get("pause", 0.0))
        use_gpu(self.home)
        if options.get("fail_at") == number:
            raise ProbeError("The engine gave numbers that are not finite.", "Check the checkpoint.")
        if options.get("crash_at") == number:
            raise ZeroDivisionError("secret detail")
        with (self.home / "measured.log").open("a") as log:
            log.write(f"{key.question} {key.side}\n")
        die_once(self.home, "before_save")
        context.save([Sample(key, {"value": value(key)})])
        die_once(self.home, "after_save")
        while (self.home / "hold").exists() and not context.should_stop():
            time.sleep(0.01)

    def evaluate(self, samples: Sequence[Sample], checks: Sequence[Check], settings: Any) -> Evaluation:
        die_once(self.home, "evaluate")
        complete = len(samples) == len(SIDES) * settings.questions
        values = [s.payload["value"] for s in samples]
        mean = sum(values) / len(values) if values else None
        metric = Metric("schema_valid_rate", "Valid", "share", None, mean, n=len(samples), primary=True)
        return Evaluation(
            state=State.PASS if complete else State.INCONCLUSIVE,
            headline=f"{len(samples)} samples",
            page_rule="",
            metrics=(metric,),
            diagnosis=Diagnosis("within_noise", "low", tuple(checks)),
            charts={"values": sorted(values)},
        )


def value(key: SampleKey) -> float:
    """A number that depends on the key alone."""
    return int(hashlib.sha256(f"{key}".encode()).hexdigest()[:6], 16) / 0xFFFFFF


def fake_tools(
    home: Path, opened: list[str] | None = None, closed: list[str] | None = None, **changes: Any
) -> RunTools:
    opened = [] if opened is None else opened
    closed = [] if closed is None else closed

    def open_engine(folder: Path, *, side: str, mode: str = "reproducible", **_: Any) -> FakeEngine:
        die_once(home, "load")
        return FakeEngine(side, mode, opened, closed)

    def check_folders(pair: Pair, progress: Any) -> tuple[Finding, ...]:
        die_once(home, "folders")
        progress(1, 2)
        return (passed("same_token_ids", "equal"),)

    def check_engines(fp16: Any, exl2: Any) -> tuple[Finding, ...]:
        die_once(home, "checks")
        return ()

    parts: dict[str, Any] = {
        "get_probe": lambda symptom: FakeProbe(home),
        "open_engine": open_engine,
        "check_folders": check_folders,
        "check_engines": check_engines,
        "describe_pair": fake_description,
        "state_room": lambda pair, settings, twin, loaded, *, times=False: as_asked(settings, loaded),
        **changes,
    }
    return RunTools(**parts)


def fake_description(pair: Pair, weights: str = "a" * 64) -> dict[str, Any]:
    side = {"folder": "x", "weights_sha256": weights, "tokenizer_sha256": "t", "template_sha256": None}
    return {"id": pair.id, "name": pair.name, "note": pair.note, "fp16": dict(side), "exl2": dict(side)}


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Return the first true value; fail loudly when it does not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s")


def bench_of(
    settings: Settings,
    repo: Any,
    worker: str = "w.1",
    should_stop: Callable[[], bool] = lambda: False,
    on_event: Any = None,
    **changes: Any,
) -> Bench:
    tools = fake_tools(settings.home, **changes)
    return Bench(repo, settings, tools, ModelCache(tools.open_engine), worker, should_stop, on_event)


def run_once(settings: Settings, repo: Any, run_spec: RunSpec, **options: Any) -> tuple[RunStatus, RunRecord]:
    record = repo.create(run_spec, worker_id="w.1")
    status = execute_run(record, bench_of(settings, repo, **options))
    return status, repo.get(record.id)
