"""What the guard watches, as frozen records: `fixmap/guard.yaml` holds it, this file gives it types and checks it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from wfgy_triage.catalog import FIXMAP, Catalog, load_catalog
from wfgy_triage.fixmap_files import FixmapFile, read_fixmap_file
from wfgy_triage.fixmap_records import GateRecord


@dataclass(frozen=True)
class Watch:
    """A gate that is watched: which fact of an answer counts, and the symptom whose modules answer a miss."""

    gate: GateRecord
    label: str
    fact: str
    of: Literal["rate", "mean"]
    symptom: str


@dataclass(frozen=True)
class OpsView:
    """What the guard sees of a line of the ops checklist; no gates: nothing."""

    item: str
    gates: tuple[str, ...]
    here: str


@dataclass(frozen=True)
class Watched:
    """The whole file.

    Attributes:
        answers: newest answers that a rate is taken over.
        minutes: and how old they may be.
        level: one-sided level of the intervals.
        gates: what is watched.
        schema_fields: where a request names a schema, as paths of keys.
        ops: the checklist.
    """

    answers: int
    minutes: int
    level: float
    gates: tuple[Watch, ...]
    schema_fields: tuple[tuple[str, ...], ...]
    ops: tuple[OpsView, ...]


@lru_cache(maxsize=4)
def load_watched(folder: Path = FIXMAP) -> Watched:
    """Read, validate and cross-check `guard.yaml`; cached per folder.

    Raises:
        PrerequisiteError: the file is missing or wrong; the message names file and line.
    """
    catalog, file = load_catalog(folder), read_fixmap_file(folder, "guard")
    _check_names(file, catalog)
    data = file.data
    return Watched(
        answers=data["window"]["answers"],
        minutes=data["window"]["minutes"],
        level=data["level"],
        gates=tuple(_watch(record, catalog) for record in data["watched"]),
        schema_fields=tuple(tuple(path.split(".")) for path in data["schema_fields"]),
        ops=tuple(OpsView(o["item"], tuple(o["gates"]), o["here"]) for o in data["ops"]),
    )


def _watch(record: dict[str, str], catalog: Catalog) -> Watch:
    gate = catalog.gates[record["gate"]]
    kind: Literal["rate", "mean"] = "rate" if record["of"] == "rate" else "mean"
    return Watch(gate, catalog.metrics[gate.metric].label, record["fact"], kind, record["symptom"])


def _check_names(file: FixmapFile, catalog: Catalog) -> None:
    items = {item.id for item in catalog.ops}
    watched = {record["gate"] for record in file.data["watched"]}
    for index, record in enumerate(file.data["watched"]):
        if record["gate"] not in catalog.gates or record["symptom"] not in catalog.symptoms:
            raise file.fault(("watched", index), "the gate or the symptom is not in the fix map.")
    for index, record in enumerate(file.data["ops"]):
        if record["item"] not in items or not set(record["gates"]) <= watched:
            raise file.fault(("ops", index), "the item is not in checklist.yaml, or a gate is not watched.")
