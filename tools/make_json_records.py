"""Write assets/workloads/json_records.json: 200 short notes with the record each one states.

The notes are made from word lists with a fixed seed, so every gold record is true by construction. Classes rise
in difficulty: flat, enums, nested, arrays, long. Records are interleaved by class: the first N are balanced.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parent.parent / "assets" / "workloads" / "json_records.json"
PER_CLASS = 40
EXAMPLES = 3

NAMES = (
    "Anna Bruno Clara David Elena Felix Greta Hugo Irene Jonas Katja Leo Maria Nils Olga Peter Rosa Simon Tara Umut "
    "Vera Willem Yara Zoe Aldo Berta Carlos Dora Emil Frida Gustav Hanna Ivan Julia Karim Lena Marco Nora Oskar Paula"
).split()
CITIES = (
    "Lisbon Oslo Turin Ghent Porto Vienna Lyon Bergen Krakow Malmo Bristol Dublin Graz Leipzig Nantes Bilbao Tampere "
    "Utrecht Zagreb Basel Cork Delft Essen Florence Geneva Hamburg Innsbruck Jena Kiel Leeds"
).split()
ITEMS = (
    "lamps chairs mugs notebooks candles tiles ropes bolts filters cables towels bowls baskets mirrors shelves pillows "
    "brushes hammers stamps kettles plates clocks frames ladders buckets vases scissors umbrellas blankets batteries"
).split()
STREETS = "Mill Station Garden Harbor Church Bridge Forest Market Castle River Meadow School Tower Park Hill".split()
FOODS = (
    "rice beans garlic onions carrots lentils butter flour eggs sugar milk tomatoes basil pasta cheese apples honey "
    "oats yeast spinach peas mushrooms lemons potatoes leeks parsley ginger almonds raisins cocoa"
).split()
DISHES = "soup stew salad pie curry bread cake porridge risotto omelette".split()
TOPICS = "printer login invoice network payment backup screen email badge router license upload".split()
JOBS = "baker nurse teacher pilot plumber farmer dentist architect librarian carpenter".split()
LANGUAGES = "German French Spanish Polish Dutch Italian Swedish Czech Finnish Greek".split()

Maker = Callable[[random.Random], tuple[str, dict[str, Any]]]


def obj(**properties: Any) -> dict[str, Any]:
    """A closed object schema in which every property is required."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT, INT, FLAG = {"type": "string", "maxLength": 60}, {"type": "integer"}, {"type": "boolean"}
PRIORITY = {"enum": ["low", "medium", "high"]}
STATUS = {"enum": ["open", "waiting", "closed"]}


def flat(r: random.Random) -> tuple[str, dict[str, Any]]:
    """Four scalars."""
    name, item, city, n = r.choice(NAMES), r.choice(ITEMS), r.choice(CITIES), r.randint(2, 60)
    text = r.choice(
        (
            f"{name} from {city} ordered {n} {item}.",
            f"An order came in from {city}: {name} wants {n} {item}.",
            f"Please send {n} {item} to {name} in {city}.",
        )
    )
    return text, {"name": name, "city": city, "item": item, "quantity": n}


def enums(r: random.Random) -> tuple[str, dict[str, Any]]:
    """Two closed vocabularies beside an id and a word."""
    n, topic = r.randint(100, 999), r.choice(TOPICS)
    priority, status = r.choice(PRIORITY["enum"]), r.choice(STATUS["enum"])
    text = r.choice(
        (
            f"Ticket {n} about the {topic} is {status} and has {priority} priority.",
            f"The {topic} problem, ticket {n}, has {priority} priority and is {status}.",
            f"{priority.capitalize()} priority: ticket {n} ({topic}) is {status}.",
        )
    )
    return text, {"ticket": n, "topic": topic, "priority": priority, "status": status}


def nested(r: random.Random) -> tuple[str, dict[str, Any]]:
    """Two objects inside one."""
    name, age, city, street, n = (
        r.choice(NAMES),
        r.randint(19, 79),
        r.choice(CITIES),
        r.choice(STREETS),
        r.randint(1, 99),
    )
    text = r.choice(
        (
            f"{name} is {age} years old and lives at {n} {street} Street in {city}.",
            f"At {n} {street} Street in {city} lives {name}, aged {age}.",
            f"{name}, {age}, moved to {city}, {n} {street} Street.",
        )
    )
    return text, {
        "person": {"name": name, "age": age},
        "address": {"street": f"{n} {street} Street", "city": city},
    }


def arrays(r: random.Random) -> tuple[str, dict[str, Any]]:
    """A list of two to five words."""
    dish, minutes = r.choice(DISHES), r.randint(10, 90)
    foods = r.sample(FOODS, r.randint(2, 5))
    listed = ", ".join(foods[:-1]) + " and " + foods[-1]
    text = r.choice(
        (
            f"The {dish} takes {minutes} minutes and needs {listed}.",
            f"For the {dish} you need {listed}; it is ready in {minutes} minutes.",
            f"In {minutes} minutes you can make a {dish} with {listed}.",
        )
    )
    return text, {"dish": dish, "minutes": minutes, "ingredients": foods}


def long(r: random.Random) -> tuple[str, dict[str, Any]]:
    """Eight fields of mixed types, one object and one list among them."""
    name, age, job, city, year = (
        r.choice(NAMES),
        r.randint(19, 67),
        r.choice(JOBS),
        r.choice(CITIES),
        r.randint(1998, 2024),
    )
    languages = r.sample(LANGUAGES, r.randint(2, 3))
    street, n, employed, priority = (
        r.choice(STREETS),
        r.randint(1, 99),
        r.random() < 0.5,
        r.choice(PRIORITY["enum"]),
    )
    listed = ", ".join(languages[:-1]) + " and " + languages[-1]
    work = "is employed" if employed else "is not employed"
    text = (
        f"{name}, aged {age}, is a {job} since {year} and {work} now. Home: {n} {street} Street, {city}. "
        f"Speaks {listed}. The case has {priority} priority."
    )
    return text, {
        "name": name,
        "age": age,
        "job": job,
        "since": year,
        "employed": employed,
        "address": {"street": f"{n} {street} Street", "city": city},
        "languages": languages,
        "priority": priority,
    }


ADDRESS = obj(street=TEXT, city=TEXT)
WORDS = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 8}
CLASSES: dict[str, tuple[Maker, dict[str, Any]]] = {
    "flat": (flat, obj(name=TEXT, city=TEXT, item=TEXT, quantity=INT)),
    "enums": (enums, obj(ticket=INT, topic=TEXT, priority=PRIORITY, status=STATUS)),
    "nested": (nested, obj(person=obj(name=TEXT, age=INT), address=ADDRESS)),
    "arrays": (arrays, obj(dish=TEXT, minutes=INT, ingredients=WORDS)),
    "long": (
        long,
        obj(
            name=TEXT,
            age=INT,
            job=TEXT,
            since=INT,
            employed=FLAG,
            address=ADDRESS,
            languages=WORDS,
            priority=PRIORITY,
        ),
    ),
}


def distinct(make: Maker, rng: random.Random, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Make `count` records with different notes."""
    seen: dict[str, dict[str, Any]] = {}
    while len(seen) < count:
        text, gold = make(rng)
        seen.setdefault(text, gold)
    return list(seen.items())


def main() -> None:
    """Write the file; the same bytes every time."""
    rng = random.Random(20240905)  # noqa: S311 - word lists, not secrets
    classes, columns = {}, {}
    for name, (make, schema) in CLASSES.items():
        made = distinct(make, rng, PER_CLASS + EXAMPLES)
        classes[name] = {
            "schema": schema,
            "examples": [{"text": t, "record": g} for t, g in made[:EXAMPLES]],
        }
        columns[name] = made[EXAMPLES:]
    records = [
        {
            "id": f"{name}-{i + 1:02d}",
            "class": name,
            "text": columns[name][i][0],
            "record": columns[name][i][1],
        }
        for i in range(PER_CLASS)
        for name in CLASSES
    ]
    OUT.write_text(
        json.dumps({"id": "json-records-1", "classes": classes, "records": records}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
