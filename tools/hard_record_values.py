"""Two classes of the hard JSON records: values that are written otherwise than said, and values that are taken back."""

from __future__ import annotations

import random
from typing import Any

from hard_record_kinds import Made, Said, built, standing
from make_json_records import CITIES, ITEMS, NAMES

ROOMS = "Maple Cedar Birch Willow Hazel Rowan Aspen Juniper".split()
EXTRAS = "projectors whiteboards microphones screens flipcharts loudspeakers laptops headsets".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday".split()
MONTHS = "January February March April May June July August September October November December".split()
HOURS = "six seven eight nine".split()
REFUSALS = {
    "damaged": "the box was torn open",
    "late": "it came three days after the promised date",
    "wrong_item": "the box held another thing than ordered",
}
"""Words of the vocabulary with what a note says instead of them."""


def units(r: random.Random) -> Made:
    """Dates, times, measures and a number to be brought into one form, and an object that depends on what happened."""
    courier, sender, receiver = r.sample(NAMES, 3)
    month, year, (day, promised) = r.choice(MONTHS), r.randint(2019, 2025), r.sample(range(4, 21), 2)
    city = r.choice(CITIES)
    said_date = r.choice((f"{day} {month} {year}", f"{month} {day}, {year}"))
    date = Said(f"{year}-{MONTHS.index(month) + 1:02d}-{day:02d}", said_date)
    time, distance, weight, minutes, price = _time(r), _distance(r), _weight(r), _minutes(r), _price(r)
    degrees = r.randint(2, 28)
    below = r.random() < 0.4
    cold = Said(
        -degrees if below else degrees, f"{degrees} degrees below zero" if below else f"{degrees} degrees"
    )
    digits = [str(r.randint(10, 99)), str(r.randint(20, 99)), str(r.randint(1000000, 9999999))]
    phone = Said(f"+{''.join(digits)}", f"+{' '.join(digits)}")
    handed, handover = _handover(r, receiver)
    text = r.choice(
        (
            f"On {said_date} at {time.words} {courier} took a parcel of {weight.words} to a door "
            f"{distance.words} away. The way took {minutes.words}; it was {cold.words} outside. {price.words} were "
            f"paid. {sender} from {city} had promised it for the {promised}th of that month. The number to call is "
            f"{phone.words}. {handed}",
            f"{handed} That was on {said_date} at {time.words}, after {minutes.words} on the way, at {cold.words}, "
            f"{distance.words} from the depot. {courier} carried it: a parcel of {weight.words}, which {sender} from "
            f"{city} had promised for the {promised}th of the month. {price.words} were paid. Call {phone.words} with "
            "questions.",
        )
    )
    tree = {
        "courier": Said(courier, standing(text, f"{courier} took", f"{courier} carried")),
        "date": date,
        "time": time,
        "distance_m": distance,
        "weight_g": weight,
        "duration_min": minutes,
        "price_cents": price,
        "temperature_c": cold,
        "phone": phone,
        "handover": handover,
    }
    sent = [Said(value, f"{sender} from {city} had promised") for value in (sender, city)]
    other_day = Said(f"{year}-{MONTHS.index(month) + 1:02d}-{promised:02d}", f"for the {promised}th of")
    return built(text, tree, *sent, other_day)


def _time(r: random.Random) -> Said:
    """A time of day of twelve hours or in words, written with twenty-four."""
    minute, number = r.randint(1, 59), r.randrange(4)
    evening = number + 18
    return r.choice(
        (
            Said(f"{number + 7:02d}:{minute:02d}", f"{number + 7}:{minute:02d} in the morning"),
            Said(f"{number + 13:02d}:{minute:02d}", f"{number + 1}:{minute:02d} in the afternoon"),
            Said(f"{evening:02d}:30", f"half past {HOURS[number]} in the evening"),
            Said(f"{evening - 1:02d}:45", f"a quarter to {HOURS[number]} in the evening"),
        )
    )


def _distance(r: random.Random) -> Said:
    tenths, metres = r.randint(11, 290), r.randint(3, 19) * 50
    return r.choice((Said(tenths * 100, f"{_decimal(tenths)} km"), Said(metres, f"{metres} metres")))


def _weight(r: random.Random) -> Said:
    kilos, hundreds, grams = r.randint(1, 9), r.randint(1, 9), r.randint(3, 19) * 50
    return r.choice(
        (
            Said(kilos * 1000 + hundreds * 100, f"{kilos}.{hundreds} kg"),
            Said(kilos * 1000 + hundreds * 100, f"{kilos} kg and {hundreds}00 g"),
            Said(grams, f"{grams} g"),
        )
    )


def _minutes(r: random.Random) -> Said:
    hours, minutes = r.randint(2, 3), r.randint(5, 55)
    return r.choice(
        (
            Said(hours * 60 + minutes, f"{hours} h {minutes} min"),
            Said(hours * 60 + 30, f"{hours} and a half hours"),
            Said(45, "three quarters of an hour"),
        )
    )


def _price(r: random.Random) -> Said:
    euros, cents = r.randint(3, 79), r.choice((20, 40, 55, 90, 95))
    return r.choice(
        (Said(euros * 100 + cents, f"{euros}.{cents} euros"), Said(euros * 100, f"{euros} euros"))
    )


def _decimal(tenths: int) -> str:
    whole, part = divmod(tenths, 10)
    return f"{whole}.{part}" if part else str(whole)


def _handover(r: random.Random, receiver: str) -> tuple[str, dict[str, Said]]:
    """A sentence and the form of the object that belongs to it."""
    code, reason, chance = r.randint(100_000, 999_999), r.choice(list(REFUSALS)), r.random()
    if chance < 0.34:
        halves = f"{str(code)[:3]} {str(code)[3:]}"
        words = f"It was put into a locker; the code is {halves}."
        return words, {"method": Said("locker", words), "code": Said(str(code), words)}
    if chance < 0.67:
        words = f"{receiver} took it at the door {'and signed' if chance < 0.5 else 'but did not sign'}."
        named = {"method": Said("person", words), "received_by": Said(receiver, words)}
        return words, {**named, "signed": Said(chance < 0.5, words)}
    words = f"Nobody wanted it: {REFUSALS[reason]}."
    return words, {"method": Said("refused", words), "reason": Said(reason, words)}


def corrected(r: random.Random) -> Made:
    """A booking that is changed while it is told, beside one that is not asked for."""
    name, other = r.sample(NAMES, 2)
    (room, first_room), (day, first_day, other_day) = r.sample(ROOMS, 2), r.sample(DAYS, 3)
    people, first_people, other_people, count, first_count, second = numbers = r.sample(range(4, 60), 6)
    (extra, more), gone = r.sample(EXTRAS, 2), r.choice(ITEMS)
    hour, first_hour = r.sample(range(8, 17), 2)
    lunch, catering = _catering(r, people, r.choice([n for n in range(1, people) if n not in numbers]))
    start = f"{hour:02d}:{r.choice((15, 30, 45))}"
    asked = f"{name} asked for the {first_room} room on {first_day} at {first_hour:02d}:00 for {first_people} people"
    changed = {
        "room": f"now it is the {room} room",
        "day": f"on {day}",
        "people": f"and {people} people will come",
        "starts": f"beginning at {start}",
    }
    news = f"{changed['room']} {changed['day']}, {changed['starts']}, {changed['people']}"
    amended = f"make that {count} {extra}"
    also = f"and {second} {more} too"
    beside = f"{other} has a room on {other_day} for {other_people} people; that stays as it is."
    text = r.choice(
        (
            f"{asked}. That was changed: {news}. {beside} {name} first wanted {first_count} {extra}, no, "
            f"{amended}, {also}; the {gone} can stay away. {lunch}",
            f"{beside} {asked}, with {first_count} {extra}. A day later: {news}; {amended}, {also}, and forget the "
            f"{gone}. {lunch}",
        )
    )
    tree: dict[str, Any] = {
        "booked_by": Said(name, f"{name} asked for"),
        "room": Said(room, changed["room"]),
        "day": Said(day, changed["day"]),
        "people": Said(people, changed["people"]),
        "starts": Said(start, changed["starts"]),
        "extras": [
            {"item": Said(extra, amended), "quantity": Said(count, amended)},
            {"item": Said(more, also), "quantity": Said(second, also)},
        ],
        "catering": catering,
    }
    said: list[tuple[str | int, str]] = [
        *((value, asked) for value in (first_room, first_day, first_people, f"{first_hour:02d}:00")),
        *((value, beside) for value in (other, other_day, other_people)),
        (first_count, f"{first_count} {extra}"),
        (gone, f"the {gone}"),
    ]
    return built(text, tree, *(Said(*pair) for pair in said))


def _catering(r: random.Random, people: int, meatless: int) -> tuple[str, dict[str, Said]]:
    """What there is to eat, in a sentence, and the form of the object that belongs to it."""
    if r.random() < 0.4:
        words = "Nobody wants to eat there."
        return words, {"kind": Said("none", words)}
    words = f"There is lunch for all {people}, {meatless} of it without meat."
    meals = {"meals": Said(people, words), "without_meat": Said(meatless, words)}
    return words, {"kind": Said("lunch", words), **meals}
