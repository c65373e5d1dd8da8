"""What a list of findings says as a whole: the cause, the evidence, and the primary metric of a run without numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from wfgy_triage.catalog import load_catalog
from wfgy_triage.diagnosis import ruled_out_by
from wfgy_triage.doctor.finding import Finding, Outcome, evidence_of, failures, in_order
from wfgy_triage.fixmap_records import Symptom
from wfgy_triage.result import Diagnosis, Metric, State


def diagnose_findings(findings: Sequence[Finding]) -> Diagnosis:
    """The cause is that of the first failure in the order of the ladder; without one nothing was found."""
    ladder = evidence_of(findings)
    named = {check.check for check in ladder}
    failed = failures(findings)
    more = tuple(f.evidence() for f in failed if f.check not in named)
    cause = failed[0].cause or "unknown" if failed else "nothing_found"
    ruled_out = tuple(c for c in ruled_out_by(ladder) if c not in {f.cause for f in failed})
    return Diagnosis(cause, "high" if failed else "medium", (*ladder, *more), ruled_out)


def counts(findings: Sequence[Finding]) -> Counter[Outcome]:
    """How many checks ended how."""
    return Counter(f.state for f in findings)


def counts_text(findings: Sequence[Finding]) -> str:
    """The counts in words, such as "24 checks passed, 1 warning, 8 not made"."""
    found = counts(findings)
    parts = [f"{found[Outcome.PASS]} checks passed", f"{found[Outcome.FAIL]} failed"]
    if found[Outcome.WARN]:
        parts.append(f"{found[Outcome.WARN]} warning{'s' if found[Outcome.WARN] > 1 else ''}")
    if found[Outcome.SKIPPED]:
        parts.append(f"{found[Outcome.SKIPPED]} not made")
    return ", ".join(parts)


def as_chart(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """The list as a result carries it, in the order of the ladder."""
    return [f.to_json() for f in in_order(findings)]


def primary_metric(symptom: Symptom, value: float | None, state: State, note: str) -> tuple[Metric, ...]:
    """The metric that decides a symptom, held against its first gate; empty for one that has none.

    Args:
        symptom: whose metric.
        value: of the EXL2 side; None where it was not measured.
        state: the verdict.
        note: what must be said beside it.
    """
    catalog = load_catalog()
    if symptom.primary_metric is None:
        return ()
    text, gate = catalog.metrics[symptom.primary_metric], catalog.gates[symptom.gates[0]].gate()
    metric = Metric(
        text.id, text.label, text.unit, None, value, gate=gate, state=state, note=note, primary=True
    )
    return (metric,)
