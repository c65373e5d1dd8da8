"""A trial without answers: the doctor looks at the folder with the change, or passages are searched again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from wfgy_triage.doctor.finding import DOCTOR_SIDE, Finding, failures, prevents_loading
from wfgy_triage.engines.base import Engine
from wfgy_triage.remedies.base import Candidate, Case, FolderRemedy, NotApplicableError, Remedy
from wfgy_triage.remedies.told import TrialFacts
from wfgy_triage.store.records import Sample, SampleKey


def examine(case: Case, remedy: Remedy, candidate: Candidate, facts: TrialFacts) -> TrialFacts:
    """Let the doctor look at the folder with the change; what it found on this machine stays as it was.

    Where the run searched passages, another checkpoint is searched with instead.

    Raises:
        NotApplicableError: the change is not one of files, or the run's own measurement cannot be repeated with it.
    """
    context, symptom = case.context, case.subject.symptom
    if case.subject.again is not None and case.loaded and not isinstance(remedy, FolderRemedy):
        return _searched(case.subject.again, case, remedy, candidate, facts)
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


def _searched(
    again: Callable[[Engine, str], int], case: Case, remedy: Remedy, candidate: Candidate, facts: TrialFacts
) -> TrialFacts:
    with remedy.apply(case, candidate) as change:
        facts = replace(facts, note=change.note, asked=again(change.engine, facts.side))
    if case.context.should_stop():
        return replace(facts, status="unfinished", reason="Stopped before all questions were asked.")
    return facts


def _still_failing(findings: Sequence[Finding]) -> str:
    titles = [f.title for f in failures(findings)]
    if not titles:
        return ""
    more = f" and {len(titles) - 3} more" if len(titles) > 3 else ""
    return f"Still failing: {'; '.join(titles[:3])}{more}."
