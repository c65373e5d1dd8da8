"""Runs a probe on scripted engines and keeps its samples as the store would: one a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tests.probes.fakes import ScriptedEngine
from wfgy_triage.probes.base import Evaluation, Probe, ProbeContext, ProbeSettings
from wfgy_triage.result import Check
from wfgy_triage.store.records import Sample


class Desk:
    def __init__(
        self,
        probe: Probe,
        fp16: Mapping[str, str],
        exl2: Mapping[str, str],
        settings: ProbeSettings | None = None,
    ) -> None:
        self.probe = probe
        self.settings = settings or ProbeSettings()
        self.samples: dict[object, Sample] = {}
        self.stages: list[tuple[str, int, int]] = []
        self.fp16 = ScriptedEngine(fp16)
        self.exl2 = ScriptedEngine(exl2, bias=1.0)
        self.twin = ScriptedEngine(fp16, bias=0.01)

    def save(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            assert sample.key not in self.samples, "measured twice"
            self.samples[sample.key] = sample

    def run(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        self.probe.run(
            ProbeContext(
                fp16=self.fp16,
                exl2=self.exl2,
                open_floor=lambda: self.twin,
                settings=self.settings,
                done=frozenset(self.samples),
                stored=lambda: tuple(self.samples.values()),
                save=self.save,
                progress=lambda stage, label, done, total: self.stages.append((stage, done, total)),
                should_stop=should_stop,
            )
        )

    def evaluate(self, checks: Sequence[Check] = ()) -> Evaluation:
        return self.probe.evaluate(tuple(self.samples.values()), checks, self.settings)

    def side(self, name: str) -> list[Sample]:
        return [s for s in self.samples.values() if s.key.side == name]
