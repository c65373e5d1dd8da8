"""Probe "Deployment mismatch": the doctor's whole list on one pair. It asks no questions.

One sample a check is stored (side `doctor`). The checks of folders and loaded models are made before every run and come
with the context; this probe adds what exllamav2 needs on this machine, and how long the first answer takes.

The verdict: FAIL when any check failed. PASS when none failed and every essential check was made. The environment is
not essential, since the reference engine does not use exllamav2's kernels; where it was not checked the headline says
so, and PASS never means that the kernels fit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from wfgy_triage.catalog import FIXMAP, load_catalog
from wfgy_triage.checks import load_checks
from wfgy_triage.doctor.engines import check_first_answer
from wfgy_triage.doctor.environment import check_environment
from wfgy_triage.doctor.finding import DOCTOR_SIDE, Finding, Outcome, failures, in_order, unchecked
from wfgy_triage.doctor.summary import as_chart, counts_text, diagnose_findings, primary_metric
from wfgy_triage.probes.base import Evaluation, ProbeContext, ProbeSettings
from wfgy_triage.probes.subject import Subject
from wfgy_triage.result import Check, State
from wfgy_triage.store.records import Sample, SampleKey

SYMPTOM = "deploy_mismatch"
CUDA_SIDE = "extension_imports"
"""The check without which nothing is known of exllamav2 itself."""


class DeployMismatch:
    """The probe; holds no state between calls."""

    symptom = SYMPTOM

    def workload_info(self, settings: ProbeSettings) -> Mapping[str, Any]:
        """Identity of the list of checks; there are no questions."""
        digest = hashlib.sha256((FIXMAP / "checks.yaml").read_bytes()).hexdigest()
        return {"id": "doctor", "sha256": digest, "questions": 0}

    def run(self, context: ProbeContext) -> None:
        """Store what was found before, then check the environment and the first answer."""
        self._save(context, context.findings)
        total = len(load_checks())
        context.progress(DOCTOR_SIDE, "Checks made", len(context.findings), total)
        if not context.should_stop() and not self._done(context, CUDA_SIDE):
            self._save(context, check_environment())
        if not context.should_stop() and not self._done(context, "first_answer"):
            self._save(context, (check_first_answer(context.exl2),))
            context.progress(DOCTOR_SIDE, "Checks made", total, total)

    def subject(self, context: ProbeContext) -> Subject:
        """The checks themselves: a change of files is examined again."""
        return Subject(SYMPTOM, side=DOCTOR_SIDE)

    def evaluate(
        self, samples: Sequence[Sample], checks: Sequence[Check], settings: ProbeSettings
    ) -> Evaluation:
        """Count the failures; see the module for the rule."""
        findings = in_order(Finding.from_json(s.payload) for s in samples)
        failed, open_checks = failures(findings), unchecked(findings)
        state = _state(failed, open_checks, findings)
        value = None if state is State.NOT_MEASURED else float(len(failed))
        return Evaluation(
            state=state,
            headline=_headline(state, failed, open_checks, findings),
            page_rule=_page_rule(len(failed)) if value is not None else "",
            metrics=primary_metric(
                load_catalog().symptoms[SYMPTOM], value, state, f"{counts_text(findings)}."
            ),
            diagnosis=diagnose_findings(findings),
            charts={"doctor": as_chart(findings)},
        )

    def _save(self, context: ProbeContext, findings: Sequence[Finding]) -> None:
        keys = ((f, SampleKey(SYMPTOM, f.check, 0, context.settings.seed, DOCTOR_SIDE)) for f in findings)
        context.save([Sample(key, f.to_json()) for f, key in keys if key not in context.done])

    def _done(self, context: ProbeContext, check: str) -> bool:
        return SampleKey(SYMPTOM, check, 0, context.settings.seed, DOCTOR_SIDE) in context.done


PROBE = DeployMismatch()


def _state(failed: Sequence[Finding], open_checks: Sequence[str], findings: Sequence[Finding]) -> State:
    if failed:
        return State.FAIL
    return State.NOT_MEASURED if open_checks or not findings else State.PASS


def _headline(
    state: State, failed: Sequence[Finding], open_checks: Sequence[str], findings: Sequence[Finding]
) -> str:
    if state is State.NOT_MEASURED:
        titles = "; ".join(load_checks()[c].title.lower() for c in open_checks[:3])
        more = f" and {len(open_checks) - 3} more" if len(open_checks) > 3 else ""
        return f"Nothing failed, but these checks could not be made: {titles}{more}."
    if state is State.FAIL:
        cause = load_catalog().causes[failed[0].cause or "unknown"]
        count = f"{len(failed)} checks failed. First named" if len(failed) > 1 else "One check failed"
        return f"{count}: {cause.title[0].lower()}{cause.title[1:]}."
    made = any(f.check == CUDA_SIDE and f.state is not Outcome.SKIPPED for f in findings)
    rest = "" if made else " The CUDA side (exllamav2 and its kernels) was not checked on this machine."
    return f"Folders and loaded models fit together.{rest}"


def _page_rule(count: int) -> str:
    word = "meets" if count == 0 else "does not meet"
    return f"With {count} failed checks this pair {word} the page's literal rule (stop on any mismatch)."
