"""An engine whose answers depend on the seed of the request, as answers at a temperature do."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.calibration_pool import Engines, Pass, Pool
from tests.probes.fakes import ScriptedEngine
from wfgy_triage.engines.base import Completion, GenerationRequest
from wfgy_triage.probes.base import Probe, ProbeSettings


class DrawingEngine(ScriptedEngine):
    """Gives the right answer in a share of the draws, else the other one; remembers what it was asked."""

    def __init__(
        self, right: Mapping[str, str], wrong: Mapping[str, str], share: float, bias: float = 0.0
    ) -> None:
        super().__init__(right, bias)
        self._wrong, self._share = wrong, share
        self.requests: list[GenerationRequest] = []

    def generate(
        self, requests: Sequence[GenerationRequest], should_stop: Callable[[], bool] | None = None
    ) -> Iterator[Completion]:
        for request in requests:
            self.requests.append(request)
            right = np.random.default_rng(request.seed).random() < self._share
            source = self.answers if right else self._wrong
            one = ScriptedEngine(source)
            yield from one.generate([request], should_stop)


class BagEncoder:
    """Unit vectors of words, the same for a text whatever else is encoded."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(texts), 64))
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                row[zlib.crc32(word.encode()) % 64] += 1
            row[0] += 0.01
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def passes_of(
    folder: Path,
    probe: Probe,
    right: Mapping[str, str],
    wrong: Mapping[str, str],
    shares: tuple[float, float],
    questions: int,
    count: int = 3,
) -> tuple[Pass, ...]:
    """Passes of a pool; `shares` of right answers are those of FP16 and of EXL2."""
    fp16, exl2 = shares
    engines = Engines(
        DrawingEngine(right, wrong, fp16),
        DrawingEngine(right, wrong, fp16, bias=0.01),
        DrawingEngine(right, wrong, exl2, bias=1.0),
    )
    return Pool(folder, probe, ProbeSettings(questions), lambda: engines).passes(count)
