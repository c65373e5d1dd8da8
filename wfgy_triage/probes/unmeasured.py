"""The result of a run whose models cannot be loaded: NOT MEASURED, with the doctor's cause and evidence."""

from __future__ import annotations

from collections.abc import Sequence

from wfgy_triage.catalog import load_catalog
from wfgy_triage.doctor.finding import Finding, failures
from wfgy_triage.doctor.summary import diagnose_findings, primary_metric
from wfgy_triage.probes.base import Evaluation
from wfgy_triage.result import State


def unmeasured(symptom: str, findings: Sequence[Finding]) -> Evaluation:
    """What a run of this symptom says when the doctor's findings rule a measurement out."""
    failed = failures(findings)
    reason = failed[0].means if failed else "The models are not loaded."
    seen = failed[0].seen if failed else ""
    return Evaluation(
        state=State.NOT_MEASURED,
        headline=f"Not measured, no question was asked. {reason}",
        page_rule="The page's literal rule cannot be applied: there is no value.",
        metrics=primary_metric(load_catalog().symptoms[symptom], None, State.NOT_MEASURED, seen),
        diagnosis=diagnose_findings(findings),
        charts={},
    )
