"""What the citation probe stored of each answer and record, and what counts as a hit of each rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from wfgy_triage.probes.paired import Numbers, Payload, PerSide, Sides
from wfgy_triage.store.records import Sample
from wfgy_triage.workload.citations import RECORD

FLUENCY_SIDE = "exl2_by_fp16"
"""How likely FP16 finds what EXL2 wrote."""
PRIMARY = "citation_valid_rate"
FLUENCY = "fluency_logprob"


def _settled(key: str) -> Callable[[Payload], bool | None]:
    return lambda answer: answer[key]


def _whole(key: str) -> Callable[[Payload], bool | None]:
    """A hit when there is any of these; of an answer that was cut off, more may have come."""
    return lambda answer: True if answer[key] else None if answer["truncated"] else False


RATES: Mapping[str, Callable[[Payload], bool | None]] = {
    PRIMARY: _settled("valid"),
    "citation_present_rate": _settled("present"),
    "citation_correct_rate": _settled("correct"),
    "cite_first_rate": _settled("cite_first"),
    "citation_dangling_rate": _whole("dangling"),
    "unsupported_quote_rate": _whole("unsupported_quotes"),
    "accuracy": _settled("right"),
    "runs_on_rate": lambda answer: bool(answer["runs_on"]),
}
"""Metric id to what counts as a hit; None where an answer was cut off before that was settled."""
CLASSES = (
    PRIMARY,
    "citation_present_rate",
    "citation_correct_rate",
    "cite_first_rate",
    "citation_dangling_rate",
)
"""The rates of the chart."""
NUMBERS = {"coverage": "coverage", "distinct_2": "distinct_2", "repetition": "repetition"}
"""Metric id to the number that is stored of an answer."""
RECORD_NUMBERS = {"field_completeness": "completeness"}
RECORD_RATES: Mapping[str, Callable[[Payload], bool | None]] = {
    "record_runs_on_rate": lambda answer: bool(answer["truncated"])
}


def answers_of(samples: Sequence[Sample]) -> Sides:
    """The cited answers and their comparisons."""
    return Sides.of([s for s in samples if not s.key.question.endswith(RECORD)])


def records_of(samples: Sequence[Sample]) -> Sides:
    """The JSON citation records."""
    return Sides.of([s for s in samples if s.key.question.endswith(RECORD)])


def numbers(sides: Sides, key: str) -> Numbers:
    """A number of every complete answer; answers that were cut off, and those without the number, are left out."""

    def of(side: Mapping[str, Payload]) -> dict[str, float]:
        return {q: float(p[key]) for q, p in side.items() if p[key] is not None and not p["truncated"]}

    return PerSide(of(sides.fp16), of(sides.exl2), of(sides.floor))


def fluency_of(samples: Sequence[Sample], sides: Sides) -> Numbers:
    """Mean token log-probability under FP16 of its own answers and of EXL2's (of the twin's where all are the same)."""
    own = {q: _mean(p["ref_logprob"]) for q, p in sides.pair.items()}
    other = {s.key.question: float(s.payload["mean_logprob"]) for s in samples if s.key.side == FLUENCY_SIDE}
    twin = {q: own[q] for q, p in sides.floor.items() if q in own and p["text"] == sides.fp16[q]["text"]}
    return PerSide(own, other, twin if len(twin) == len(own) else {})


def cited_place(answer: Payload) -> str:
    """The first passage that an answer cites; "not supplied" or "none" where there is no such."""
    cited = answer["cited"]
    if not cited:
        return "none"
    return str(cited[0]) if cited[0] in answer["places"] else "not supplied"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
