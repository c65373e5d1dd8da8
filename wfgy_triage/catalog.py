"""The fix map: its records (`fixmap_records.py`) read, checked and looked up.

`fixmap/*.yaml` is the knowledge, this file only checks that the records refer to each other correctly, and looks
them up. It decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from jsonschema import Draft202012Validator
from referencing import Registry

from wfgy_triage import result
from wfgy_triage.errors import InputError
from wfgy_triage.fixmap_files import FixmapFile, read_fixmap_file, read_schema
from wfgy_triage.fixmap_records import (
    Cause,
    ChecklistItem,
    GateRecord,
    Link,
    MetricText,
    Module,
    Reference,
    Remedy,
    Symptom,
    WfgyTerm,
)
from wfgy_triage.settings import REPO_ROOT

FIXMAP = REPO_ROOT / "fixmap"


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


_T = TypeVar("_T", bound=_HasId)


class UnknownIdError(InputError, KeyError):
    """An id that the fix map does not have (a `KeyError` too, so that `Mapping.get` works)."""


class Table(Mapping[str, _T]):
    """Records by id, in file order; an unknown id is an `InputError` that names the known ones."""

    def __init__(self, noun: str, records: Iterable[_T]) -> None:
        self._noun = noun
        self._records = {record.id: record for record in records}

    def __getitem__(self, key: str) -> _T:
        if key not in self._records:
            raise UnknownIdError(
                f"There is no {self._noun} with the id {key!r}.", f"Known ids: {', '.join(self._records)}."
            )
        return self._records[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


@dataclass(frozen=True)
class Catalog:
    """The whole fix map. `unrelated`: complaints and small talk that belong to no symptom."""

    source_title: str
    source_url: str
    symptoms: Table[Symptom]
    modules: Table[Module]
    gates: Table[GateRecord]
    causes: Table[Cause]
    remedies: Table[Remedy]
    terms: Table[WfgyTerm]
    metrics: Table[MetricText]
    ops: tuple[ChecklistItem, ...]
    downloads: tuple[Link, ...]
    footer: tuple[Link, ...]
    unrelated: tuple[str, ...]

    def symptom_modules(self, symptom_id: str) -> tuple[result.ModuleLink, ...]:
        """The fix pages of a symptom, ready for a result."""
        return tuple(self.modules[m].link() for m in self.symptoms[symptom_id].modules)

    def remedies_for(self, cause_id: str, symptom_id: str) -> tuple[str, ...]:
        """Ids of what a cause lists, without what is kept to other symptoms; none for an unknown cause."""
        cause = self.causes.get(cause_id)
        return self.kept(cause.remedies if cause else (), symptom_id)

    def kept(self, remedy_ids: Iterable[str], symptom_id: str) -> tuple[str, ...]:
        """Those of the remedies that are tried at a symptom."""
        only = {r: self.remedies[r].symptoms for r in remedy_ids}
        return tuple(r for r, symptoms in only.items() if not symptoms or symptom_id in symptoms)


# Which field of which record must name a record of which other file.
_REFERENCES: tuple[tuple[str, str, str, str], ...] = (
    ("symptoms", "symptoms", "modules", "modules"),
    ("symptoms", "symptoms", "wfgy", "wfgy"),
    ("symptoms", "symptoms", "primary_metric", "metrics"),
    ("symptoms", "symptoms", "gates", "gates"),
    ("gates", "gates", "metric", "metrics"),
    ("causes", "causes", "remedies", "remedies"),
    ("causes", "causes", "both_sides", "symptoms"),
    ("remedies", "remedies", "wfgy", "wfgy"),
    ("remedies", "remedies", "guards", "metrics"),
    ("remedies", "remedies", "symptoms", "symptoms"),
    ("checklist", "ops", "symptoms", "symptoms"),
)
# File stem -> the key of its list of records that have ids.
_LISTS = {
    "symptoms": "symptoms",
    "modules": "modules",
    "gates": "gates",
    "causes": "causes",
    "remedies": "remedies",
    "wfgy": "terms",
    "metrics": "metrics",
    "checklist": "ops",
}


@lru_cache(maxsize=4)
def load_catalog(folder: Path = FIXMAP) -> Catalog:
    """Read, validate and cross-check the fix map; cached per folder.

    Raises:
        PrerequisiteError: a file is missing or wrong; the message names file and line.
    """
    files = {stem: read_fixmap_file(folder, stem) for stem in _LISTS}
    _check_ids(files)
    _check_references(files)
    source = files["symptoms"].data["source"]
    raw = {stem: files[stem].data[key] for stem, key in _LISTS.items()}
    checklist = files["checklist"].data
    return Catalog(
        source_title=source["page"],
        source_url=source["url"],
        symptoms=Table("symptom", (Symptom(**_frozen(r)) for r in raw["symptoms"])),
        modules=Table("module", (Module(**_frozen(r)) for r in raw["modules"])),
        gates=Table("gate", (GateRecord(**_frozen(r)) for r in raw["gates"])),
        causes=Table("cause", (Cause(**_frozen(r)) for r in raw["causes"])),
        remedies=Table("remedy", (Remedy(**_frozen(r)) for r in raw["remedies"])),
        terms=Table("WFGY term", (WfgyTerm(**_frozen(r)) for r in raw["wfgy"])),
        metrics=Table("metric", (_metric(r) for r in raw["metrics"])),
        ops=tuple(ChecklistItem(**_frozen(r)) for r in raw["checklist"]),
        downloads=tuple(Link(**r) for r in checklist["downloads"]),
        footer=tuple(Link(**r) for r in checklist["footer"]),
        unrelated=tuple(files["symptoms"].data["unrelated"]),
    )


@lru_cache(maxsize=1)
def _result_validator() -> Any:
    return Draft202012Validator(read_schema(FIXMAP, "result"), registry=Registry())


def validate_result(data: Mapping[str, Any]) -> None:
    """Check a `wfgy-triage/result-1` object before it is written or after it is read.

    Beyond the schema: finite numbers, ordered intervals, and a symptom and causes that are ids of the fix map.

    Raises:
        InputError: says which field is wrong and how.
    """
    hint = "The object does not have the form wfgy-triage/result-1."
    try:
        json.dumps(data, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The result cannot be written as JSON: {error}", hint) from error
    fault = next(_result_validator().iter_errors(data), None)
    if fault is not None:
        spot = ".".join(str(p) for p in fault.absolute_path) or "the result"
        raise InputError(f"{spot}: {fault.message[:300]}", hint)
    for metric in data["metrics"]:
        for name in ("interval", "gated_interval"):
            if metric.get(name) and metric[name][0] > metric[name][1]:
                raise InputError(f"metrics.{metric['id']}.{name}: the bounds are in the wrong order.", hint)
    catalog = load_catalog()
    catalog.symptoms[data["symptom"]]
    for cause in (data["diagnosis"]["cause"], *data["diagnosis"]["ruled_out"]):
        catalog.causes[cause]


def _frozen(record: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}


def _metric(record: Mapping[str, Any]) -> MetricText:
    references = tuple(Reference(**r) for r in record["references"])
    return MetricText(**{**record, "references": references})


def _check_ids(files: Mapping[str, FixmapFile]) -> None:
    for stem, key in _LISTS.items():
        seen: set[str] = set()
        for index, record in enumerate(files[stem].data[key]):
            if record["id"] in seen:
                raise files[stem].fault((key, index, "id"), f"the id {record['id']!r} is given twice.")
            seen.add(record["id"])


def _check_references(files: Mapping[str, FixmapFile]) -> None:
    for stem, key, name, target in _REFERENCES:
        known = {record["id"] for record in files[target].data[_LISTS[target]]}
        for index, record in enumerate(files[stem].data[key]):
            value = record.get(name)
            for wanted in value if isinstance(value, list) else [value]:
                if wanted is not None and wanted not in known:
                    raise files[stem].fault(
                        (key, index, name), f"{name} names {wanted!r}, which is not in {target}.yaml."
                    )
