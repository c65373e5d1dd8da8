"""What the JSON probe stored, sorted by side, and what counts as a hit of each rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.store.records import Sample

Payload = Mapping[str, Any]
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
}
"""Metric id to what counts as a hit."""


@dataclass(frozen=True)
class Sides:
    """Payloads by question id for each kind of sample."""

    fp16: Mapping[str, Payload]
    exl2: Mapping[str, Payload]
    floor: Mapping[str, Payload]
    pair: Mapping[str, Payload]
    pair_floor: Mapping[str, Payload]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Sides:
        """Sort stored samples by side; questions in the order of their ids."""
        found: dict[str, dict[str, Payload]] = {
            side: {} for side in ("fp16", "exl2", "fp16_floor", "pair", "pair_floor")
        }
        for sample in samples:
            found[sample.key.side][sample.key.question] = sample.payload
        return cls(*(dict(sorted(found[side].items())) for side in found))

    @property
    def both(self) -> list[str]:
        """Questions answered on both sides."""
        return [q for q in self.fp16 if q in self.exl2]

    def decided(self, metric: str, other: Mapping[str, Payload]) -> list[tuple[bool, bool]]:
        """Outcomes (FP16, other) of the questions where both are settled."""
        hit = RATES[metric]
        pairs = [(hit(self.fp16[q]), hit(other[q])) for q in self.fp16 if q in other]
        return [(a, b) for a, b in pairs if a is not None and b is not None]
