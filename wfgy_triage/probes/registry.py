"""Which symptoms have a live probe. Listing them imports no model library."""

from __future__ import annotations

from importlib import import_module

from wfgy_triage.errors import InputError
from wfgy_triage.options import option_values
from wfgy_triage.probes.base import Probe, ProbeSettings

_MODULES = {
    "acceptance_gate": "wfgy_triage.probes.acceptance",
    "citations_missing": "wfgy_triage.probes.citations_missing",
    "deploy_mismatch": "wfgy_triage.probes.deploy_mismatch",
    "json_breaks": "wfgy_triage.probes.json_breaks",
    "long_chain": "wfgy_triage.probes.long_chain",
    "sixty_seconds": "wfgy_triage.probes.sixty_seconds",
    "wrong_snippet": "wfgy_triage.probes.wrong_snippet",
}
"""Symptom id to the module whose `PROBE` measures it. A new probe is one line here and one file."""

_CHECKS = {
    "json_breaks": "wfgy_triage.probes.json_plan",
    "wrong_snippet": "wfgy_triage.probes.retrieval_plan",
}
"""Symptom id to the module whose `check` looks at what a run would use; the module imports no model library."""


def available_symptoms() -> tuple[str, ...]:
    """Ids of the symptoms that can be measured."""
    return tuple(_MODULES)


def get_probe(symptom: str) -> Probe:
    """The probe of a symptom.

    Raises:
        InputError: when the symptom has no live probe.
    """
    if symptom not in _MODULES:
        raise InputError(
            f"The symptom {symptom!r} has no live probe.", f"Symptoms with one: {', '.join(_MODULES)}."
        )
    probe: Probe = import_module(_MODULES[symptom]).PROBE
    return probe


def check_settings(symptom: str, settings: ProbeSettings) -> None:
    """Whether a run with these settings could be made, before anything is queued or loaded.

    Raises:
        InputError: the probe's own words for what is not possible.
        PrerequisiteError: a kept file was changed.
    """
    option_values(symptom, settings.options)
    if symptom in _CHECKS:
        import_module(_CHECKS[symptom]).check(settings)
