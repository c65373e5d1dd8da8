"""The seed's "Fix in 60 seconds" as frozen records: four steps, and which module answers which miss.

`fixmap/guide.yaml` holds it; this file gives it types and checks that what is named there is in the fix map.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from wfgy_triage.catalog import FIXMAP, Catalog, load_catalog
from wfgy_triage.fixmap_files import FixmapFile, read_fixmap_file


@dataclass(frozen=True)
class GuideStep:
    """One of the four steps.

    Attributes:
        id: stable name.
        title: the seed's heading.
        plain: the question that the step answers, for non-specialists.
        says: the seed's own words.
        stages: names in a run's timings whose seconds are this step's.
        metrics: ids of the metrics that are shown in it.
    """

    id: str
    title: str
    plain: str
    says: str
    stages: tuple[str, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """A module of the seed: tried when one of the metrics `when` misses its gate; `tries` are remedies, in order."""

    id: str
    title: str
    when: tuple[str, ...]
    wfgy: tuple[str, ...]
    tries: tuple[str, ...]


@dataclass(frozen=True)
class Guide:
    """The whole short way; `symptom` is the id under which it is run."""

    symptom: str
    steps: tuple[GuideStep, ...]
    answers: tuple[Answer, ...]

    def answering(self, missed: Collection[str]) -> tuple[Answer, ...]:
        """The modules for metrics that miss their gate, in the order of the file."""
        return tuple(a for a in self.answers if set(a.when) & set(missed))

    def remedies(self, missed: Collection[str]) -> tuple[str, ...]:
        """What these modules try; each remedy once."""
        return tuple(dict.fromkeys(r for a in self.answering(missed) for r in a.tries))


@lru_cache(maxsize=4)
def load_guide(folder: Path = FIXMAP) -> Guide:
    """Read, validate and cross-check `guide.yaml`; cached per folder.

    Raises:
        PrerequisiteError: the file is missing or wrong; the message names file and line.
    """
    catalog, file = load_catalog(folder), read_fixmap_file(folder, "guide")
    _check_names(file, catalog)
    steps = tuple(GuideStep(**_frozen(s)) for s in file.data["steps"])
    answers = tuple(Answer(**_frozen(a)) for a in file.data["answers"])
    return Guide(file.data["symptom"], steps, answers)


def _check_names(file: FixmapFile, catalog: Catalog) -> None:
    if file.data["symptom"] not in catalog.symptoms:
        raise file.fault(("symptom",), f"{file.data['symptom']!r} is not in symptoms.yaml.")
    named = (
        ("steps", "metrics", catalog.metrics),
        ("answers", "when", catalog.metrics),
        ("answers", "wfgy", catalog.terms),
        ("answers", "tries", catalog.remedies),
    )
    for key, name, known in named:
        for index, record in enumerate(file.data[key]):
            for place, wanted in enumerate(record[name]):
                if wanted not in known:
                    raise file.fault((key, index, name, place), f"{wanted!r} is not in the fix map.")


def _frozen(record: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
