"""Runs of the search probe whose sides are one model: asked in the same words, or each side in its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.calibration_pool import Engines
from benchmarks.calibration_runs import SAME
from benchmarks.drawn import Reworded, Sentences, Vectors
from wfgy_triage.engines.sentences import load_sentence_encoder
from wfgy_triage.probes.base import ProbeContext, ProbeSettings
from wfgy_triage.probes.retrieval_plan import make_plan
from wfgy_triage.probes.retrieval_samples import FACTS
from wfgy_triage.probes.wrong_snippet import WrongSnippet
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.corpus import load_corpus

Wording = Mapping[str, str]


@dataclass(frozen=True)
class SearchRun:
    """One run: its questions, and the wordings of FP16, EXL2 and the floor, by default wording."""

    questions: frozenset[str]
    wordings: tuple[Wording, Wording, Wording]


class Search:
    """Makes the samples of search runs; every text is embedded once a model.

    Args:
        engines: the models.
        questions: how many of the set are drawn from; the tuning questions are never among them.
        load_encoder: loads the independent sentence model.
    """

    def __init__(
        self, engines: Engines, questions: int, load_encoder: Callable[[], Any] = load_sentence_encoder
    ) -> None:
        self._fp16, self._twin, self._exl2 = (Vectors(e) for e in (engines.fp16, engines.twin, engines.exl2))
        encoder = Sentences(load_encoder)
        self.probe = WrongSnippet(lambda: encoder)
        self._settings = ProbeSettings(questions)
        self.questions = [q.id for q in make_plan(self._settings).judged]
        self._corpus = {q.id: q for q in load_corpus().questions}
        self._plain: dict[str, tuple[Sample, ...]] = {}

    def draw(self, rng: np.random.Generator, size: int) -> SearchRun:
        """Draw questions without replacement, and for each a different wording for every side."""
        chosen = rng.choice(len(self.questions), size, replace=False)
        wordings: tuple[dict[str, str], ...] = ({}, {}, {})
        for name in self.questions:
            question = self._corpus[name]
            places = rng.permutation(len(question.paraphrases))[:3]
            for wording, place in zip(wordings, places, strict=True):
                wording[question.text] = question.paraphrases[place]
        return SearchRun(frozenset(self.questions[i] for i in chosen), wordings)  # type: ignore[arg-type]

    def samples(self, run: SearchRun, exl2: str, words: bool) -> list[Sample]:
        """What the probe stores of the run's questions.

        Args:
            run: the run.
            exl2: what stands on the EXL2 side; `SAME` is the twin.
            words: whether each side asks in its own words.
        """
        if words:
            found = self._measured(exl2, run.wordings)
        elif exl2 in self._plain:
            found = self._plain[exl2]
        else:
            found = self._plain[exl2] = self._measured(exl2, ({}, {}, {}))
        return [s for s in found if s.key.question in run.questions or s.key.question == FACTS]

    def _measured(self, exl2: str, wordings: tuple[Wording, Wording, Wording]) -> tuple[Sample, ...]:
        ours, theirs, third = wordings
        saved: list[Sample] = []
        # The floor is FP16 itself, not the twin: with the same words it changes nothing, which is the harder case.
        floor = Reworded(self._fp16, third)
        self.probe.run(
            ProbeContext(
                fp16=Reworded(self._fp16, ours),
                exl2=Reworded(self._twin if exl2 == SAME else self._exl2, theirs),
                open_floor=lambda: floor,
                settings=self._settings,
                done=frozenset(),
                stored=lambda: tuple(saved),
                save=lambda samples: saved.extend(samples),
                progress=lambda stage, label, done, total: None,
                should_stop=lambda: False,
            )
        )
        return tuple(saved)
