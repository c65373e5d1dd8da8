"""Question sets on which FP16 fails for the form of its answers; each function stores one and returns its id.

Visits: a form wants the days of the week written out; notes abbreviate them. The solved examples happen to show none of
that, so a model copies what the note says: it knows the day, and leaves the form.

Trips: one solved example is all that says which fields a record has, and no grammar keeps the schema, which has a rule
with `if`. From one example the demo model does not see that the seats belong to it; told the fields, it does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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
CITIES = ("Berlin", "Tokyo", "Paris", "Lima", "Oslo", "Cairo", "Rome")
TRIP: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 60},
        "to": {"type": "string", "maxLength": 60},
        "day": {"enum": list(DAYS)},
        "seats": {"type": "integer"},
    },
    "required": ["name", "to", "day", "seats"],
    "additionalProperties": False,
    # On Sundays a smaller bus goes.
    "if": {"properties": {"day": {"const": "Sunday"}}},
    "then": {"properties": {"seats": {"maximum": 4}}},
}
FIELDS = "\nFields: day, name, seats, to."
"""How a note ends whose writer states the form; in the order in which records are written."""


def days_abbreviated(shop: Workshop) -> str:
    """Healthy at 6 bpw; the form wants days written out, the notes abbreviate them, nothing says so."""
    return _stored(shop, VISIT)


def days_in_no_grammar(shop: Workshop) -> str:
    """The same with a schema that no grammar can keep, and a model that heeds no prompt frame either."""
    return _stored(shop, {**VISIT, "not": {"required": ["weekday"]}})


def fields_not_stated(shop: Workshop) -> str:
    """Healthy at 6 bpw; one example shows the fields, nothing states them, and no grammar keeps the schema."""
    return _kept(shop, "trips.jsonl", _trips())


def fields_stated(shop: Workshop) -> str:
    """The same notes, each of which ends with the names of the fields."""
    return _kept(shop, "trips.jsonl", _trips(FIELDS))


def _trips(told: str = "") -> Iterator[dict[str, Any]]:
    """One solved example, then the questions; no trip is on a Sunday, so that the rule bars none."""
    yield {"example": True, **_trip("Clara", "Vienna", "Monday", 3, told)}
    for number in range(QUESTIONS):
        name, to, day = NAMES[number % 10], CITIES[(number + 3) % 7], DAYS[number % 6]
        yield {"id": f"trip-{number + 1}", **_trip(name, to, day, 2 + number % 7, told)}


def _trip(name: str, to: str, day: str, seats: int, told: str) -> dict[str, Any]:
    return {
        "text": f"{name} travels to {to} on {day} and takes {seats} seats.{told}",
        "record": {"name": name, "to": to, "day": day, "seats": seats},
        "schema": TRIP,
    }


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
    return _kept(shop, "visits.jsonl", _rows(schema))


def _kept(shop: Workshop, name: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """The set as a user would give it: a file of JSON lines, read and kept as an upload is."""
    raw = "\n".join(map(json.dumps, rows)).encode()
    return store_upload(shop.home, read_upload([UploadedFile(name, raw)])).id
