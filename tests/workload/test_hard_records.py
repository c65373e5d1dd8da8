"""The hard records: every value is read once more from its words in the note, by rules of this file's own."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from transformers import AutoTokenizer

from wfgy_triage.errors import InputError
from wfgy_triage.measure.json_validity import check_schema_safe, classify_json
from wfgy_triage.measure.schema_guard import schema_errors
from wfgy_triage.probes.base import ProbeSettings
from wfgy_triage.probes.json_breaks import PROBE
from wfgy_triage.probes.registry import check_settings
from wfgy_triage.settings import REPO_ROOT
from wfgy_triage.workload.json_records import HARD_MARK, HARD_RECORDS, load_json_workload
from wfgy_triage.workload.texts import question_texts

sys.path.append(str(REPO_ROOT / "tools"))
make_hard_records = import_module("make_hard_records")
VOCABULARIES = import_module("hard_record_kinds").VOCABULARIES
HARD = load_json_workload(HARD_RECORDS)
MADE = make_hard_records.made()
CONTEXT = 2048
"""Tokens of the smallest context that the demo's family has."""

# What a person would choose, written without a look at how the notes are made.
MEANS = {
    "all of the money back": "refund",
    "some of the money back": "partial_refund",
    "the same once more": "replacement",
    "a different model": "exchange",
    "mended": "repair",
    "voucher": "store_credit",
    "fine lines": "scratched",
    "pushed in": "dented",
    "split runs": "cracked",
    "in pieces": "shattered",
    "screws were not": "incomplete",
    "spots": "stained",
    "driver": "carrier",
    "our packers": "warehouse",
    "left the factory": "maker",
    "at home": "customer",
    "nobody can say": "unknown",
    "no hurry": "low",
    "usual week": "normal",
    "before the weekend": "high",
    "cannot wait": "immediate",
    "rang": "phone",
    "inbox": "email",
    "window on our website": "chat",
    "on paper": "letter",
    "at our counter": "in_person",
    "thanked": "friendly",
    "had hoped": "disappointed",
    "little patience": "annoyed",
    "not repeated": "angry",
    "torn open": "damaged",
    "days after the promised": "late",
    "another thing": "wrong_item",
    "into a locker": "locker",
    "at the door": "person",
    "Nobody wanted": "refused",
    "Nobody wants to eat": "none",
    "There is lunch": "lunch",
}
CLOSED = {
    **VOCABULARIES,
    "reason": ("damaged", "late", "wrong_item"),
    "method": ("locker", "person", "refused"),
    "kind": ("none", "lunch"),
}
PARTS = {"brakes", "lights", "horn", "steering", "exhaust", "wipers", "heating"}
SPOKEN = {"six": 6, "seven": 7, "eight": 8, "nine": 9}


def read(path: str, words: str) -> Any:
    """The value that these words of a note give the field at a path; None where they have to say it as it is."""
    field = path.rpartition("/")[2]
    if field in CLOSED:
        (found,) = {member for cue, member in MEANS.items() if cue in words and member in CLOSED[field]}
        return found
    if field in PARTS:
        passed, failed = re.fullmatch(r"Passed: (.*)\. Failed: (.*)\.", words).groups()
        assert (field in passed.split(", ")) != (field in failed.split(", "))
        return field in passed.split(", ")
    return READERS[field](words) if field in READERS else None


def read_date(words: str) -> str:
    form = "%B %d, %Y" if "," in words else "%d %B %Y"
    return datetime.strptime(words, form).date().isoformat()


def read_time(words: str) -> str:
    if said := re.fullmatch(r"(half past|a quarter to) (\w+) in the evening", words):
        hour = SPOKEN[said[2]] + 12
        return f"{hour:02d}:30" if said[1] == "half past" else f"{hour - 1:02d}:45"
    form = words.replace(" in the morning", " AM").replace(" in the afternoon", " PM")
    return datetime.strptime(form, "%I:%M %p").strftime("%H:%M")


def read_distance(words: str) -> int:
    number, unit = words.split()
    return int(Decimal(number) * {"km": 1000, "metres": 1}[unit])


def read_weight(words: str) -> int:
    return sum(
        int(Decimal(number) * {"kg": 1000, "g": 1}[unit])
        for number, unit in (part.split() for part in words.split(" and "))
    )


def read_minutes(words: str) -> int:
    if words == "three quarters of an hour":
        return 45
    if "half" in words:
        return int(words.split()[0]) * 60 + 30
    hours, minutes = map(int, re.fullmatch(r"(\d) h (\d+) min", words).groups())
    return hours * 60 + minutes


READERS = {
    "date": read_date,
    "time": read_time,
    "distance_m": read_distance,
    "weight_g": read_weight,
    "duration_min": read_minutes,
    "price_cents": lambda words: int(Decimal(words.removesuffix(" euros")) * 100),
    "temperature_c": lambda words: int(words.split()[0]) * (-1 if "below zero" in words else 1),
    "phone": lambda words: words.replace(" ", ""),
    "code": lambda words: "".join(re.findall(r"\d", words)),
    "signed": lambda words: {"and signed": True, "but did not sign": False}[
        re.search("and signed|but did not sign", words)[0]
    ],
}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, f"{path}/{key}" if path else str(key))
    else:
        yield path, value


def depth(schema: dict[str, Any]) -> int:
    """How many objects stand in each other."""
    if schema.get("type") == "array":
        return depth(schema["items"])
    inside = [depth(part) for part in schema.get("properties", {}).values()]
    return 1 + max(inside, default=0) if schema.get("type") == "object" else 0


def test_there_are_enough_and_the_first_ones_are_balanced():
    assert len(HARD.questions) == 200
    assert set(Counter(q.record_class for q in HARD.questions[:20]).values()) == {4}
    shown = [e.text for c in HARD.classes.values() for e in c.examples]
    texts = [*shown, *(q.text for q in HARD.questions)]
    assert len(set(texts)) == len(texts)
    assert len({q.id for q in HARD.questions}) == 200
    assert all(q.id.endswith(HARD_MARK) for q in HARD.questions)


def test_the_file_is_what_its_script_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(make_hard_records, "OUT", tmp_path / "hard.json")
    make_hard_records.main()
    assert (tmp_path / "hard.json").read_bytes() == HARD_RECORDS.read_bytes()


def test_every_gold_record_fits_its_schema():
    for question in HARD.questions:
        schema = HARD.classes[question.record_class].schema
        check_schema_safe(schema)
        jsonschema.validate(question.record, schema)
        found = classify_json(HARD.gold_text(question), schema, truncated=False, expected=question.record)
        assert (found.schema_valid, found.value_matches) == (True, True)
    for kind in HARD.classes.values():
        for example in kind.examples:
            jsonschema.validate(example.record, kind.schema)


@pytest.mark.parametrize("kind", sorted(MADE))
def test_every_value_can_be_read_from_the_note(kind: str):
    for made in MADE[kind]:
        found = dict(leaves(made.record))
        assert set(found) == set(made.evidence)
        for path, value in found.items():
            words = made.evidence[path].words
            assert words in made.text, (made.text, path)
            said = read(path, words)
            if said is None:
                assert re.search(rf"(?<![\w.]){re.escape(str(value))}(?![\w])", words), (path, value, words)
            else:
                assert (said, type(said)) == (value, type(value)), (path, words)


@pytest.mark.parametrize("kind", sorted(MADE))
def test_what_is_left_out_is_said_in_the_note_and_is_not_in_the_record(kind: str):
    for made in MADE[kind]:
        assert made.left_out
        values = [value for _, value in leaves(made.record)]
        for left in made.left_out:
            assert left.words in made.text
            assert left.value not in values, (left, made.text)


def test_the_note_never_says_the_word_that_is_to_be_chosen():
    for question in (q for q in HARD.questions if q.record_class == "close"):
        for name in VOCABULARIES:
            word = question.record[name].replace("_", " ")
            assert not re.search(rf"\b{word}\b", question.text, re.IGNORECASE), question.text


def test_the_classes_are_hard_in_the_ways_they_are_named_for():
    schemas = {name: kind.schema for name, kind in HARD.classes.items()}
    assert depth(schemas["deep"]) >= 4
    assert len(schemas["wide"]["properties"]) >= 25
    assert min(len(words) for words in VOCABULARIES.values()) >= 4
    for name, broken in {
        "date": "14 March 2024",
        "time": "24:00",
        "distance_m": 3.2,
        "phone": "+49 30 1234567",
        "temperature_c": 400,
        "handover": {"method": "locker", "received_by": "Anna", "signed": True},
    }.items():
        record = {**next(q.record for q in HARD.questions if q.record_class == "units"), name: broken}
        assert schema_errors(schemas["units"], record), name
    methods = Counter(q.record["handover"]["method"] for q in HARD.questions if q.record_class == "units")
    assert min(methods[m] for m in ("locker", "person", "refused")) >= 5


def test_the_rules_of_a_class_are_part_of_its_prompt_and_name_every_word_of_a_vocabulary():
    for question in HARD.questions[:5]:
        system, *_, asked = HARD.messages(question)
        assert HARD.classes[question.record_class].rules in system["content"]
        assert asked["content"] == f"Note: {question.text}"
    close = HARD.classes["close"].rules
    assert all(word in close for words in VOCABULARIES.values() for word in words)


def test_the_level_chooses_the_set_and_does_not_go_with_a_users_own(tmp_path):
    usual, hard = (PROBE.workload_info(ProbeSettings(options=o)) for o in ({}, {"level": "hard"}))
    assert (usual["level"], hard["level"]) == ("standard", "hard")
    assert hard["sha256"] == HARD.sha256 != usual["sha256"]
    own = tmp_path / "own.json"
    own.write_bytes(HARD_RECORDS.read_bytes())
    assert "level" not in PROBE.workload_info(ProbeSettings(workload=own))
    with pytest.raises(InputError, match="set of their own"):
        check_settings("json_breaks", ProbeSettings(options={"level": "hard"}, workload=own))
    check_settings("json_breaks", ProbeSettings(options={"level": "standard"}, workload=own))


def test_the_page_finds_the_notes_of_both_sets():
    texts = question_texts("json_breaks")
    assert all(texts[q.id] == q.text for q in HARD.questions)
    assert len(texts) == 400


@pytest.mark.demo
def test_prompts_fit_into_the_demo_models_context_with_their_answers_and_with_every_contract(demo_pair):
    tokenizer = AutoTokenizer.from_pretrained(demo_pair["fp16"])
    engine = SimpleNamespace(
        encode=lambda text: tuple(tokenizer(text, add_special_tokens=False).input_ids),
        render_chat=lambda m: tokenizer.apply_chat_template(m, tokenize=False, add_generation_prompt=True),
        info=SimpleNamespace(max_context=CONTEXT),
    )
    settings = ProbeSettings(questions=200, options={"level": "hard"})
    subject = PROBE.subject(SimpleNamespace(fp16=engine, settings=settings))
    assert len(subject.items) == 200
    for item in subject.items:
        gold = engine.encode(json.dumps(next(q.record for q in HARD.questions if q.id == item.question)))
        assert len(item.prompt_ids) + item.max_new_tokens <= CONTEXT
        assert len(gold) < item.max_new_tokens
        for contract in subject.facets["contracts"]:
            contract.restate(item)  # refuses what does not fit
