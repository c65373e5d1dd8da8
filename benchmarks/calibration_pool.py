"""Answers for runs of a model against itself: whole passes of a probe over its question set, each with its own draw.

A pass is an ordinary pass of the probe (its items, its judge, its samples) on engines that draw (`drawn.py`). It is
stored line by line as it is measured, so a killed one goes on; the folder's name is a hash over everything the samples
depend on: both models, versions, temperature, question set, and the sources that ask and judge.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.drawn import TEMPERATURE, Drawn, Replayed
from wfgy_triage.engines.base import Engine
from wfgy_triage.measure.agreement import METRIC_VERSION
from wfgy_triage.probes.base import Probe, ProbeContext, ProbeSettings
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.store.records import Sample, SampleKey

VERSION = 1
"""Raised when passes are drawn in another way."""
SOURCES = (
    "measure/*.py",
    "workload/*.py",
    "probes/measuring.py",
    "probes/payloads.py",
    "probes/items.py",
    "probes/acceptance.py",
)
"""What asks and judges, besides the probe's own module (`sixty_seconds` judges as the acceptance list does). What
evaluates is not among it: a changed verdict needs no new answers."""
WHOLE = "whole"

Side = Mapping[str, tuple[Sample, ...]]
"""Samples by question."""
Pass = Mapping[str, Side]
"""Samples by side, then question."""


@dataclass(frozen=True)
class Engines:
    """The FP16 model, its twin (as opened for the noise floor), and the quantized model."""

    fp16: Engine
    twin: Engine
    exl2: Engine


def pool_key(
    probe: Probe, settings: ProbeSettings, models: Mapping[str, Any], temperature: float = TEMPERATURE
) -> str:
    """A hash over everything that the samples of a pool depend on.

    Args:
        probe: who asks.
        settings: how many questions.
        models: facts of both sides (`provenance.number_facts`).
        temperature: of the draws.
    """
    package = REPO_ROOT / "wfgy_triage"
    files = [Path(inspect.getfile(type(probe))), *(f for p in SOURCES for f in sorted(package.glob(p)))]
    facts = {
        "version": [VERSION, METRIC_VERSION],
        "models": models,
        "workload": dict(probe.workload_info(settings)),
        "temperature": temperature,
        "sources": [hashlib.sha256(f.read_bytes()).hexdigest() for f in files],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


class Pool:
    """The passes of one probe.

    Args:
        folder: where they lie.
        probe: who asks.
        settings: how many questions of the set.
        open_engines: loads the models; called only where a pass is not complete.
        temperature: of the draws.
    """

    def __init__(
        self,
        folder: Path,
        probe: Probe,
        settings: ProbeSettings,
        open_engines: Callable[[], Engines],
        temperature: float = TEMPERATURE,
    ) -> None:
        self._folder, self._probe, self._settings = folder, probe, settings
        self._open, self._temperature = open_engines, temperature

    def passes(self, count: int) -> tuple[Pass, ...]:
        """The first passes, measured now as far as they are not stored."""
        return tuple(self._pass(number) for number in range(count))

    def _pass(self, number: int) -> Pass:
        file = SampleFile(self._folder / f"pass-{number}.jsonl")
        if not file.whole:
            began = time.monotonic()
            self._measure(number, file, self._open())
            file.close()
            print(
                f"{self._probe.symptom}: pass {number + 1} in {time.monotonic() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        return sorted_samples(file.samples)

    def _measure(self, number: int, file: SampleFile, engines: Engines) -> None:
        fp16 = Drawn(engines.fp16, f"fp16-{number}", self._temperature)
        exl2 = Drawn(engines.exl2, f"exl2-{number}", self._temperature)
        # The third side of a run is put together from another pass, so the twin is wanted for its scores alone.
        twin = Replayed(engines.twin, fp16)
        self._probe.run(
            ProbeContext(
                fp16=fp16,
                exl2=exl2,
                open_floor=lambda: twin,
                settings=self._settings,
                done=frozenset(s.key for s in file.samples),
                stored=lambda: file.samples,
                save=file.add,
                progress=lambda stage, label, done, total: None,
                should_stop=lambda: False,
            )
        )


class SampleFile:
    """Samples in a file, one a line, and a last line that says that nothing is missing.

    A line that a killed process left unfinished is dropped, and what stands behind it.
    """

    def __init__(self, path: Path) -> None:
        self._path, self.whole = path, False
        self._samples: list[Sample] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        good = 0
        with path.open("a+b") as file:
            file.seek(0)
            for line in file:
                if not self._read(line):
                    break
                good += len(line)
            file.truncate(good)

    @property
    def samples(self) -> Sequence[Sample]:
        """All of them, in the order in which they were measured."""
        return tuple(self._samples)

    def add(self, samples: Sequence[Sample]) -> None:
        """Store some; they are on disk when this returns."""
        rows = [{"key": asdict(s.key), "payload": s.payload} for s in samples]
        self._write(rows)
        self._samples += samples

    def close(self) -> None:
        """Say that nothing is missing."""
        self._write([{WHOLE: True}])
        self.whole = True

    def _read(self, line: bytes) -> bool:
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            row = None
        if not isinstance(row, dict):
            return False
        if WHOLE in row:
            self.whole = True
        else:
            self._samples.append(Sample(SampleKey(**row["key"]), row["payload"]))
        return True

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def sorted_samples(samples: Sequence[Sample]) -> Pass:
    """Samples by side and question."""
    found: dict[str, dict[str, tuple[Sample, ...]]] = {}
    for sample in samples:
        side = found.setdefault(sample.key.side, {})
        side[sample.key.question] = (*side.get(sample.key.question, ()), sample)
    return found
