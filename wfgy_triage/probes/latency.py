"""Time for each further token of both sides, in turn on one device: greedy, one answer at a time, warmed up.

A question is asked in rounds. In each round a side is asked for the first token alone and then for the whole answer,
and has forgotten the prompt both times: what lies between the two is the time of the further tokens. The first round
of a question warms up and is not counted; the sides take turns at beginning. A sample holds all rounds of a question,
so a stopped run goes on with the next one. Two sides that are asked on servers are timed by their own answers
(`served.py`); of any other pair it is stored why it was not timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeGuard

import numpy as np

from wfgy_triage.engines.base import Completion, Engine, GenerationRequest, TimedEngine
from wfgy_triage.probes.base import ProbeContext
from wfgy_triage.probes.items import Item, fits
from wfgy_triage.probes.paired import Payload, PerSide, distance_metric, mean_metric, missing_metric
from wfgy_triage.probes.served import NAMES, latency_gains, served_sides
from wfgy_triage.result import Metric
from wfgy_triage.store.records import Sample, SampleKey

TIMED = "timed"
"""Side of the samples with the times of a question; as a question of its own: why nothing was timed."""
GAIN = "latency_gain"
QUESTIONS = 10
"""Questions with times: enough for an interval, and few enough for a minute or two on a small model."""
REPEATS = 5
"""Counted rounds of a question, of which the median is taken."""
LEAST_TOKENS = 8
"""Shorter answers tell little about the time of a token; their questions are passed over."""

Clock = Callable[[], float]
"""Seconds from any beginning."""
Refusal = Literal["exl2", "fp16", "device", "in_turn"]
"""The side whose speed says nothing; or that they run in different places, or not at the same time."""
REFUSED: Mapping[str, str] = {
    "exl2": "The reference engine does not run ExLlamaV2's kernels, so its speed says nothing about them.",
    "fp16": "FP16 does not compute in 16-bit numbers on the GPU here, so its speed is no baseline.",
    "device": "FP16 and EXL2 run on different devices here, so their times cannot be compared.",
    "in_turn": "FP16 and EXL2 are loaded one at a time here, so they cannot be timed side by side.",
}
_REFUSED = "refused"
"""Key of the sample that says why nothing was timed."""
NOT_TIMED = "The answers were not timed."
SERVERS = "Server against server, as their streams arrived here: network and load are part of it."
NO_COUNTS = "The times of two servers are compared by the token; here a server counts none."
ONE_SERVER = (
    "Times are compared between two servers, or between two models that run here; here the answers of one side came"
    " from a server, and those of the other did not."
)
TOO_SHORT = f"No answer had {LEAST_TOKENS} tokens on both sides, which it takes to time them."


@dataclass(frozen=True)
class Latency:
    """What is known of the time that EXL2 saves.

    Attributes:
        gains: share of FP16's time for each further token that EXL2 saves, by question.
        noise: the same of a server against itself.
        note: against what it was measured, or why it was not.
    """

    gains: Mapping[str, float]
    noise: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def time_answers(
    context: ProbeContext, symptom: str, items: Sequence[Item], label: str, clock: Clock
) -> None:
    """Time the first questions whose answers are long enough; skips what is stored, stops when asked.

    Args:
        context: engines, store and settings of the run.
        symptom: id of the probe, part of every sample's key.
        items: what is asked, in the order of the run.
        label: what the page calls the stage.
        clock: what the time is read from.
    """
    refusal = SampleKey(symptom, TIMED, 0, context.settings.seed, TIMED)
    served = context.fp16.capabilities.served or context.exl2.capabilities.served
    # FP16's times of another run say nothing about this one's, so nothing is timed ahead.
    if served or context.ahead or refusal in context.done:
        return
    keys = {i: SampleKey(symptom, i.question, i.paraphrase, i.seed, TIMED) for i in items}
    todo = [i for i in items if keys[i] not in context.done]
    wanted, timed = min(QUESTIONS, len(items)), len(_times_of(context.stored()))
    if not todo or timed >= wanted or context.should_stop():
        return
    sides = _timed_sides(context)
    if sides is None:
        return
    if not isinstance(sides, dict):
        context.save([Sample(refusal, {_REFUSED: sides})])
        return
    todo = [i for i in todo if all(fits(i, engine) for engine in sides.values())]
    baseline = {"engine": sides["fp16"].info.engine, "dtype": sides["fp16"].info.compute_dtype}
    for item in todo:
        if timed >= wanted:
            break
        context.progress(TIMED, label, timed, wanted)
        payload = _time_question(sides, item.request, context.should_stop, clock)
        if payload is None:
            return
        context.save([Sample(keys[item], {**payload, "baseline": baseline})])
        timed += "exl2" in payload
    context.progress(TIMED, label, wanted, wanted)


def latency_of(samples: Sequence[Sample]) -> Latency:
    """Read the times that are stored; their order does not matter."""
    if served := served_sides(samples):
        gains, noise = latency_gains(samples)
        if gains:
            return Latency(gains, noise, SERVERS)
        return Latency({}, note=NO_COUNTS if len(served) == len(NAMES) else ONE_SERVER)
    asked = {s.key.question: s.payload for s in samples if s.key.side == TIMED}
    if refusal := next((p[_REFUSED] for p in asked.values() if _REFUSED in p), None):
        return Latency({}, note=REFUSED[refusal])
    times = _times_of(samples)
    if not times:
        return Latency({}, note=TOO_SHORT if asked else NOT_TIMED)
    taken = _medians(times, "seconds_a_token")
    gains = {q: 1 - taken.exl2[q] / taken.fp16[q] for q in taken.both}
    return Latency(gains, note=_against(times, len(asked) - len(times)))


def latency_metric(samples: Sequence[Sample], level: float) -> Metric:
    """The rule on time saved.

    Args:
        samples: everything stored for the run.
        level: two-sided level of the intervals.
    """
    found = latency_of(samples)
    if not found.gains:
        return missing_metric(GAIN, found.note, level, True)
    metric = distance_metric(GAIN, found.gains, found.noise, level, True)
    return replace(metric, note=f"{metric.note} {found.note}".strip())


def time_metrics(samples: Sequence[Sample], level: float) -> tuple[Metric, ...]:
    """What both sides took, in milliseconds; empty where they were not timed here."""
    times = _times_of(samples)
    shown = {"time_to_first": "seconds_to_first", "time_a_token": "seconds_a_token"}
    found = {name: _medians(times, key, 1e3) for name, key in shown.items()} if times else {}
    return tuple(mean_metric(name, numbers, level) for name, numbers in found.items())


def _tells(engine: Engine) -> TypeGuard[TimedEngine]:
    return engine.capabilities.speed_tells


def _timed_sides(context: ProbeContext) -> dict[str, TimedEngine] | Refusal | None:
    """The engines to time, or why their times would say nothing; None where the twin has no room at present.

    Where the baseline computes in 32-bit numbers, so that its text is reproducible, its twin in 16 bits is what EXL2
    is held against: anything else would make every EXL2 model look fast.
    """
    exl2 = context.exl2
    if exl2.capabilities.in_turn:
        return "in_turn"
    if not _tells(exl2):
        return "exl2"
    baseline = context.fp16 if context.fp16.capabilities.speed_tells else context.open_floor()
    if not baseline.capabilities.generate:
        return None
    if not _tells(baseline):
        return "fp16"
    return {"fp16": baseline, "exl2": exl2} if baseline.info.device == exl2.info.device else "device"


@dataclass(frozen=True)
class _Round:
    """One round of a side: generated tokens with the end token, seconds to the first and for each further one."""

    tokens: int
    first: float
    further: float


def _time_question(
    sides: Mapping[str, TimedEngine],
    request: GenerationRequest,
    should_stop: Callable[[], bool],
    clock: Clock,
) -> dict[str, Any] | None:
    """The times of a question, or that it is too short; None where the run was stopped."""
    rounds: dict[str, list[_Round]] = {side: [] for side in sides}
    for number in range(REPEATS + 1):
        for side in sorted(sides, reverse=number % 2 == 1):
            found = _time_round(sides[side], request, should_stop, clock)
            if found is None:
                return None
            if found.tokens < LEAST_TOKENS:
                return {"too_short": True}
            if number:
                rounds[side].append(found)
    return {
        side: {
            "tokens": min(r.tokens for r in counted),
            "seconds_to_first": [round(r.first, 7) for r in counted],
            "seconds_a_token": [round(r.further, 7) for r in counted],
        }
        for side, counted in rounds.items()
    }


def _time_round(
    engine: TimedEngine, request: GenerationRequest, should_stop: Callable[[], bool], clock: Clock
) -> _Round | None:
    first = _time_call(engine, replace(request, max_new_tokens=1), should_stop, clock)
    whole = _time_call(engine, request, should_stop, clock) if first else None
    if first is None or whole is None:
        return None
    completion, seconds = whole
    # The end token is no part of an answer, but the model has computed it.
    tokens = len(completion.token_ids) + (completion.finish_reason == "stop")
    return _Round(tokens, first[1], (seconds - first[1]) / max(1, tokens - 1))


def _time_call(
    engine: TimedEngine, request: GenerationRequest, should_stop: Callable[[], bool], clock: Clock
) -> tuple[Completion, float] | None:
    """An answer and the seconds that it took; None where it was stopped. Reading the tokens waits for the GPU."""
    engine.forget_prompts()
    begun = clock()
    answers = list(engine.generate([request], should_stop))
    seconds = clock() - begun
    if not answers or answers[0].finish_reason == "cancelled":
        return None
    return answers[0], seconds


def _times_of(samples: Sequence[Sample]) -> dict[str, Payload]:
    """The stored times by question, in the order of their ids."""
    found = {s.key.question: s.payload for s in samples if s.key.side == TIMED and "exl2" in s.payload}
    return dict(sorted(found.items()))


def _medians(times: Mapping[str, Payload], key: str, scale: float = 1.0) -> PerSide[float]:
    """Medians over the rounds of each question."""
    fp16, exl2 = ({q: scale * float(np.median(t[side][key])) for q, t in times.items()} for side in NAMES)
    return PerSide(fp16, exl2, {})


def _against(times: Mapping[str, Payload], short: int) -> str:
    """Against what it was measured, and what was left out."""
    named = {(t["baseline"]["engine"], t["baseline"]["dtype"]) for t in times.values()}
    baselines = " and ".join(f"{engine} ({dtype})" for engine, dtype in sorted(named))
    said = f"Timed here, one answer at a time, against FP16 in {baselines}."
    return f"{said} Questions left out because an answer was too short: {short}." if short else said
