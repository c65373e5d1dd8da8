"""Which records a JSON run asks for: those of a user's set, or the built-in ones of a level."""

from __future__ import annotations

from typing import Any

from wfgy_triage.errors import InputError
from wfgy_triage.probes.base import STANDARD, ProbeSettings
from wfgy_triage.workload.json_records import RECORD_LEVELS, JsonWorkload, load_json_workload


def records_of(settings: ProbeSettings) -> JsonWorkload:
    """The question set of a run.

    Raises:
        InputError: a level that there is not, or one that was asked for beside a user's set.
        PrerequisiteError: the file is missing or damaged.
    """
    level = settings.difficulty
    if level not in RECORD_LEVELS:
        raise InputError(f"There is no level {level!r}.", f"Levels: {', '.join(RECORD_LEVELS)}.")
    if settings.workload is None:
        return load_json_workload(RECORD_LEVELS[level])
    if level != STANDARD:
        raise InputError(
            "The hard records are a set of their own, and another question set was given.",
            "Leave the difficulty at standard, or ask the built-in records.",
        )
    return load_json_workload(settings.workload)


def records_info(settings: ProbeSettings) -> dict[str, Any]:
    """Identity of the question set and how many of its questions are used; its level where it is built in."""
    workload = records_of(settings)
    used = len(workload.questions[: settings.questions])
    found: dict[str, Any] = {"id": workload.id, "sha256": workload.sha256, "questions": used}
    return found if settings.workload else {**found, "level": settings.difficulty}


def check(settings: ProbeSettings) -> None:
    """Whether a run with these settings could be made. Imports no model library.

    Raises:
        InputError: as for `records_of`.
        PrerequisiteError: as for `records_of`.
    """
    records_of(settings)
