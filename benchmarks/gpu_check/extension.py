"""Part `extension`: the library's compiled part loads here, built where no wheel has it, and what stands around it."""

from __future__ import annotations

from benchmarks.gpu_check.part import Bench, Outcome, passed_if
from wfgy_triage.doctor.environment import check_environment
from wfgy_triage.doctor.finding import Outcome as Found


def run(bench: Bench) -> Outcome:
    """The doctor's list of this machine; a build is kept by PyTorch and used again."""
    findings = check_environment(import_always=True)
    rows = [{"check": f.check, "state": str(f.state), "seen": f.seen} for f in findings]
    imported = next(f for f in findings if f.check == "extension_imports")
    return passed_if(imported.state is Found.PASS, imported.seen, rows)
