"""The time to the first word of answers that came from servers."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from wfgy_triage.catalog import load_catalog
from wfgy_triage.probes.paired import Payload
from wfgy_triage.result import Metric

FIRST_WORD = "server_first_word"


def first_word_metric(
    fp16: Mapping[str, Payload],
    exl2: Mapping[str, Payload],
    again: Mapping[str, Payload],
    level: float,
) -> tuple[Metric, ...]:
    """The median over questions of each side that is asked on a server, in seconds; no metric where no side is.

    With two servers the questions are those that have a time on both. The noise floor is how far EXL2's median moves
    when the same questions are asked again. No difference is given: the load of a server at that time is part of it.

    Args:
        fp16: stored answers by question.
        exl2: the same of EXL2.
        again: the same of EXL2, asked a second time.
        level: told with the metric; it has no interval.
    """
    one, other, repeated = (_seconds(answers) for answers in (fp16, exl2, again))
    if one and other:
        both = one.keys() & other.keys()
        one, other = ({q: side[q] for q in both} for side in (one, other))
    if not one and not other:
        return ()
    twice = other.keys() & repeated.keys()
    text = load_catalog().metrics[FIRST_WORD]
    moved = median(repeated[q] for q in twice) - median(other[q] for q in twice) if twice else None
    return (
        Metric(
            id=FIRST_WORD,
            label=text.label,
            unit=text.unit,
            fp16=median(one.values()) if one else None,
            exl2=median(other.values()) if other else None,
            level=level,
            n=len(one or other),
            floor=None if moved is None else abs(moved),
        ),
    )


def _seconds(answers: Mapping[str, Payload]) -> dict[str, float]:
    found = {q: a.get("seconds_to_first") for q, a in answers.items()}
    return {q: float(v) for q, v in found.items() if v is not None}
