"""A run that checks again after a change was made elsewhere: what it shows beside the run before the change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wfgy_triage.errors import InputError
from wfgy_triage.probes.base import Probe, ProbeSettings
from wfgy_triage.remedies.effect import effect_json
from wfgy_triage.remedies.reading import between_runs
from wfgy_triage.result import Result, question_set
from wfgy_triage.runs.provenance import model_hashes
from wfgy_triage.store.records import Sample
from wfgy_triage.store.runs import RunRepository


def compared_with(
    repo: RunRepository,
    earlier: str,
    now: Result,
    samples: Sequence[Sample],
    probe: Probe,
    settings: ProbeSettings,
) -> Mapping[str, Any] | None:
    """What the result says about the run before the change.

    Args:
        repo: the store.
        earlier: id of that run.
        now: the result of this run.
        samples: of this run.
        probe: of both.
        settings: of this run.

    Returns:
        `recheck` of the result; None where the earlier run is gone, has no result, or was about something else.
    """
    try:
        stored = repo.get(earlier).result
    except InputError:
        return None
    if stored is None:
        return None
    then = Result.from_json(stored)
    if (then.symptom, then.pair["id"]) != (now.symptom, now.pair["id"]):
        return None
    same_questions = question_set(then) == question_set(now)
    effect = between_runs(repo.samples(earlier), samples, probe, settings) if same_questions else None
    hashes = model_hashes(then.pair).get("exl2"), model_hashes(now.pair).get("exl2")
    return {
        "run_id": earlier,
        "created_at": then.created_at,
        "state_before": str(then.state),
        "effect": effect_json(effect),
        "same_files": hashes[0] == hashes[1] if all(hashes) else None,
    }
