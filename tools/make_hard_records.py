"""Write assets/workloads/json_records_hard.json: 200 notes for models that the standard records no longer trouble.

As with the standard records, notes are made from word lists with a fixed seed, so every gold record is true by
construction; how those of each class are made is in `hard_record_kinds.py` and `hard_record_values.py`. Every note has
facts that must not land in the record. Records are interleaved by class: the first N are balanced.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import hard_record_kinds as kinds
import hard_record_values as values
from hard_record_kinds import Made, Maker
from make_json_records import FLAG, TEXT, obj

OUT = Path(__file__).resolve().parent.parent / "assets" / "workloads" / "json_records_hard.json"
PER_CLASS = 40
EXAMPLES = 2
MARK = "#hard"
"""Ends every id, as `workload.json_records.HARD_MARK`: ids of the two sets never meet."""

Schema = dict[str, Any]


def whole(low: int, high: int) -> Schema:
    """A whole number within bounds."""
    return {"type": "integer", "minimum": low, "maximum": high}


def written(pattern: str) -> Schema:
    """A text of one form."""
    return {"type": "string", "pattern": f"^{pattern}$"}


def one_of(*members: str) -> Schema:
    """A closed vocabulary."""
    return {"enum": list(members)}


def several(items: Schema, most: int) -> Schema:
    """A list with at least one entry."""
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


def either(*branches: Schema) -> Schema:
    """One of several forms; their first field tells them apart, so a grammar can keep it."""
    return {"oneOf": list(branches)}


ITEM = obj(sku=written("K-[0-9]{3}"), name=TEXT, quantity=whole(1, 99))
PARCEL = obj(weight_kg=whole(1, 40), items=several(ITEM, 4))
CLOCK = written("([01][0-9]|2[0-3]):[0-5][0-9]")
HANDOVER = either(
    obj(method={"const": "locker"}, code=written("[0-9]{6}")),
    obj(method={"const": "person"}, received_by=TEXT, signed=FLAG),
    obj(method={"const": "refused"}, reason=one_of(*values.REFUSALS)),
)
CATERING = either(
    obj(kind={"const": "none"}),
    obj(kind={"const": "lunch"}, meals=whole(1, 60), without_meat=whole(1, 60)),
)
CLASSES: dict[str, tuple[Maker, str, Schema]] = {
    "deep": (
        kinds.deep,
        "Shipments hold parcels and parcels hold items, each in the order of the note.",
        obj(
            order=obj(
                number=written("[A-Z]-[0-9]{4}"), customer=obj(name=TEXT, address=obj(street=TEXT, city=TEXT))
            ),
            shipments=several(obj(carrier=TEXT, parcels=several(PARCEL, 3)), 3),
        ),
    ),
    "wide": (
        kinds.wide,
        "The record is of the car that was inspected. Parts that passed are true, parts that failed false.",
        obj(
            plate=written("[A-Z]{2} [0-9]{3} [A-Z]{2}"),
            make=TEXT,
            colour=TEXT,
            year=whole(1990, 2026),
            fuel=one_of(*kinds.FUELS),
            gearbox=one_of(*kinds.GEARBOXES),
            seats=whole(2, 9),
            doors=whole(2, 5),
            mileage_km=whole(0, 500_000),
            power_kw=whole(20, 400),
            owner=TEXT,
            city=TEXT,
            keys=whole(1, 4),
            inspector=TEXT,
            bay=whole(1, 40),
            **dict.fromkeys(kinds.PARTS, FLAG),
            tyre_mm=whole(1, 10),
            battery=one_of(*kinds.BATTERIES),
            price_eur=whole(100, 90_000),
            fee_eur=whole(10, 400),
            due_year=whole(2020, 2035),
        ),
    ),
    "close": (
        kinds.close,
        "Choose the words that fit what the note describes. "
        + " ".join(f"{name}: {', '.join(words)}." for name, words in kinds.VOCABULARIES.items())
        + " (replacement is the same thing again, exchange another model.)",
        obj(
            customer=TEXT,
            item=TEXT,
            quantity=whole(1, 99),
            **{name: one_of(*words) for name, words in kinds.VOCABULARIES.items()},
        ),
    ),
    "units": (
        values.units,
        "date as YYYY-MM-DD, time as HH:MM of 24 hours, metres, grams, minutes, cents, degrees Celsius; phone without "
        "spaces. handover: locker has a code of six digits, person received_by and signed, refused a reason "
        f"({', '.join(values.REFUSALS)}).",
        obj(
            courier=TEXT,
            date=written("20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"),
            time=CLOCK,
            distance_m=whole(100, 50_000),
            weight_g=whole(50, 30_000),
            duration_min=whole(1, 600),
            price_cents=whole(1, 100_000),
            temperature_c=whole(-40, 50),
            phone=written("\\+[0-9]{9,14}"),
            handover=HANDOVER,
        ),
    ),
    "corrected": (
        values.corrected,
        "The last word on each point counts; what was taken back, or is somebody else's, is left out. catering is "
        "none, or lunch with meals and without_meat.",
        obj(
            booked_by=TEXT,
            room=TEXT,
            day=one_of(*values.DAYS),
            people=whole(1, 60),
            starts=CLOCK,
            extras=several(obj(item=TEXT, quantity=whole(1, 60)), 4),
            catering=CATERING,
        ),
    ),
}


def made() -> dict[str, list[Made]]:
    """The notes of every class with their records, the examples of its prompt first; the same every time."""
    rng = random.Random(20260914)  # noqa: S311 - word lists, not secrets
    columns: dict[str, list[Made]] = {}
    for name, (make, _, _) in CLASSES.items():
        found: dict[str, Made] = {}
        while len(found) < PER_CLASS + EXAMPLES:
            record = make(rng)
            found.setdefault(record.text, record)
        columns[name] = list(found.values())
    return columns


def main() -> None:
    """Write the file; the same bytes every time. One record a line: indented, it would be twice as long."""
    columns = made()
    classes = {
        name: {
            "schema": schema,
            "rules": rules,
            "examples": [{"text": m.text, "record": m.record} for m in columns[name][:EXAMPLES]],
        }
        for name, (_, rules, schema) in CLASSES.items()
    }
    records = [
        json.dumps(
            {
                "id": f"{name}-{i + 1:02d}{MARK}",
                "class": name,
                "text": columns[name][EXAMPLES + i].text,
                "record": columns[name][EXAMPLES + i].record,
            }
        )
        for i in range(PER_CLASS)
        for name in CLASSES
    ]
    listed = ",\n".join(records)
    OUT.write_text(
        f'{{"id": "json-records-hard-1",\n"classes": {json.dumps(classes, indent=1)},\n"records": [\n{listed}\n]}}\n'
    )


if __name__ == "__main__":
    main()
