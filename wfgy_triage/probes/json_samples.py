"""What the JSON probe stored, sorted by side, and what counts as a hit of each rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.store.records import Sample

Payload = Mapping[str, Any]
Outcome = Callable[[Payload], bool]

PRIMARY = "schema_valid_rate"
RATES: Mapping[str, Outcome] = {
    PRIMARY: lambda p: p["schema_valid"],
    "parse_valid_rate": lambda p: p["parse_valid"],
    "value_match_rate": lambda p: bool(p["value_matches"]),
    "trailing_text_rate": lambda p: p["trailing_text"],
    "key_drift_rate": lambda p: bool(p["missing_keys"] or p["extra_keys"]),
    "type_drift_rate": lambda p: bool(p["type_drift"]),
    "enum_drift_rate": lambda p: bool(p["enum_drift"]),
}
"""Metric id to what counts as a hit, over answers that were not cut off."""


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

    def complete(self, other: Mapping[str, Payload]) -> list[str]:
        """Questions whose answer was cut off neither on the FP16 side nor in `other`."""
        return [
            q for q in self.fp16 if q in other and not self.fp16[q]["truncated"] and not other[q]["truncated"]
        ]
