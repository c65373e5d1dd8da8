"""What the acceptance probe stored, sorted: greedy answers, λ runs by question, the k sweep, distances of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wfgy_triage.measure.stability import RunAnswer, label_run, label_runs
from wfgy_triage.measure.tension import Lambda
from wfgy_triage.probes.items import RUNS, arm_side
from wfgy_triage.probes.paired import Payload, Sides
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.upload_questions import WORDINGS

SIDES = ("fp16", "exl2")
DISTANCE = "distance"
"""Side of the ΔS between the answers of two sides to one question."""
K_SWEEP = (5, 10, 20)
"""Passages in the prompt, the values that the RAG recovery page asks to vary."""
SEEDS = 2
"""λ_observe: the first `WORDINGS` wordings of a question, each under so many seeds; with fewer it has no λ."""
SWEEP_QUESTIONS = 6
"""Questions of the sweep: the first ones. Twenty passages make long prompts."""


def sweep_side(side: str, k: int) -> str:
    """Under which side the answers with k passages are stored."""
    return f"{side}_k{k}"


@dataclass(frozen=True)
class Stored:
    """The samples of a run by what they are for; labels and distances by question."""

    sides: Sides
    distances: Mapping[str, Payload]
    runs: Mapping[str, Mapping[str, tuple[Lambda, ...]]]
    sweep: Mapping[str, Mapping[int, Mapping[str, Lambda]]]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Stored:
        """Sort samples; their order does not matter."""
        sides = Sides.of(samples)
        samples = sorted(samples, key=lambda s: s.key.question)
        return cls(
            sides=sides,
            distances={s.key.question: s.payload for s in samples if s.key.side == DISTANCE},
            runs={side: _labels(samples, arm_side(side, RUNS)) for side in (*SIDES, "fp16_floor")},
            sweep={
                "fp16": {k: _swept(samples, "fp16", k, sides.fp16) for k in K_SWEEP},
                "exl2": {k: _swept(samples, "exl2", k, sides.exl2) for k in K_SWEEP},
            },
        )


def read_run(payload: Payload) -> RunAnswer:
    """A stored answer as λ_observe compares it."""
    return RunAnswer(
        tuple(payload["claim"]), frozenset(payload["sources"]), payload["truncated"] or not payload["claim"]
    )


def _labels(samples: Sequence[Sample], side: str) -> dict[str, tuple[Lambda, ...]]:
    """Labels of the runs of each question on one side, wordings first, then seeds."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        # Sessions of before asked every wording that there is.
        if sample.key.side == side and sample.key.paraphrase < WORDINGS:
            found.setdefault(sample.key.question, []).append(sample)
    return {
        question: label_runs(
            [read_run(s.payload) for s in sorted(rows, key=lambda s: (s.key.paraphrase, s.key.seed))]
        )
        for question, rows in sorted(found.items())
    }


def _swept(samples: Sequence[Sample], side: str, k: int, base: Mapping[str, Payload]) -> dict[str, Lambda]:
    """Labels of the answers with k passages against the same side's own answer with few."""
    return {
        s.key.question: label_run(read_run(s.payload), read_run(base[s.key.question]))
        for s in samples
        if s.key.side == sweep_side(side, k) and s.key.question in base
    }
