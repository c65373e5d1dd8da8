"""Citation records in JSON against the passages that were given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wfgy_triage.measure.citations import REQUIRED_FIELDS, classify_record
from wfgy_triage.measure.strict_json import find_json

MAX_RECORDS = 64


@dataclass(frozen=True)
class RecordFaults:
    """What is wrong with the records of an answer.

    Attributes:
        cited: snippet ids that they name, each once.
        ok: every record is complete, names a passage that was given, quotes it, and names its section; None when
            the answer was cut off before a record was complete.
        fields: mean share of the required fields that are filled; None as for `ok`.
        failure: the first fault's class; empty when ok.
        told: the same in plain words.
    """

    cited: tuple[str, ...]
    ok: bool | None
    fields: float | None
    failure: str
    told: str


def record_faults(
    text: str, supplied: Mapping[str, str], sections: Mapping[str, str], truncated: bool
) -> RecordFaults:
    """Read the records of an answer.

    Args:
        text: one record, a list of records, or an object with a list `citations`; text around it is ignored.
        supplied: text of every passage, by id.
        sections: section of every passage, by id; an empty one is not compared.
        truncated: the answer ended at the token limit.
    """
    records = _records(text)
    if not records:
        if truncated:
            return RecordFaults(
                (), None, None, "truncated", "The answer was cut off before a citation record."
            )
        return RecordFaults((), False, 0.0, "no_citation", "There is no citation record.")
    shares, cited, faults = [], [], []
    for record in records[:MAX_RECORDS]:
        outcome = classify_record(json.dumps(record), supplied, sections)
        shares.append(outcome.completeness)
        snippet = record.get("snippet_id") if isinstance(record, dict) else None
        if isinstance(snippet, str) and snippet:
            cited.append(snippet[:64])
        section = sections.get(str(snippet), "")
        if outcome.missing:
            faults.append(("incomplete_record", "A citation record has empty or missing fields."))
        elif outcome.dangling:
            faults.append(("cites_unknown_passage", "A record names a passage that was not given."))
        elif outcome.offsets is None:
            faults.append(("quote_elsewhere", "A record quotes words that its passage does not hold."))
        elif section and not outcome.section_matches:
            faults.append(("wrong_section", "A record names another section than its passage's."))
    failure, told = faults[0] if faults else ("", "The citation records are complete and match.")
    return RecordFaults(tuple(dict.fromkeys(cited)), not faults, sum(shares) / len(shares), failure, told)


def _records(text: str) -> list[Any]:
    found = find_json(text)
    value = found.value if found is not None else None
    if isinstance(value, dict) and isinstance(value.get("citations"), list):
        value = value["citations"]
    if isinstance(value, dict):
        return [value] if any(name in value for name in REQUIRED_FIELDS) else []
    return value if isinstance(value, list) else []
