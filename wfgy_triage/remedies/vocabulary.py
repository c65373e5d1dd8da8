"""The keys a patch may have and the files that can express them: `fixmap/targets.yaml` as frozen records.

Gives the data types, checks that its parts refer to each other correctly, and says whether a value is allowed for a
key. It renders nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from packaging.requirements import InvalidRequirement, Requirement

from wfgy_triage.catalog import FIXMAP, Table
from wfgy_triage.errors import InputError
from wfgy_triage.fixmap_files import FixmapFile, read_fixmap_file

PINS = "pins."
CONFIG = "config."


@dataclass(frozen=True)
class Target:
    """A kind of file that a patch can be written as.

    Attributes:
        id: stable name, part of the result format.
        title: what it is, in words.
        file: its usual name.
        language: how it is written; for highlighting, and whether it can hold comments.
        fits: the version whose names are used.
        source_url: where those names were read.
    """

    id: str
    title: str
    file: str
    language: Literal["yaml", "python", "shell", "json", "requirements"]
    fits: str
    source_url: str


@dataclass(frozen=True)
class Place:
    """Where a target holds a key. `when`: only in patches in which these keys have these values."""

    target: str
    at: str
    when: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Key:
    """A key of the vocabulary.

    Attributes:
        id: dotted name; ends in `.*` for a family of keys.
        value: JSON Schema of the value.
        says: the change in words, with `{value}` and `{key}`.
        meaning: what the setting is, for anybody.
        places: where targets hold it.
        pattern: for a family, what its members look like.
        requires: keys that have to be there too.
        excludes: keys that may not be there too.
        companion: says how another key is meant and is never written on its own.
    """

    id: str
    value: Mapping[str, Any]
    says: str
    meaning: str
    places: tuple[Place, ...]
    pattern: str = ""
    requires: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    companion: bool = False

    def names(self, key: str) -> bool:
        """Whether `key` is this key or one of this family."""
        return bool(re.fullmatch(self.pattern, key)) if self.pattern else key == self.id


@dataclass(frozen=True)
class Vocabulary:
    """All targets and keys, in the order in which they are shown."""

    targets: Table[Target]
    keys: Table[Key]

    def key(self, name: str) -> Key:
        """The record of a dotted key.

        Raises:
            InputError: the vocabulary does not have it.
        """
        found = next((k for k in self.keys.values() if k.names(name)), None)
        if found is None:
            raise InputError(f"A patch cannot have the key {name!r}.", f"Known keys: {', '.join(self.keys)}.")
        return found

    def checked(self, name: str, value: Any) -> Any:
        """The value in its plain form (a whole number written as 4.0 becomes 4).

        Raises:
            InputError: an unknown key, or a value that it does not allow; the message names the key.
        """
        record = self.key(name)
        try:
            plain = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{name}: the value is not plain JSON ({error}).", record.meaning) from error
        fault = best_match(Draft202012Validator(record.value).iter_errors(plain))
        if fault is not None:
            raise InputError(f"{name}: {fault.message[:200]}.", record.meaning)
        if name.startswith(PINS):
            plain = plain.strip()
            requirement(name.removeprefix(PINS), plain)
        return int(plain) if record.value.get("type") == "integer" else plain


def requirement(package: str, spec: str) -> Requirement:
    """A package and its pin as one requirement.

    Raises:
        InputError: the pin cannot be read.
    """
    try:
        return Requirement(f"{package} {spec}")
    except InvalidRequirement as error:
        text = str(error).splitlines()[0]
        raise InputError(
            f"{PINS}{package}: {spec!r} is not a version specifier ({text}).",
            "Write it as in requirements.txt, for example ==0.3.2 or @ https://…/package.whl.",
        ) from error


@lru_cache(maxsize=4)
def load_vocabulary(folder: Path = FIXMAP) -> Vocabulary:
    """Read and validate `targets.yaml`; cached per folder.

    Raises:
        PrerequisiteError: the file is missing or wrong; names file and line.
    """
    file = read_fixmap_file(folder, "targets")
    for name in ("targets", "keys"):
        _check_ids(file, name)
    _check_keys(file)
    return Vocabulary(
        Table("target", (Target(**record) for record in file.data["targets"])),
        Table("key", (_key(record) for record in file.data["keys"])),
    )


def _key(record: Mapping[str, Any]) -> Key:
    lists = {name: tuple(record.get(name, ())) for name in ("requires", "excludes")}
    return Key(**{**record, **lists, "places": tuple(Place(**p) for p in record["places"])})


def _check_ids(file: FixmapFile, name: str) -> None:
    seen: set[str] = set()
    for index, record in enumerate(file.data[name]):
        if record["id"] in seen:
            raise file.fault((name, index, "id"), f"the id {record['id']!r} is given twice.")
        seen.add(record["id"])


def _check_keys(file: FixmapFile) -> None:
    targets = {record["id"] for record in file.data["targets"]}
    keys = {record["id"] for record in file.data["keys"]}
    for index, record in enumerate(file.data["keys"]):
        spot = ("keys", index)
        try:
            Draft202012Validator.check_schema(record["value"])
            re.compile(record.get("pattern", ""))
        except (SchemaError, re.error) as error:
            message = f"value or pattern cannot be used: {str(error).splitlines()[0]}"
            raise file.fault((*spot, "value"), message) from error
        if record["id"].endswith(".*") != ("pattern" in record):
            raise file.fault((*spot, "id"), "a family of keys ends in .* and has a pattern, no other does.")
        for number, place in enumerate(record["places"]):
            if place["target"] not in targets:
                wrong = f"target names {place['target']!r}, which is not in the list of targets."
                raise file.fault((*spot, "places", number, "target"), wrong)
        others = [*record.get("requires", ()), *record.get("excludes", ())]
        for other in [*others, *(k for p in record["places"] for k in p.get("when", ()))]:
            if other not in keys:
                raise file.fault(spot, f"{record['id']} names {other!r}, which is not in the list of keys.")
