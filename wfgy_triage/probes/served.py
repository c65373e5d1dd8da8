"""What is said and measured of a side that is asked on a server, the same for every probe.

A server has a noise floor of its own, as an engine has that adds in no fixed order: it is asked the same questions a
second time (`exl2_again`), and what it changes against itself is not damage. What a server cannot give is NOT
MEASURED, with that reason beside each metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from wfgy_triage.evidence import RateEvidence
from wfgy_triage.probes.first_word import first_word_metric
from wfgy_triage.probes.paired import Payload, distance_metric
from wfgy_triage.result import Metric, State
from wfgy_triage.store.records import Sample

AGAIN = "exl2_again"
"""Side of the second answers of an EXL2 model that may answer otherwise when it is asked again."""
REPEAT = "server_repeat_rate"
NAMES = {"fp16": "FP16", "exl2": "EXL2"}


def of_side(samples: Sequence[Sample], side: str) -> dict[str, Payload]:
    """Payloads of a side by question."""
    return {s.key.question: s.payload for s in samples if s.key.side == side}


def served_sides(samples: Sequence[Sample]) -> tuple[str, ...]:
    """`fp16`, `exl2`: the sides whose answers came from a server."""
    found = {s.key.side for s in samples if s.payload.get("served")}
    return tuple(side for side in NAMES if side in found)


def no_scores(samples: Sequence[Sample]) -> str:
    """Why tokens are not compared; empty where both sides are loaded here."""
    names = " and ".join(NAMES[side] for side in served_sides(samples))
    if not names:
        return ""
    return f"Not measured: {names} is asked on a server, which gives no probabilities of a given text."


def with_server_facts(
    metrics: Sequence[Metric], samples: Sequence[Sample], level: float
) -> tuple[Metric, ...]:
    """The metrics of a run, with the reason where a server could not give what they need, and EXL2's own noise.

    Args:
        metrics: of the probe; those that are judged keep their own words.
        samples: everything stored for the run.
        level: two-sided level of the intervals.
    """
    reason, repeated = no_scores(samples), _repeat_metric(samples, level)
    if not reason:
        return (*metrics, *repeated)
    told = [
        replace(m, note=reason) if m.state is State.NOT_MEASURED and m.gate is None and not m.primary else m
        for m in metrics
    ]
    first, second, again = (of_side(samples, side) for side in ("fp16", "exl2", AGAIN))
    return (*told, *first_word_metric(first, second, again, level), *repeated)


def _repeat_metric(samples: Sequence[Sample], level: float) -> tuple[Metric, ...]:
    """Share of questions that the EXL2 side answers in other words when it is asked again."""
    first, second = of_side(samples, "exl2"), of_side(samples, AGAIN)
    changed = {q: float(first[q]["text"] != second[q]["text"]) for q in first if q in second}
    return (distance_metric(REPEAT, changed, {}, level),) if changed else ()


def with_again(
    evidence: RateEvidence, samples: Sequence[Sample], useful: Callable[[Payload], bool]
) -> RateEvidence:
    """The evidence with the questions whose answer is of use once and not the other time EXL2 was asked.

    As it was, where EXL2 was asked once.
    """
    first, second = of_side(samples, "exl2"), of_side(samples, AGAIN)
    both = [q for q in first if q in second]
    if not both:
        return evidence
    flips = sum(useful(first[q]) != useful(second[q]) for q in both)
    return replace(evidence, again_flips=flips, again_pairs=len(both))


def again_shift(samples: Sequence[Sample], read: Callable[[Payload], float | None]) -> float | None:
    """|Mean difference| of a number between the two times that EXL2 was asked; None where it was asked once."""
    found = _again_differences(samples, read)
    return abs(float(np.mean(found))) if found else None


def again_spread(samples: Sequence[Sample], read: Callable[[Payload], float | None]) -> float | None:
    """The same as mean |difference|, where FP16's own noise is one too."""
    found = _again_differences(samples, read)
    return float(np.mean(np.abs(found))) if found else None


def _again_differences(samples: Sequence[Sample], read: Callable[[Payload], float | None]) -> list[float]:
    first, second = of_side(samples, "exl2"), of_side(samples, AGAIN)
    pairs = [(read(first[q]), read(second[q])) for q in first if q in second]
    return [b - a for a, b in pairs if a is not None and b is not None]


def latency_gains(samples: Sequence[Sample]) -> tuple[dict[str, float], dict[str, float]]:
    """Share of the time for each further token that EXL2 saves, by question; and the server's own noise of that.

    Of two servers alone; what is computed here is timed apart (`latency.py`).
    """
    if set(served_sides(samples)) != set(NAMES):
        return {}, {}
    fp16, exl2, again = (_times(of_side(samples, side)) for side in ("fp16", "exl2", AGAIN))
    gains = {q: 1 - exl2[q] / fp16[q] for q in fp16 if q in exl2}
    noise = {q: abs(1 - again[q] / exl2[q]) for q in exl2 if q in again}
    return gains, noise


def _times(answers: Mapping[str, Payload]) -> dict[str, float]:
    found = {q: a.get("seconds_a_token") for q, a in answers.items()}
    return {q: float(v) for q, v in found.items() if v}
