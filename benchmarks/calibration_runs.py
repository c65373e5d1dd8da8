"""Runs of a model against itself put together from a pool, and what they count up to. No model is asked here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.calibration_pool import Pass
from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import CHECK_CAUSES, OK, ONLY_WEIGHTS
from wfgy_triage.measure.statistics import clopper_pearson
from wfgy_triage.probes.base import Evaluation
from wfgy_triage.probes.paired import Payload
from wfgy_triage.result import Check, State
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.citations import RECORD, WITH_K

SAME, QUANTIZED = "same model", "quantized"
"""What stands on the EXL2 side of a run."""
ROLES = 3
"""Passes that a run is made of: one for each of FP16, EXL2 and the noise floor."""
HEALTHY = tuple(Check(name, OK, "The two sides are one model.") for name in (*CHECK_CAUSES, ONLY_WEIGHTS))
"""What the doctor says of a pair without a fault; without it no probe would blame the weights at all."""


@dataclass(frozen=True)
class Drawing:
    """One run: which questions, and from which pass each side is taken."""

    questions: tuple[str, ...]
    fp16: int
    exl2: int
    floor: int


def draw_runs(questions: Sequence[str], passes: int, runs: int, size: int, seed: int = 0) -> list[Drawing]:
    """Draw the runs: questions without replacement, three different passes.

    Args:
        questions: the whole set.
        passes: how many the pool has.
        runs: how many runs.
        size: questions a run.
        seed: of the drawing; the same gives the same runs.

    Raises:
        ValueError: too few questions or passes.
    """
    if passes < ROLES or size > len(questions):
        raise ValueError(f"{passes} passes of {len(questions)} questions do not give runs of {size}")
    rng, found = np.random.default_rng(seed), []
    for _ in range(runs):
        chosen = rng.choice(len(questions), size, replace=False)
        fp16, exl2, floor = (int(p) for p in rng.permutation(passes)[:ROLES])
        found.append(Drawing(tuple(questions[i] for i in chosen), fp16, exl2, floor))
    return found


def question_ids(found: Pass) -> list[str]:
    """The questions of a pass; one that is asked again as a record, or with more passages, counts once."""
    return [q for q in found["fp16"] if _question(q) == q]


def _question(name: str) -> str:
    """The question that a stored one belongs to."""
    return name.removesuffix(RECORD).partition(WITH_K)[0]


def compose(passes: Sequence[Pass], drawing: Drawing, exl2: str, compared: int | None = None) -> list[Sample]:
    """The samples of a run as the probe stores them.

    Token comparisons of a model with itself are exactly zero, and the ladder would then never count few changes as
    damage. A sound quantized model is not exactly FP16: its tokens always drift a little. So the same model is given
    the harder case: `pair` is FP16 against its twin, which does drift, and the floor is FP16 against itself: zero.

    Args:
        passes: of the pool.
        drawing: which questions, which pass for which side.
        exl2: what stands on the EXL2 side: `SAME` or `QUANTIZED`.
        compared: only so many questions are compared token by token and have a noise floor; all without it.
    """
    asked = set(drawing.questions)
    few = set(drawing.questions[:compared])
    one, other, third = (passes[n] for n in (drawing.fp16, drawing.exl2, drawing.floor))
    samples = [
        *_taken(one, "fp16", "fp16", asked),
        *_taken(one, "fp16_runs", "fp16_runs", asked),
        *_taken(third, "fp16_floor", "fp16_floor", few),
        *_taken(third, "fp16_runs", "fp16_floor_runs", few),
    ]
    if exl2 == SAME:
        return [
            *samples,
            *_taken(other, "fp16", "exl2", asked),
            *_taken(other, "fp16_runs", "exl2_runs", asked),
            *_taken(one, "pair_floor", "pair", few),
            *_taken(one, "pair_floor", "pair_floor", few, _with_itself),
        ]
    return [
        *samples,
        *(s for side in ("exl2", "exl2_runs", "exl2_by_fp16") for s in _taken(other, side, side, asked)),
        *(s for side in ("pair", "pair_floor") for s in _taken(one, side, side, few)),
    ]


def _taken(
    found: Pass, side: str, name: str, asked: set[str], change: Callable[[Payload], Payload] = lambda p: p
) -> list[Sample]:
    return [
        Sample(replace(s.key, side=name), change(s.payload))
        for question, samples in found.get(side, {}).items()
        if _question(question) in asked
        for s in samples
    ]


def _with_itself(compared: Payload) -> Payload:
    """The comparison of a model with itself on the same tokens."""
    size = len(compared["kl"])
    same = {"kl": [0.0] * size, "same_top": [1] * size, "cand_logprob": compared["ref_logprob"]}
    if "ref_entropy" in compared:
        same["cand_entropy"] = compared["ref_entropy"]
    return {**compared, **same}


def differing(samples: Iterable[Sample]) -> float | None:
    """Share of questions with another outcome on the EXL2 side than on FP16's; None without questions.

    Where nothing differs, nothing could have failed.
    """
    sides: dict[str, dict[str, Any]] = {"fp16": {}, "exl2": {}}
    for sample in samples:
        name = sample.key.question
        if sample.key.side in sides and _question(name) == name:
            sides[sample.key.side][name] = sample.payload["valid"]
    both = sides["fp16"].keys() & sides["exl2"].keys()
    return sum(sides["fp16"][q] != sides["exl2"][q] for q in both) / len(both) if both else None


def column(
    runs: Iterable[Sequence[Sample]], judge: Callable[[Sequence[Sample]], Evaluation]
) -> dict[str, Any]:
    """What the runs of a probe with one kind of EXL2 side came to: `tally`, and how much differed on average."""
    shares: list[float | None] = []
    evaluations = []
    for samples in runs:
        shares.append(differing(samples))
        evaluations.append(judge(samples))
    known = [s for s in shares if s is not None]
    return {**tally(evaluations), "differ": float(np.mean(known)) if known else None}


def blameless_causes() -> Mapping[str, str]:
    """Causes that do not blame the quantized side, with the reason.

    Raises:
        ValueError: the list names a cause that the fix map does not have.
    """
    rows = yaml.safe_load((Path(__file__).parent / "data" / "no_accusation.yaml").read_text(encoding="utf-8"))
    found = {str(row["id"]): str(row["why"]) for row in rows}
    if unknown := set(found) - set(load_catalog().causes):
        raise ValueError(f"no such cause: {', '.join(sorted(unknown))}")
    return found


def tally(evaluations: Iterable[Evaluation], level: float = 0.95) -> dict[str, Any]:
    """Count what runs came to.

    Returns:
        `runs`, `states` and `causes` (how often each), and for FAIL, FAIL with EXL2 accused, EXL2 accused in any
        state, and INCONCLUSIVE: `{"count", "share", "interval"}` with the Clopper-Pearson interval; the means of the
        primary metrics of FP16 and EXL2.
    """
    blameless, found = blameless_causes(), list(evaluations)
    fails = [e.state is State.FAIL for e in found]
    accused = [e.diagnosis.cause not in blameless for e in found]
    counted = {
        "fail": sum(fails),
        "fail_accused": sum(f and a for f, a in zip(fails, accused, strict=True)),
        "accused": sum(accused),
        "inconclusive": sum(e.state is State.INCONCLUSIVE for e in found),
    }
    return {
        "runs": len(found),
        "states": dict(Counter(str(e.state) for e in found)),
        "causes": dict(Counter(e.diagnosis.cause for e in found)),
        **{name: _share(count, len(found), level) for name, count in counted.items()},
        "primaries": _primaries(found),
    }


def _share(count: int, runs: int, level: float) -> dict[str, Any]:
    return {
        "count": count,
        "share": count / runs if runs else None,
        "interval": list(clopper_pearson(count, runs, level).bounds),
    }


def _primaries(found: Sequence[Evaluation]) -> dict[str, Any]:
    """Mean of each primary metric over the runs, on both sides; None where no run measured it."""
    values: dict[str, dict[str, list[float]]] = {}
    for metric in (m for e in found for m in e.metrics if m.primary):
        sides = values.setdefault(metric.id, {"fp16": [], "exl2": []})
        for side, value in (("fp16", metric.fp16), ("exl2", metric.exl2)):
            sides[side] += [] if value is None else [value]
    return {
        name: {side: float(np.mean(v)) if v else None for side, v in sides.items()}
        for name, sides in values.items()
    }
