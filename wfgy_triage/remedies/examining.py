"""A trial on which no question is asked: the doctor looks at the folder with the change in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from wfgy_triage.doctor.finding import DOCTOR_SIDE, Finding, failures, prevents_loading
from wfgy_triage.remedies.base import Candidate, Case, FolderRemedy, NotApplicableError, Remedy
from wfgy_triage.remedies.told import TrialFacts
from wfgy_triage.store.records import Sample, SampleKey


def examine(case: Case, remedy: Remedy, candidate: Candidate, facts: TrialFacts) -> TrialFacts:
    """Let the doctor look at the folder with the change; what it found on this machine stays as it was.

    Raises:
        NotApplicableError: the change is not one of files, or the run's own measurement cannot be repeated with it.
    """
    context, symptom = case.context, case.subject.symptom
    if not isinstance(remedy, FolderRemedy):
        raise NotApplicableError("No question can be asked here, so only changes of files can be tried.")
    if case.subject.side != DOCTOR_SIDE and case.loaded:
        raise NotApplicableError("This run's searches cannot be repeated with another EXL2 folder.")
    with remedy.patched(case, candidate) as folder:
        found = case.shop.examine(folder)
    loads = not case.loaded and not prevents_loading(found)
    facts = replace(facts, loads=loads, reason=_still_failing(found))
    if case.subject.side != DOCTOR_SIDE:
        return facts
    findings = {f.check: f.to_json() for f in found}
    stored = context.stored()
    machine = {
        s.key.question: s.payload
        for s in stored
        if s.key.side == DOCTOR_SIDE and s.key.question not in findings
    }
    done = {s.key for s in stored}
    keys = {
        SampleKey(symptom, check, 0, context.settings.seed, facts.side): payload
        for check, payload in {**machine, **findings}.items()
    }
    context.save([Sample(key, payload) for key, payload in keys.items() if key not in done])
    return replace(facts, asked=len(findings))


def _still_failing(findings: Sequence[Finding]) -> str:
    titles = [f.title for f in failures(findings)]
    if not titles:
        return ""
    more = f" and {len(titles) - 3} more" if len(titles) > 3 else ""
    return f"Still failing: {'; '.join(titles[:3])}{more}."
