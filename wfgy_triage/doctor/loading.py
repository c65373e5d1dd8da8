"""The checks of loaded models where there are none. Apart from `engines.py`, so that it needs no torch."""

from __future__ import annotations

from wfgy_triage.catalog import load_catalog
from wfgy_triage.checks import load_checks
from wfgy_triage.doctor.finding import Finding, Outcome, finding, in_order, skipped
from wfgy_triage.engines.device_faults import DEVICE_CAUSES
from wfgy_triage.errors import PrerequisiteError


def not_loaded(error: PrerequisiteError | None = None) -> tuple[Finding, ...]:
    """The same checks where there are no models.

    Args:
        error: why loading failed; None where it was not tried because of an earlier finding.
    """
    if error is None:
        why = "The models were not loaded."
        load = skipped("models_load", "Loading was not tried, because a check of the folders failed.")
    else:
        why = "A model does not load."
        load = finding(
            "models_load",
            Outcome.FAIL,
            error.message,
            means=load_catalog().causes[error.cause].explanation if error.cause in DEVICE_CAUSES else None,
            do=error.hint or None,
            cause=error.cause,
        )
    rest = [
        c.id
        for c in load_checks().values()
        if c.group == "engines" and c.id not in ("models_load", "first_answer")
    ]
    return in_order((load, *(skipped(check, why) for check in rest)))
