"""Question sets on which FP16 fails for the form of its answers; each function stores one and returns its id.

A form wants the days of the week written out; notes abbreviate them. The solved examples happen to show none of that,
so a model copies what the note says: it knows the day, and leaves the form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.bank_workshop import Workshop
from wfgy_triage.workload.stored import store_upload
from wfgy_triage.workload.upload import read_upload
from wfgy_triage.workload.upload_formats import UploadedFile

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NAMES = ("Vera", "Hugo", "Maria", "Oskar", "Rosa", "Peter", "Anna", "Emil", "Ida", "Frida")
QUESTIONS = 200
"""Enough that a change which mends them all can be verified."""
EXAMPLES = (("Clara", "Monday", 14), ("Anton", "Friday", 9), ("Lena", "Wednesday", 16))
VISIT: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 60},
        "day": {"enum": list(DAYS)},
        "hour": {"type": "integer"},
    },
    "required": ["name", "day", "hour"],
    "additionalProperties": False,
}


def days_abbreviated(shop: Workshop) -> str:
    """Healthy at 6 bpw; the form wants days written out, the notes abbreviate them, nothing says so."""
    return _stored(shop, VISIT)


def days_in_no_grammar(shop: Workshop) -> str:
    """The same with a schema that no grammar can keep, and a model that heeds no prompt frame either."""
    return _stored(shop, {**VISIT, "not": {"required": ["weekday"]}})


def _rows(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, day, hour in EXAMPLES:
        yield {
            "example": True,
            "text": _note(name, day, hour),
            "record": _record(name, day, hour),
            "schema": schema,
        }
    for number in range(QUESTIONS):
        name, day, hour = NAMES[number % 10], DAYS[number % 7], 8 + number % 9
        text = _note(name, day[:3], hour)
        yield {
            "id": f"visit-{number + 1}",
            "text": text,
            "record": _record(name, day, hour),
            "schema": schema,
        }


def _note(name: str, day: str, hour: int) -> str:
    return f"{name} comes on {day} at {hour}."


def _record(name: str, day: str, hour: int) -> dict[str, Any]:
    return {"name": name, "day": day, "hour": hour}


def _stored(shop: Workshop, schema: Mapping[str, Any]) -> str:
    """The set as a user would give it: a file of JSON lines, read and kept as an upload is."""
    raw = "\n".join(json.dumps(row) for row in _rows(schema)).encode()
    return store_upload(shop.home, read_upload([UploadedFile("visits.jsonl", raw)])).id
