"""What the JSON probe stored of each answer, and what counts as a hit of each rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wfgy_triage.probes.paired import Payload

Outcome = Callable[[Payload], bool | None]
"""Whether an answer is a hit; None where it was cut off before that was settled."""


def _fits(answer: Payload) -> bool | None:
    undecided = answer["truncated"] and not answer["never_fits"]
    return None if undecided else answer["schema_valid"]


def _parses(answer: Payload) -> bool | None:
    undecided = answer["truncated"] and not answer["never_parses"]
    return None if undecided else answer["parse_valid"]


def _matches(answer: Payload) -> bool | None:
    undecided = answer["truncated"] and not answer["never_fits"]
    return None if undecided else bool(answer["value_matches"])


def _whole(*keys: str) -> Outcome:
    """A hit when any of these is set, for answers that were not cut off."""
    return lambda answer: None if answer["truncated"] else any(answer[key] for key in keys)


PRIMARY = "schema_valid_rate"
RATES: Mapping[str, Outcome] = {
    PRIMARY: _fits,
    "parse_valid_rate": _parses,
    "value_match_rate": _matches,
    "trailing_text_rate": _whole("trailing_text"),
    "key_drift_rate": _whole("missing_keys", "extra_keys"),
    "type_drift_rate": _whole("type_drift"),
    "enum_drift_rate": _whole("enum_drift"),
    "truncated_rate": lambda answer: bool(answer["truncated"]),
}
"""Metric id to what counts as a hit."""


def usable(answer: Payload) -> bool:
    """A complete answer that fits the schema.

    Unlike the rates, an answer that was cut off counts here: it is not called invalid, but where FP16 gave a whole
    record it is a change, and the noise rung of the ladder asks about changes.
    """
    return bool(answer["schema_valid"])


def right(answer: Payload) -> bool:
    """Whether the record says what the note says."""
    return bool(answer["value_matches"])


LOSSES: Mapping[str, Callable[[Payload], bool]] = {PRIMARY: usable, "value_match_rate": right}
"""Metrics on which a loss is told from noise, what decides first, and which answers are good by each."""
