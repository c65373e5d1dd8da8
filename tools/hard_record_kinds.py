"""How the notes of the hard JSON records are made: one function a class, each leaf with the words that state it.

A maker builds a tree whose leaves are `Said(value, words)`, the words as they stand in the note. The record is the tree
of values; the words are kept beside it, so that a test can read every value from the note by rules of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from make_json_records import CITIES, ITEMS, NAMES, STREETS

CARRIERS = "Norline Hawk Swiftway Baltrans Corvo Meridian Postino Ardent".split()
MAKES = "Velora Tarpan Skarn Ondine Brask Mistral Kestrel Fjellet".split()
COLOURS = "red blue green white black silver yellow brown".split()
FUELS = "petrol diesel electric hybrid".split()
GEARBOXES = "manual automatic".split()
BATTERIES = "good weak dead".split()
PARTS = "brakes lights horn steering exhaust wipers heating".split()
CUES: dict[str, dict[str, str]] = {
    "request": {
        "refund": "wants all of the money back",
        "partial_refund": "wants to keep everything and get some of the money back",
        "replacement": "wants the same once more, without the fault",
        "exchange": "wants a different model for it",
        "repair": "wants to have it mended",
        "store_credit": "would take a voucher for the next order",
    },
    "damage": {
        "scratched": "there are fine lines in the paint, nothing deeper",
        "dented": "one side is pushed in",
        "cracked": "a split runs through it, though it still holds",
        "shattered": "all of it lay in pieces",
        "incomplete": "the screws were not in the box",
        "stained": "there are spots that do not wash off",
    },
    "cause": {
        "carrier": "the driver of the van let it fall",
        "warehouse": "our packers had chosen too thin a box",
        "maker": "it had left the factory like that",
        "customer": "it happened at home, some days after it came",
        "unknown": "nobody can say how it happened",
    },
    "urgency": {
        "low": "There is no hurry at all",
        "normal": "The usual week is soon enough",
        "high": "It has to be settled before the weekend",
        "immediate": "It cannot wait until tomorrow",
    },
    "channel": {
        "phone": "rang us",
        "email": "wrote to our inbox",
        "chat": "typed into the window on our website",
        "letter": "wrote to us on paper",
        "in_person": "stood at our counter",
    },
    "mood": {
        "friendly": "thanked us twice",
        "disappointed": "had hoped for better from us",
        "annoyed": "has little patience left",
        "angry": "used words that are not repeated here",
    },
}
"""Words of each vocabulary with what a note says instead of them."""
VOCABULARIES = {name: tuple(words) for name, words in CUES.items()}


@dataclass(frozen=True)
class Said:
    """A value of a record and the words of the note that state it."""

    value: str | int | bool
    words: str


@dataclass(frozen=True)
class Made:
    """A note, its record, the words for every leaf by path (`shipments/0/carrier`), and what is said and left out."""

    text: str
    record: dict[str, Any]
    evidence: dict[str, Said]
    left_out: tuple[Said, ...]


Maker = Callable[[random.Random], Made]


def built(text: str, tree: dict[str, Any], *left_out: Said) -> Made:
    """A made record from its note and its tree of `Said`."""
    return Made(text, _values(tree), dict(_leaves(tree)), left_out)


def _values(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _values(part) for key, part in tree.items()}
    if isinstance(tree, list):
        return [_values(part) for part in tree]
    return tree.value


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Said]]:
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if parts is None:
        yield path, tree
        return
    for key, part in parts:
        yield from _leaves(part, f"{path}/{key}" if path else str(key))


def standing(text: str, *choices: str) -> str:
    """Those of the words that stand in the text."""
    return next(words for words in choices if words in text)


def listed(parts: list[str]) -> str:
    """Words as a list in a sentence."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def deep(r: random.Random) -> Made:
    """An order of shipments of parcels of items; a bill and an order of before that are left out."""
    numbers = [f"{r.choice('ABCDEF')}-{n}" for n in r.sample(range(1000, 9999), 2)]
    (name, payer), (city, bill_city) = r.sample(NAMES, 2), r.sample(CITIES, 2)
    street = f"{r.randint(1, 99)} {r.choice(STREETS)} Street"
    goods = iter(zip(r.sample(ITEMS, 8), r.sample(range(100, 999), 8), strict=True))
    shipments, told = [], []
    for carrier, parcels in zip(r.sample(CARRIERS, 2), r.choice(((1, 2), (2, 1), (1, 1))), strict=True):
        made = [_parcel(r, goods) for _ in range(parcels)]
        said = f"with {carrier}: {'; then '.join(words for words, _ in made)}"
        told.append(said)
        shipments.append({"carrier": Said(carrier, f"with {carrier}"), "parcels": [tree for _, tree in made]})
    text = r.choice(
        (
            f"Order {numbers[0]} is for {name}, {street}, {city}; the bill goes to {payer} in {bill_city}. "
            f"It leaves in two shipments. One goes {told[0]}. The other goes {told[1]}. "
            f"It takes the place of order {numbers[1]}, which was cancelled.",
            f"Order {numbers[1]} of last week was cancelled. Instead there is order {numbers[0]} for {name}, {street}, "
            f"{city}, paid by {payer} in {bill_city}. A first shipment goes {told[0]}. A second goes {told[1]}.",
        )
    )
    place = f"{name}, {street}, {city}"
    address = {"street": Said(street, place), "city": Said(city, place)}
    order = {
        "number": Said(
            numbers[0], standing(text, f"Order {numbers[0]} is for", f"there is order {numbers[0]} for")
        ),
        "customer": {"name": Said(name, place), "address": address},
    }
    cancelled = Said(numbers[1], numbers[1])
    paid = [Said(v, f"{payer} in {bill_city}") for v in (payer, bill_city)]
    return built(text, {"order": order, "shipments": shipments}, cancelled, *paid)


def _parcel(r: random.Random, goods: Iterator[tuple[str, int]]) -> tuple[str, dict[str, Any]]:
    """One parcel of one or two items: its words and its tree."""
    weight, items, told = r.randint(2, 30), [], []
    for name, number in (next(goods) for _ in range(r.randint(1, 2))):
        sku, quantity = f"K-{number}", r.randint(2, 60)
        words = f"{quantity} {name} ({sku})"
        told.append(words)
        items.append({"sku": Said(sku, words), "name": Said(name, words), "quantity": Said(quantity, words)})
    heading = f"a parcel of {weight} kg"
    return f"{heading} with {listed(told)}", {"weight_kg": Said(weight, heading), "items": items}


def wide(r: random.Random) -> Made:
    """Twenty-seven facts about a car, in an order that is not the record's; another car beside it."""
    plate, old_plate = (_plate(r) for _ in range(2))
    (make, old_make), (owner, inspector) = r.sample(MAKES, 2), r.sample(NAMES, 2)
    mileage, old_mileage = r.sample(range(30_000, 290_000, 100), 2)
    colour, fuel, gearbox, battery = (r.choice(w) for w in (COLOURS, FUELS, GEARBOXES, BATTERIES))
    year, seats, doors, keys, bay = (r.randint(*b) for b in ((2001, 2023), (2, 9), (2, 5), (2, 4), (11, 29)))
    power, tyre, price, fee = r.randint(44, 190), r.randint(3, 8), r.randint(11, 240) * 100, r.randint(31, 99)
    city, due = r.choice(CITIES), r.choice((2027, 2028, 2029))
    passed = r.sample(PARTS, r.randint(2, 5))
    failed = [p for p in PARTS if p not in passed]
    tests = f"Passed: {', '.join(passed)}. Failed: {', '.join(failed)}."
    engine = f"{'an' if fuel == 'electric' else 'a'} {fuel} engine"
    sentences = [
        f"{inspector} looked at it in bay {bay}.",
        f"It is a {colour} {make}, built in {year}, with {engine} of {power} kW and {gearbox} gears.",
        f"It has {seats} seats, {doors} doors and {keys} keys.",
        f"So far it has run {mileage} km.",
        f"It belongs to {owner} from {city}.",
        tests,
        f"The tyres have {tyre} mm left and the battery is {battery}.",
        f"It is worth {price} euros, and the inspection costs {fee} euros.",
        f"The next one is due in {due}.",
        f"The owner's last car, a {old_make} with the plate {old_plate}, had run {old_mileage} km.",
    ]
    r.shuffle(sentences)
    said: dict[str, tuple[Any, str]] = {
        "plate": (plate, f"Car {plate}"),
        "make": (make, f"a {colour} {make}"),
        "colour": (colour, f"a {colour} {make}"),
        "year": (year, f"built in {year}"),
        "fuel": (fuel, engine),
        "gearbox": (gearbox, f"{gearbox} gears"),
        "seats": (seats, f"{seats} seats"),
        "doors": (doors, f"{doors} doors"),
        "mileage_km": (mileage, f"So far it has run {mileage} km"),
        "power_kw": (power, f"of {power} kW"),
        "owner": (owner, f"belongs to {owner}"),
        "city": (city, f"{owner} from {city}"),
        "keys": (keys, f"{keys} keys"),
        "inspector": (inspector, f"{inspector} looked at it"),
        "bay": (bay, f"in bay {bay}"),
        **{p: (p in passed, tests) for p in PARTS},
        "tyre_mm": (tyre, f"tyres have {tyre} mm"),
        "battery": (battery, f"the battery is {battery}"),
        "price_eur": (price, f"worth {price} euros"),
        "fee_eur": (fee, f"costs {fee} euros"),
        "due_year": (due, f"due in {due}"),
    }
    tree = {name: Said(*pair) for name, pair in said.items()}
    last = f"a {old_make} with the plate {old_plate}, had run {old_mileage} km"
    left_out = (Said(value, last) for value in (old_plate, old_make, old_mileage))
    return built(" ".join([f"Car {plate} was inspected.", *sentences]), tree, *left_out)


def _plate(r: random.Random) -> str:
    letters = "ABCDEFGHJKLMNPRSTVWXYZ"
    return f"{''.join(r.choices(letters, k=2))} {r.randint(100, 999)} {''.join(r.choices(letters, k=2))}"


def close(r: random.Random) -> Made:
    """Six closed vocabularies whose words are never said; a closed case of before, of another kind."""
    name, (item, old_item) = r.choice(NAMES), r.sample(ITEMS, 2)
    quantity, old_quantity = r.sample(range(2, 60), 2)
    chosen = {vocabulary: r.choice(list(words)) for vocabulary, words in CUES.items()}
    cue = {vocabulary: CUES[vocabulary][word] for vocabulary, word in chosen.items()}
    old = r.choice([d for d in CUES["damage"] if d != chosen["damage"]])
    last = f"when {CUES['damage'][old]} with {old_quantity} {old_item}"
    before = f"The case of last year, {last}, is closed."
    about = f"about {quantity} {item}"
    text = r.choice(
        (
            f"{name} {cue['channel']} {about}: {cue['damage']}, and {cue['cause']}. {name} {cue['request']}. "
            f"{cue['urgency']}. {name} {cue['mood']}. {before}",
            f"{before} Now {name} {cue['channel']} {about}. This time {cue['damage']}; {cue['cause']}. "
            f"{cue['urgency']}. {name} {cue['mood']} and {cue['request']}.",
        )
    )
    tree = {"customer": Said(name, f"{name} {cue['channel']}"), "item": Said(item, about)}
    tree |= {"quantity": Said(quantity, about)}
    tree |= {vocabulary: Said(word, cue[vocabulary]) for vocabulary, word in chosen.items()}
    return built(text, tree, *(Said(value, last) for value in (old, old_item, old_quantity)))
