"""What a pass over a run measures with, as it stands in the run's log, and whether a later pass may add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfgy_triage.doctor.finding import Finding
from wfgy_triage.doctor.summary import as_chart
from wfgy_triage.errors import ProbeError
from wfgy_triage.report.trend import METRICS
from wfgy_triage.runs import provenance
from wfgy_triage.store.runs import RunRepository

KIND = "context"
"""The kind of the log's line."""

Versions = tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class RunContext:
    """What a pass over a run measures with.

    Attributes:
        pair: as the result's `pair` carries it: hashes, and engines where the models were loaded.
        findings: the doctor's.
        versions: those that this run was measured in, newest last; empty where a pass of long ago did not say.
        workload: SHA-256 of the questions; empty likewise.
    """

    pair: Mapping[str, Any]
    findings: tuple[Finding, ...]
    versions: Versions = ()
    workload: str = ""

    @property
    def loaded(self) -> bool:
        """Whether the models were loaded."""
        return all("engine" in self.pair[side] for side in ("fp16", "exl2"))

    def to_json(self) -> dict[str, Any]:
        """The line's payload."""
        return {
            "pair": self.pair,
            "findings": as_chart(self.findings),
            "versions": [dict(v) for v in self.versions],
            "workload": self.workload,
        }

    def said_versions(self) -> dict[str, str]:
        """Each version as the result names it: all that the run was measured in, where one changed meanwhile."""
        found: dict[str, dict[str, None]] = {}
        for each in self.versions or (provenance.versions(),):
            for name, version in each.items():
                found.setdefault(name, {})[version] = None
        return {name: ", then ".join(versions) for name, versions in found.items()}

    def changed_versions(self) -> str:
        """What changed from the versions before the newest to these, in words; empty where nothing did."""
        if len(self.versions) < 2:
            return ""
        before, now = self.versions[-2:]
        changed = [
            f"{name} {now.get(name, 'none')} (before: {before.get(name, 'none')})"
            for name in dict.fromkeys((*before, *now))
            if before.get(name) != now.get(name)
        ]
        return f"This run goes on in other versions than before: {', '.join(changed)}. Its result names both."


def last_context(repo: RunRepository, run_id: str) -> RunContext | None:
    """What the newest pass measured with; None where none came that far."""
    event = repo.last_event(run_id, KIND)
    if event is None:
        return None
    said = event.payload
    findings = tuple(Finding.from_json(f) for f in said.get("findings", ()))
    return RunContext(said["pair"], findings, tuple(said.get("versions", ())), said.get("workload", ""))


def refuse_other_measuring(before: RunContext, versions: Mapping[str, str], workload: str) -> None:
    """A resumed run must not mix answers to different questions, nor numbers that are measured otherwise.

    Raises:
        ProbeError: the questions, or the way of measuring, are not those that the run began with.
    """
    # What was not written down when the run began cannot be held against it.
    if before.workload and before.workload != workload:
        raise ProbeError(
            "The questions of this run were changed while it was interrupted. What was measured is kept, but cannot "
            "be continued.",
            "Start a new run.",
        )
    if before.versions and before.versions[-1].get(METRICS) != versions[METRICS]:
        raise ProbeError(
            "This version of the program measures otherwise than the one that began this run. What was measured is "
            "kept, but cannot be continued.",
            "Start a new run.",
        )


def versions_so_far(before: RunContext | None, now: Mapping[str, str]) -> Versions:
    """The versions that a run is measured in, with those of this pass.

    Args:
        before: what was measured so far with; None where nothing was.
        now: of this pass.
    """
    earlier: Sequence[Mapping[str, str]] = before.versions if before is not None else ()
    return (*earlier,) if earlier and earlier[-1] == now else (*earlier, now)
