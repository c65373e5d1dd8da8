"""Runs a probe on given engines and keeps its samples as the store would: one a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.probes.fakes import ScriptedEngine
from wfgy_triage.probes.base import Evaluation, Probe, ProbeContext, ProbeSettings
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample


class Bench:
    """A probe with its three engines, whatever they are.

    `cache` and `models` go into the context, for probes that keep something between runs.
    """

    def __init__(self, probe: Probe, fp16: Any, exl2: Any, twin: Any, settings: ProbeSettings) -> None:
        self.probe, self.settings = probe, settings
        self.fp16, self.exl2, self.twin = fp16, exl2, twin
        self.samples: dict[object, Sample] = {}
        self.stages: list[tuple[str, int, int]] = []
        self.cache: Path | None = None
        self.models: Mapping[str, str] = {}

    def save(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            assert sample.key not in self.samples, "measured twice"
            self.samples[sample.key] = sample

    def context(
        self, should_stop: Callable[[], bool] = lambda: False, settings: ProbeSettings | None = None
    ) -> ProbeContext:
        return ProbeContext(
            fp16=self.fp16,
            exl2=self.exl2,
            open_floor=lambda: self.twin,
            settings=settings or self.settings,
            done=frozenset(self.samples),  # type: ignore[arg-type]
            stored=lambda: tuple(self.samples.values()),
            save=self.save,
            progress=lambda stage, label, done, total: self.stages.append((stage, done, total)),
            should_stop=should_stop,
            cache=self.cache,
            models=self.models,
        )

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> Self:
        self.probe.run(self.context(should_stop))
        return self

    def evaluate(self, checks: Sequence[Check] = ()) -> Evaluation:
        return self.probe.evaluate(tuple(self.samples.values()), checks, self.settings)

    def side(self, name: str) -> list[Sample]:
        return [s for s in self.samples.values() if s.key.side == name]


class Desk(Bench):
    """A bench with scripted engines."""

    def __init__(
        self,
        probe: Probe,
        fp16: Mapping[str, str],
        exl2: Mapping[str, str],
        settings: ProbeSettings | None = None,
    ) -> None:
        engines = ScriptedEngine(fp16), ScriptedEngine(exl2, bias=1.0), ScriptedEngine(fp16, bias=0.01)
        super().__init__(probe, *engines, settings or ProbeSettings())
